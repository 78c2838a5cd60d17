"""Crops, and how much each of them counts where: cores, seams and levels."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

# Sixteenths of a crop's side that are context alone, on each side of its core.
_CONTEXT = 3
# Of the reach of a level, the inner part fades into the coarser level's painting.
_FADE = 0.25
# Crops of a layer fade into each other over this part of their side, no more: the mean of two
# textures has half the variance of one.
_SEAM = 1 / 32


class Crop(NamedTuple):
    """A part of an image, as large as the image allows: size · factor pixels a side at most."""

    top: int
    left: int
    height: int
    width: int
    factor: int  # pixels of the image that a pixel of the network spans, a power of two
    layer: int = 0  # crops of a layer leave each other's cores alone


class Geometry(NamedTuple):
    """How the crops lie in an image.

    Attributes:
      shape: (height, width) of the image.
      size: (height, width) of the network's input.
      rim: how deep a level paints without a coarser one, of half a core's side, up to 1. The
        deeper a hole, the more of a crop it is, and the less of the crop shows what to continue.
    """

    shape: tuple[int, int]
    size: tuple[int, int]
    rim: float = 1.0

    @property
    def context(self) -> tuple[int, int]:
        """Pixels of the network's input around its core, in height and width."""
        return self.size[0] * _CONTEXT // 16, self.size[1] * _CONTEXT // 16

    @property
    def core(self) -> tuple[int, int]:
        """Height and width of the part of the network's input that holes are put in."""
        return self.size[0] - 2 * self.context[0], self.size[1] - 2 * self.context[1]

    def max_box(self, factor: int) -> tuple[int, int]:
        """Height and width of the largest box, in pixels, whose holes one crop can paint.

        A crop does not fade towards the image's own edges: one as long as the image has room
        for all of it.
        """
        return tuple(
            side if side <= own * factor else core * factor
            for side, own, core in zip(self.shape, self.size, self.core, strict=True)
        )

    @property
    def levels(self) -> int:
        """How many times the image may be halved; then it fits into one crop."""
        ratio = max(side / own for side, own in zip(self.shape, self.size, strict=True))
        return max(0, int(np.ceil(np.log2(ratio))))

    def reach(self, factor: int) -> float:
        """Pixels from the nearest known pixel up to which crops of a factor paint."""
        if factor >= 2**self.levels:
            return np.inf
        return factor * self.rim * min(self.core) / 2 / (1 - _FADE)

    def opaque_depth(self, factor: int) -> float:
        """Pixels from the nearest known pixel up to which nothing shows of coarser crops."""
        return (1 - _FADE) * self.reach(factor)

    def hidden_depth(self, factor: int) -> float:
        """Pixels from the nearest known pixel up to which finer crops leave nothing to show."""
        return self.opaque_depth(factor // 2) if factor > 1 else 0.0

    def level_weight(
        self, factor: int, depth: Float[np.ndarray, "h w"]
    ) -> Float[np.ndarray, "h w"]:
        """Returns how much of what a level paints is taken at these distances, 0 to 1."""
        reach = self.reach(factor)
        if np.isinf(reach):
            return np.ones_like(depth)
        return np.clip((reach - depth) / (_FADE * reach), 0, 1)

    def crop_weight(
        self, crop: Crop, y: Float[np.ndarray, " h"], x: Float[np.ndarray, " w"]
    ) -> Float[np.ndarray, "h w"]:
        """Returns a crop's weight at points of the image: 1 in its core and a seam around it.

        From there on crops fade towards their edges, but not where these are the image's.

        Args:
          crop: the crop.
          y: rows, in pixels from the image's upper edge: row i is at i + 1/2.
          x: columns, likewise.
        """
        return self._fading(crop, y, x, [0.0, 0.0], [c - s for c, s in self._margins()])

    def core_weight(
        self, crop: Crop, y: Float[np.ndarray, " h"], x: Float[np.ndarray, " w"]
    ) -> Float[np.ndarray, "h w"]:
        """Returns how much a crop leaves to later ones of its level: 1, nothing, in its core.

        Over a seam around the core it falls to 0. Arguments as for `crop_weight`.
        """
        starts, lengths = zip(*((c - s, s) for c, s in self._margins()), strict=True)
        return self._fading(crop, y, x, starts, lengths)

    def core_of(self, crop: Crop) -> tuple[slice, slice]:
        """Returns the pixels of the image that are a crop's core."""
        parts = []
        for start, length, context, end in zip(
            crop[:2], crop[2:4], self.context, self.shape, strict=True
        ):
            low = start + context * crop.factor if start > 0 else 0
            stop = start + length
            parts.append(slice(low, stop - context * crop.factor if stop < end else end))
        return tuple(parts)

    def _margins(self) -> list[tuple[int, float]]:
        """Returns context and seam along each axis, in the network's pixels."""
        return [(c, own * _SEAM) for c, own in zip(self.context, self.size, strict=True)]

    def _fading(self, crop, y, x, starts, lengths) -> Float[np.ndarray, "h w"]:
        """Returns what rises from 0 to 1 over a length, from so far inside a crop's edges on.

        Of edges that are the image's it is 1.
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
    """Returns, for each crop, those of the others that share pixels with it, in their order."""
    if not others:
        return [[] for _ in crops]
    top, left, height, width = np.array([other[:4] for other in others]).T
    found = []
    for crop in crops:
        down = (top < crop.top + crop.height) & (crop.top < top + height)
        across = (left < crop.left + crop.width) & (crop.left < left + width)
        found.append([others[i] for i in np.flatnonzero(down & across)])
    return found
