"""The compiled program that paints crops: the network, then a color correction at the border."""

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree
from ml_collections import ConfigDict

from gsjax import sharding
from gsjax.errors import UserError
from gsjax.kernels.rasterizer import rasterize
from gsjax.models import patches
from gsjax.models.coarse_fill import push_pull
from gsjax.models.dino import DinoViT
from gsjax.models.gaussian_head import Gaussians
from gsjax.models.inpainter import GaussianInpainter, Inpainting
from gsjax.models.semantic import make_tokens

_MIN_OPACITY = 0.25  # lower bound of the opacity by which corrections are divided


class Painted(NamedTuple):
    """Crops as painted by the network.

    Attributes:
      drawn: the drawing of the Gaussians, not clamped.
      gaussians: the Gaussians of each patch, patches row by row, in pixels of patches that are
        padded by the module's `drawn_overlap`.
    """

    drawn: Float[Array, "b h w 3"]
    gaussians: Gaussians


class Network:
    """A trained inpainter, ready to paint batches of crops.

    Attributes:
      size: (height, width) of its crops, the size it was trained at.
      rim: `config.fill.rim`, how deep into a hole crops paint before coarser ones take over.
      small: (height, width) of small crops, for holes of a few pixels, which are painted many at a
        time; None if the training crops are too small for that, or the network has a semantic
        branch, which needs to see the whole scene.
      module: the inpainter, without parameters.
    """

    def __init__(
        self,
        config: ConfigDict,
        module: GaussianInpainter,
        dino: DinoViT | None,
        variables: PyTree,
        dino_variables: PyTree,
    ):
        self.size = tuple(config.data.image_size)
        self.rim = float(config.get("fill", {}).get("rim", 1.0))  # older runs have none
        self.module = module
        self.small = None if module.semantic else _small(self.size, module)
        self._mesh = jax.sharding.Mesh(np.array(jax.local_devices())[:, None], ("data", "fsdp"))
        program = make_program(config, module, dino)
        self._program = jax.jit(sharding.on_mesh(program, self._mesh))
        everywhere = sharding.replicated(self._mesh)
        self._variables = jax.device_put((variables, dino_variables), everywhere)

    def paint(
        self, crops: Sequence[tuple[np.ndarray, np.ndarray]], batch_size: int
    ) -> list[tuple[np.ndarray, Gaussians]]:
        """Paints crops, each f32[h, w, 3] in [0, 1] and known f32[h, w, 1].

        Crops have `size` or `small`. Only three programs are compiled, for any number of crops:
        batches of 1 and of `batch_size`, and one batch of small crops that is as much work.

        Returns:
          The drawing and the Gaussians of each crop.

        Raises:
          UserError: the drawing is NaN or infinite, because weights are too large.
        """
        painted: list[tuple[np.ndarray, Gaussians]] = []
        for shape, some in itertools.groupby(crops, lambda crop: crop[0].shape[:2]):
            left = list(some)
            while left:
                if shape == self.size:
                    count = batch_size if len(left) > batch_size // 2 else 1
                else:
                    count = batch_size * (math.prod(self.size) // math.prod(shape))
                painted += self._paint(left[:count], count)
                left = left[count:]
        return painted

    def _paint(self, some, count: int) -> list[tuple[np.ndarray, Gaussians]]:
        """Paints crops in a batch of `count`."""
        full = [*some, *some[:1] * (count - len(some))]  # padded to the compiled shape
        images, known = (np.stack(arrays) for arrays in zip(*full, strict=True))
        divides = count % self._mesh.size == 0
        place = sharding.over_batch if divides else sharding.replicated
        batch = jax.device_put((images, known), place(self._mesh))
        drawn, gaussians = jax.device_get(self._program(*self._variables, *batch))
        if not np.isfinite(drawn).all():
            raise UserError("checkpoint", "its weights paint values that are NaN or infinite")
        return [
            (drawn[i], jax.tree.map(lambda array, i=i: array[i], gaussians))
            for i in range(len(some))
        ]


def _small(size: tuple[int, int], module: GaussianInpainter) -> tuple[int, int] | None:
    """Returns about 3/16 of the size of crops, a multiple of what the layers need."""
    step = module.stride()
    height, width = (side * 3 // 16 // step * step for side in size)
    small = (height, width)
    return small if min(small) >= 2 * step else None


def make_program(config: ConfigDict, module: GaussianInpainter, dino: DinoViT | None) -> Callable:
    """Returns `paint(variables, dino_variables, images, known) -> Painted`, to be jitted."""
    tokens = make_tokens(config.dino, dino)
    correct = make_correction(module)

    def paint(variables, dino_variables, images, known) -> Painted:
        masked = images * known
        token, _ = tokens(dino_variables, masked, known)
        out = cast(Inpainting, module.apply(variables, masked, token, known))
        return correct(masked, known, Painted(out.image, out.gaussians))

    return paint


def make_correction(module: GaussianInpainter) -> Callable:
    """Returns `correct(masked, known, painted) -> Painted`, which removes steps at the border.

    The error of the drawing at the known pixels is interpolated into the hole as a membrane, and
    added to the colors of the Gaussians. So there is no step at the border of the hole, and the
    fill still consists of Gaussians only.
    """
    p, overlap = module.patch_size, module.drawn_overlap
    extent = (p + 2 * overlap, p + 2 * overlap)

    def correct(masked, known, painted: Painted) -> Painted:
        drawn, gaussians = painted
        share = 1.0 if module.normalize_splats else _opacity(gaussians, extent, module.backend)
        # Only once: a second correction spreads noise of the known pixels further into the hole,
        # and loses 0.03 to 0.07 dB on photographs.
        error = push_pull((masked - drawn) * known, known)
        error = _at(patches.cut(error, p, overlap), gaussians.means) / share
        gaussians = dataclasses.replace(gaussians, colors=gaussians.colors + error)
        return Painted(module.picture(gaussians, masked.shape[1:3]), gaussians)

    return correct


def _opacity(gaussians: Gaussians, extent, backend) -> Float[Array, "b p n 1"]:
    """Returns the summed opacity at each Gaussian: the effect of a change of color there."""
    ones = jnp.ones_like(gaussians.colors[..., :1])
    drawn = rasterize(gaussians.means, gaussians.cholesky, ones, extent, backend)
    return jnp.maximum(_at(drawn, gaussians.means), _MIN_OPACITY)


def _at(
    splats: Float[Array, "b p s s c"], points: Float[Array, "b p n 2"]
) -> Float[Array, "b p n c"]:
    """Samples padded patches bilinearly at points in their own pixel coordinates."""
    side = splats.shape[2]
    points = jnp.clip(points, 0, side - 1)
    corner = jnp.clip(jnp.floor(points), 0, side - 2).astype(jnp.int32)
    part = points - corner
    flat = splats.reshape(*splats.shape[:2], side * side, splats.shape[-1])

    def corner_value(dx: int, dy: int):
        index = (corner[..., 1] + dy) * side + corner[..., 0] + dx
        weight = jnp.abs(1 - dx - part[..., :1]) * jnp.abs(1 - dy - part[..., 1:])
        return weight * jnp.take_along_axis(flat, index[..., None], axis=2)

    return sum(corner_value(dx, dy) for dx in (0, 1) for dy in (0, 1))
