"""Decodes feature vectors to Gaussians: position, shape and color.

All Gaussians of all patches share the same small networks.
"""

import itertools
from typing import no_type_check

import flax.linen as nn
import flax.struct
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gsjax.kernels.mixture import mix
from gsjax.models.mlp import Mlp


@no_type_check  # JAX builds it from anything: shapes, shardings, axes
@flax.struct.dataclass
class Gaussians:
    """2D Gaussians in the pixel coordinates of their padded patches.

    A patch of p×p pixels draws on (p + 2·overlap)² pixels, so pixel (0, 0) of the padded
    patch lies `overlap` pixels above and left of the patch itself.
    """

    means: Float[Array, "*p n 2"]  # x, y
    cholesky: Float[Array, "*p n 3"]  # l11, l21, l22
    colors: Float[Array, "*p n c"]


def dictionary() -> Float[np.ndarray, "730 3"]:
    """Returns the 730 Cholesky atoms (l11, l21, l22) that are mixed into shapes."""
    l11 = (0.0, 0.41, 0.62, 0.98, 1.13, 1.29, 1.64, 1.85, 2.36)
    l21 = (-0.86, -0.36, -0.16, 0.19, 0.34, 0.49, 0.84, 1.04, 1.54)
    l22 = (0.0, 0.33, 0.53, 0.88, 1.03, 1.18, 1.53, 1.73, 2.23)
    return np.array([*itertools.product(l11, l21, l22), (0.0, 0.0, 0.0)], np.float32)


def anchors(side: int, extent: int) -> Float[np.ndarray, "n 2"]:
    """Returns the positions (x, y) of side² Gaussians before their offsets, row by row.

    They are extent/side pixels apart, starting at −½, the corner of the padded patch.
    """
    along = extent * np.arange(side) / side - 0.5
    y, x = np.meshgrid(along, along, indexing="ij")
    return np.stack([x.ravel(), y.ravel()], -1).astype(np.float32)


class GaussianHead(nn.Module):
    """Decodes each feature vector to a Gaussian in its padded patch.

    Attributes:
      patch_size: side p of a patch in pixels.
      overlap: pixels by which a patch draws over its neighbors.
      backend: of the mixture of atoms; see `gsjax.kernels.backends`.
    """

    patch_size: int
    overlap: int = 1
    backend: str = "auto"

    @nn.compact
    def __call__(self, features: Float[Array, "*p n d"]) -> Gaussians:
        count, width = features.shape[-2:]
        extent = self.patch_size + 2 * self.overlap

        colors = Mlp((width, width, width, width // 2, 3), name="color")(features)

        offsets = nn.tanh(Mlp((width, width, width // 2, 2), name="offset")(features))
        means = offsets + anchors(round(count**0.5), extent)

        atoms = jnp.asarray(dictionary())
        keys = Mlp((width // 2, width, width, width, width), name="atoms")(atoms)
        queries = nn.Dense(width, name="shape")(nn.leaky_relu(features, 0.01))
        cholesky = mix(queries, keys, atoms, self.backend) * (extent / self.patch_size)
        return Gaussians(means, cholesky, colors)
