"""The inpainter: a trained network that fills holes in pictures of any size."""

import dataclasses
import functools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from absl import logging
from jaxtyping import Bool, Float, Integer, Shaped, UInt8

from gsjax.data.mask_files import hole_warning
from gsjax.errors import UserError
from gsjax.inpainting.borders import check_margins, finish, prepare
from gsjax.inpainting.crops import Layout, cut_known
from gsjax.inpainting.exemplar import Deep, check_deep, copy_deep
from gsjax.inpainting.extend import check_extend, outside, pad
from gsjax.inpainting.field import Field
from gsjax.inpainting.geometry import Crop, Geometry
from gsjax.inpainting.network import Network
from gsjax.inpainting.plan import covering_crops
from gsjax.inpainting.together import Task, paint_together
from gsjax.inpainting.windows import Patches
from gsjax.models.gaussian_head import Gaussians
from gsjax.trained.load import load_trained

_MEANING = {
    "hole": "the image is to be filled", "avoid": "nothing is to be copied from",
    "known": "pixels may be looked at",
}  # fmt: skip


@dataclasses.dataclass
class Result:
    """A filled image.

    Attributes:
      image: the image, with its known pixels unchanged.
    """

    image: UInt8[np.ndarray, "h w 3"]
    _make_field: Callable[[], Field] = dataclasses.field(repr=False)

    @functools.cached_property
    def field(self) -> Field:
        """The Gaussians that fill the holes.

        On first access, the network also encodes what was copied into the holes.
        """
        return self._make_field()


