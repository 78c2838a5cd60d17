"""The geometry of crops: cores, seams and levels, and the weights they give to pixels."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

# Width of the context on each side of a crop's core, in sixteenths of the crop's side.
_CONTEXT = 3
# Inner fraction of a level's reach over which it blends into the coarser level.
_FADE = 0.25
# Fraction of their side over which crops of a layer blend. Small, because the mean of two textures
# has half the variance of one.
_SEAM = 1 / 32


class Crop(NamedTuple):
    """A part of an image; size · factor pixels per side, or less if the image is smaller."""

    top: int
    left: int
    height: int
    width: int
    factor: int  # image pixels per network pixel, a power of two
    layer: int = 0  # crops of a layer do not change each other's cores


class Geometry(NamedTuple):
    """The layout of crops in an image.

    Attributes:
      shape: (height, width) of the image.
      size: (height, width) of the network's input.
      rim: how deep a level paints before a coarser one takes over, as a fraction of half a core's
        side, up to 1. The deeper the hole, the less of a crop is known.
    """

    shape: tuple[int, int]
    size: tuple[int, int]
    rim: float = 1.0

    @property
    def context(self) -> tuple[int, int]:
        """Height and width of the context on each side of the core, in network pixels."""
        return self.size[0] * _CONTEXT // 16, self.size[1] * _CONTEXT // 16

    @property
    def core(self) -> tuple[int, int]:
        """Height and width of the core, the part of the network's input where holes go."""
        return self.size[0] - 2 * self.context[0], self.size[1] - 2 * self.context[1]

    def max_box(self, factor: int) -> tuple[int, int]:
        """Height and width of the largest box, in image pixels, whose holes one crop can paint.

        Crops do not fade at the edges of the image, so a crop as long as the image can paint all of
        it.
        """
        height, width = (
            side if side <= own * factor else core * factor
            for side, own, core in zip(self.shape, self.size, self.core, strict=True)
        )
        return height, width

    @property
    def levels(self) -> int:
        """How often the image must be halved to fit into one crop."""
        ratio = max(side / own for side, own in zip(self.shape, self.size, strict=True))
        return max(0, int(np.ceil(np.log2(ratio))))

    def reach(self, factor: int) -> float:
        """Depth in the hole, in pixels, up to which crops of a factor paint."""
        if factor >= 2**self.levels:
            return np.inf
        return factor * self.rim * min(self.core) / 2 / (1 - _FADE)

    def opaque_depth(self, factor: int) -> float:
        """Depth in the hole, in pixels, up to which crops of a factor hide coarser ones."""
        return (1 - _FADE) * self.reach(factor)

    def hidden_depth(self, factor: int) -> float:
        """Depth in the hole, in pixels, up to which finer crops hide crops of a factor."""
        return self.opaque_depth(factor // 2) if factor > 1 else 0.0

    def level_weight(
        self, factor: int, depth: Float[np.ndarray, "h w"]
    ) -> Float[np.ndarray, "h w"]:
        """Returns a level's weight at pixels of these depths, from 0 to 1."""
        reach = self.reach(factor)
        if np.isinf(reach):
            return np.ones_like(depth)
        return np.clip((reach - depth) / (_FADE * reach), 0, 1)

    def crop_weight(
        self, crop: Crop, y: Float[np.ndarray, " h"], x: Float[np.ndarray, " w"]
    ) -> Float[np.ndarray, "h w"]:
        """Returns a crop's weight at points of the image: 1 in its core and a seam around it.

        Beyond the seam it falls to 0 at the crop's edges, except at the edges of the image.

        Args:
          crop: the crop.
          y: rows, in pixels from the image's upper edge; row i is at i + 1/2.
          x: columns, likewise.
        """
        return self._fading(crop, y, x, [0.0, 0.0], [c - s for c, s in self._margins()])

    def core_weight(
        self, crop: Crop, y: Float[np.ndarray, " h"], x: Float[np.ndarray, " w"]
    ) -> Float[np.ndarray, "h w"]:
        """Returns how far a crop is protected from later ones of its layer: 1 in its core.

        It falls to 0 over a seam around the core. Arguments as for `crop_weight`.
        """
        starts, lengths = zip(*((c - s, s) for c, s in self._margins()), strict=True)
        return self._fading(crop, y, x, starts, lengths)

    def core_of(self, crop: Crop) -> tuple[slice, slice]:
        """Returns the image pixels of a crop's core."""
        rows, columns = (
            self._core_along(*along, crop.factor)
            for along in zip(crop[:2], crop[2:4], self.context, self.shape, strict=True)
        )
        return rows, columns

    @staticmethod
    def _core_along(start: int, length: int, context: int, end: int, factor: int) -> slice:
        low = start + context * factor if start > 0 else 0
        stop = start + length
        return slice(low, stop - context * factor if stop < end else end)

    def _margins(self) -> list[tuple[int, float]]:
        """Returns context and seam along each axis, in network pixels."""
        return [(c, own * _SEAM) for c, own in zip(self.context, self.size, strict=True)]

    def _fading(self, crop, y, x, starts, lengths) -> Float[np.ndarray, "h w"]:
        """Returns a ramp from 0 to 1 over `lengths`, from `starts` inside of a crop's edges.

        There is no ramp at the edges of the image. Lengths and starts are in network pixels.
        """

        def along(axis, points):
            first, length = crop[axis], crop[2 + axis]
            start, ramp = starts[axis] * crop.factor, lengths[axis] * crop.factor
            low = (points - first - start) / ramp if first > 0 else np.inf
            last = first + length
            high = (last - points - start) / ramp if last < self.shape[axis] else np.inf
            inside = (points >= first) & (points <= last)
            return np.where(inside, np.clip(np.minimum(low, high), 0, 1), 0)

        return (along(0, y)[:, None] * along(1, x)).astype(np.float32)


def overlapping(crops: Sequence[Crop], others: Sequence[Crop]) -> list[list[Crop]]:
    """Returns, for each crop, the others that share pixels with it, in their order."""
    if not others:
        return [[] for _ in crops]
    top, left, height, width = np.array([other[:4] for other in others]).T
    result = []
    for crop in crops:
        down = (top < crop.top + crop.height) & (crop.top < top + height)
        across = (left < crop.left + crop.width) & (crop.left < left + width)
        result.append([others[i] for i in np.flatnonzero(down & across).tolist()])
    return result