class Inpainter:
    """Fills holes of pictures of any size; made by `Inpainter.load`.

    `painter(image, hole)` returns a `Result`. The network is compiled once per batch size, for
    pictures of all sizes.
    """

    def __init__(self, network: Network, deep: Deep = "exemplar"):
        self._network, self.deep = network, check_deep(deep)
        module, (height, width) = network.module, network.size
        grid = (height // module.patch_size, width // module.patch_size)
        self._patches = Patches(
            grid, module.patch_size, module.drawn_overlap, module.normalize_splats, module.backend,
            crossfade=bool(module.crossfade),
        )  # fmt: skip

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the network's crops."""
        return self._network.size

    @classmethod
    def load(cls, path: str | os.PathLike, deep: Deep = "exemplar") -> "Inpainter":
        """Loads a trained inpainter.

        Args:
          path: a run's workdir (its best generator, else the last one); a folder of checkpoints,
            or one of them; the output of `python -m gsjax.convert` or `gsjax.pack`;
            hf:OWNER/NAME[@REVISION]; or the name of bundled weights. See `gsjax.trained.place`.
          deep: what fills holes where they are deeper than `gsjax.inpainting.exemplar.DEEP`:
            "exemplar", texture copied from the image itself, or "network".

        Raises:
          UserError: there is no checkpoint, or no inpainter in it.
        """
        return cls(Network(*load_trained(path)), deep)

    def __call__(
        self,
        image: UInt8[np.ndarray, "h w 3"] | Float[np.ndarray, "h w 3"],
        hole: Shaped[np.ndarray, "h w *_"] | None = None,
        deep: Deep | None = None,
        avoid: Shaped[np.ndarray, "h w *_"] | None = None,
        known: Shaped[np.ndarray, "h w *_"] | None = None,
        grow: float = 0,
        feather: float = 0,
        extend: Sequence[int] | None = None,
    ) -> Result:
        """Fills the holes of an image.

        Args:
          image: RGB; floats are in [0, 1], and the result has 8 bits.
          hole: True, or nonzero, where the image should be filled; None only with `extend`.
          deep: "exemplar" or "network"; None for the choice made in `load`.
          avoid: True, or nonzero, where texture must not be copied from.
          known: False, or zero, where a pixel outside of the hole must not influence the fill, such
            as a transparent one; it stays unchanged.
          grow: pixels by which to enlarge the hole first.
          feather: pixels around the hole over which the fill blends into the image; no other known
            pixels change.

        Raises:
          UserError: an argument is invalid, or a mask does not have the size of the image.
        """
        image, margins = check_image(image), check_extend(extend)
        beyond = outside(image.shape[:2], margins)
        if hole is None:
            if extend is None:
                raise UserError("hole", "it is missing", "give a mask, or extend the image")
            hole = np.zeros(image.shape[:2], bool)
        hole = check_hole(hole)
        check_sizes(image.shape[:2], hole.shape)
        if avoid is not None:
            avoid = check_hole(avoid, "avoid")
            check_sizes(image.shape[:2], avoid.shape, "avoid")
            avoid = pad(avoid, margins)
        if known is not None:
            known = check_hole(known, "known")
            check_sizes(image.shape[:2], known.shape, "known")
            known = pad(known, margins)
        check_margins(grow, feather)
        image, hole = pad(image, margins), pad(hole, margins) | beyond
        prepared = prepare(image.copy(), hole, known, grow, feather)
        if not any(margins) and (warning := hole_warning(prepared.hole)):
            logging.warning("hole: %s", warning)
        hole, avoid = prepared.to_paint, prepared.avoided(avoid)
        kept: list[tuple[Crop, Gaussians]] = []
        seen, copied = prepared.image.copy(), None
        if (self.deep if deep is None else check_deep(deep)) == "exemplar":
            copied = copy_deep(seen, hole, avoid)
        ring = hole if copied is None else hole & ~copied
        ((_, filled),) = self.paint(
            [Task(None, seen.copy(), ring)], keep=kept.append, deep="network"
        )

        def make_field() -> Field:
            # These come first, so that the crops of the ring are drawn over them.
            inner = [] if copied is None else list(self._encode(filled, copied))
            crops = [crop for crop, _ in inner + kept]
            gaussians = [drawn for _, drawn in inner + kept]
            rim = self._network.rim
            return Field(seen, hole, self.size, self._patches, crops, gaussians, rim, copied)

        return Result(finish(prepared, filled), make_field)

    def _encode(
        self, image: UInt8[np.ndarray, "h w 3"], copied: Bool[np.ndarray, "h w"]
    ) -> Iterator[tuple[Crop, Gaussians]]:
        """Yields crops and Gaussians that draw what was copied into an image."""
        batch_size = default_batch_size()
        crops = covering_crops(copied, Geometry(copied.shape, self.size, self._network.rim))
        for some in (crops[i : i + batch_size] for i in range(0, len(crops), batch_size)):
            inputs = [cut_known(image, crop, self.size) for crop in some]
            painted = self._network.paint(inputs, batch_size)
            yield from zip(some, (gaussians for _, gaussians in painted), strict=True)

    def paint(
        self,
        tasks: Iterable[Task | tuple | None],
        batch_size: int | None = None,
        keep: Callable[[tuple[Crop, Gaussians]], None] | None = None,
        deep: Deep | None = None,
    ) -> Iterator[tuple[Any, Integer[np.ndarray, "h w 3"]]]:
        """Fills images in place, and yields each with its name when it is done.

        Crops of several images share a batch; images are started when there is room for them.

        Args:
          tasks: the images, as `Task` or plain tuples. None means that there is no image now, but
            there may be more later.
          batch_size: maximum number of crops painted at a time; None for 8, or 1 on a CPU.
          keep: called with each crop and its Gaussians.
          deep: "exemplar" or "network"; None for the choice made in `load`.
        """
        deep = self.deep if deep is None else check_deep(deep)
        if batch_size is None:
            batch_size = default_batch_size()
        layout = Layout(self.size, self._network.rim, self._patches, self._network.small)
        return paint_together(tasks, self._network, layout, deep, batch_size, keep)


def default_batch_size() -> int:
    """Returns the default number of crops painted at a time."""
    # On a CPU, a batch takes as long as its crops one by one, plus seconds to compile.
    return 1 if jax.default_backend() == "cpu" else 8


def check_image(image: np.ndarray) -> UInt8[np.ndarray, "h w 3"]:
    """Returns an image as uint8; raises UserError if it is not an image."""
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise UserError(
            "image",
            f"the array has shape {image.shape}",
            "it must be height×width×3, RGB; repeat a gray one: np.repeat(gray[..., None], 3, -1)",
        )
    if image.dtype == np.uint8:
        return np.ascontiguousarray(image)
    if not np.issubdtype(image.dtype, np.floating):
        raise UserError(
            "image", f"its type is {image.dtype}", "it must be uint8 or floats in [0, 1]"
        )
    if not (np.isfinite(image).all() and image.min() >= 0 and image.max() <= 1):
        raise UserError(
            "image",
            f"its values are from {image.min()} to {image.max()}",
            "they must be in [0, 1]; divide values up to 255 by 255",
        )
    return np.rint(image * 255).astype(np.uint8)


def check_hole(hole: np.ndarray, name: str = "hole") -> Bool[np.ndarray, "h w"]:
    """Returns a hole, or another mask, as booleans; raises UserError if it is not a mask."""
    hole = np.asarray(hole)
    if hole.ndim == 3 and hole.shape[2] == 1:
        hole = hole[..., 0]
    if hole.ndim != 2:
        raise UserError(
            name,
            f"the array has shape {hole.shape}",
            f"it must be height×width, and not zero where {_MEANING[name]}",
        )
    if hole.dtype != bool and not np.issubdtype(hole.dtype, np.number):
        raise UserError(name, f"its type is {hole.dtype}", "it must be bool or numbers")
    if np.issubdtype(hole.dtype, np.inexact) and np.isnan(hole).any():
        raise UserError(name, "it contains NaN", f"it must be 0 outside the {name}")
    return np.ascontiguousarray(hole != 0)


def check_sizes(image: tuple[int, int], hole: tuple[int, int], name: str = "the mask") -> None:
    """Raises UserError unless an image and its mask have the same (height, width)."""
    if image != hole:
        turned = image == hole[::-1]
        hint = "; one of them is turned by 90°" if turned else ""
        raise UserError(
            "",
            f"{name} is {hole[1]}×{hole[0]} pixels and the image {image[1]}×{image[0]} "
            "(width×height)",
            f"they must be the same size{hint}",
        )
