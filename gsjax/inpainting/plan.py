"""Which parts of an image are worked on, at which scale, to fill its holes.

The network sees crops of one size, at which it was trained. A hole that is narrow and fits into
the core of a crop is painted in one, at the image's own resolution. Of a larger hole only the rim
is, where it matters most: level k, whose crops are shrunk 2^k times, paints what is within
`reach` · 2^k pixels of a known pixel, and takes as known what lies deeper and has been painted
by the levels above it. So a hole costs what its border is long, not what its area is.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float

# Sixteenths of a crop's side that are context alone, on each side of its core.
_CONTEXT = 3
# Of the reach of a level, the inner part fades into the coarser level's painting.
_FADE = 0.25
# Crops of a level fade into each other over this part of their side, no more: the mean of two
# textures has half the variance of one.
_SEAM = 1 / 32


class Crop(NamedTuple):
    """A part of an image, as large as the image allows: size · factor pixels a side at most."""

    top: int
    left: int
    height: int
    width: int
    factor: int  # pixels of the image that a pixel of the network spans, a power of two


class Geometry(NamedTuple):
    """How the crops lie in an image.

    Attributes:
      shape: (height, width) of the image.
      size: (height, width) of the network's input.
      rim: how deep a level paints without a coarser one, of half a core's side, up to 1. The
        deeper a hole, the more of a crop it is, and the less of the crop shows what to go on with.
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

    def room(self, factor: int) -> tuple[int, int]:
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

    def full(self, factor: int) -> float:
        """Pixels from the nearest known pixel up to which nothing shows of coarser crops."""
        return (1 - _FADE) * self.reach(factor)

    def above(self, factor: int) -> float:
        """Pixels from the nearest known pixel up to which finer crops leave nothing to show."""
        return self.full(factor // 2) if factor > 1 else 0.0

    def weight(self, factor: int, depth: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
        """Returns how much of what a level paints is taken at these distances, 0 to 1."""
        reach = self.reach(factor)
        if np.isinf(reach):
            return np.ones_like(depth)
        return np.clip((reach - depth) / (_FADE * reach), 0, 1)

    def tent(
        self, crop: Crop, y: Float[np.ndarray, "h"], x: Float[np.ndarray, "w"]
    ) -> Float[np.ndarray, "h w"]:
        """Returns a crop's weight at points of the image: 1 in its core and a seam around it.

        From there on crops fade towards their edges, but not where these are the image's.

        Args:
          crop: the crop.
          y: rows, in pixels from the image's upper edge: row i is at i + 1/2.
          x: columns, likewise.
        """
        return self._fading(crop, y, x, [0.0, 0.0], [c - s for c, s in self._margins()])

    def taken(
        self, crop: Crop, y: Float[np.ndarray, "h"], x: Float[np.ndarray, "w"]
    ) -> Float[np.ndarray, "h w"]:
        """Returns how much a crop leaves to later ones of its level: 1, nothing, in its core.

        Over a seam around the core it falls to 0. Arguments as for `tent`.
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


class Plan(NamedTuple):
    """What is to be painted.

    Attributes:
      geometry: how crops lie in the image.
      depth: in the holes, the distance to the nearest known pixel; 0 where it is known.
      levels: the crops of each factor, the coarsest first, in waves: crops of a wave do not
        overlap, and each sees what the waves before it have painted.
    """

    geometry: Geometry
    depth: Float[np.ndarray, "h w"]
    levels: dict[int, list[list[Crop]]]


def make_plan(hole: Bool[np.ndarray, "h w"], size: tuple[int, int], rim: float = 1.0) -> Plan:
    """Returns the crops that fill a hole.

    Takes memory where the holes are: 4 bytes a pixel of the boxes around them.

    Args:
      hole: True where the image is to be filled.
      size: (height, width) of the network's input.
      rim: how deep a level paints; see `Geometry`.
    """
    geometry = Geometry(hole.shape, size, rim)
    depth = np.zeros(hole.shape, np.float32)  # pages that nothing is written to cost nothing
    targets: dict[int, list[Box]] = {}
    for box, own in _groups(hole, max(1, min(size) // 16)):
        own_depth = np.where(own, _distance(hole, box), 0)
        np.maximum(depth[box], own_depth, out=depth[box])
        deepest = float(own_depth.max())
        for level in range(geometry.levels + 1):
            factor = 2**level
            target = (own_depth > geometry.above(factor)) & (own_depth <= geometry.reach(factor))
            corner = (box[0].start, box[1].start)
            targets.setdefault(factor, []).extend(_cover(target, corner, geometry, factor))
            if deepest <= geometry.full(factor):
                break
    levels = {}
    for factor in sorted(targets, reverse=True):
        boxes = _merge(targets[factor], geometry.room(factor))
        levels[factor] = _waves([_around(box, geometry, factor) for box in boxes])
    return Plan(geometry, depth, levels)


def cover(mask: Bool[np.ndarray, "h w"], geometry: Geometry) -> list[Crop]:
    """Returns crops at the image's own resolution whose cores cover a mask."""
    boxes = []
    for box, own in _groups(mask, max(1, min(geometry.size) // 16)):
        boxes += _cover(own, (box[0].start, box[1].start), geometry, 1)
    return [_around(box, geometry, 1) for box in _merge(boxes, geometry.room(1))]


def _groups(
    hole: Bool[np.ndarray, "h w"], cell: int
) -> Iterator[tuple[tuple[slice, slice], Bool[np.ndarray, "bh bw"]]]:
    """Yields the holes, those near each other together: the box around each and its own pixels.

    Holes in neighboring cells are one. The box has a known pixel more on each side, where
    the image goes on.
    """
    height, width = hole.shape
    count, labels, stats, _ = cv2.connectedComponentsWithStats(_any(hole, cell).view(np.uint8))
    for label in range(1, count):
        left, top, columns, rows, _ = (int(value) for value in stats[label])
        cells = labels[top : top + rows, left : left + columns] == label
        mine = cells.repeat(cell, 0).repeat(cell, 1)
        y, x = top * cell, left * cell
        mine = mine[: height - y, : width - x]
        part = hole[y : y + mine.shape[0], x : x + mine.shape[1]] & mine
        box = _box_of(part, y, x)
        part = part[box.top - y : box.bottom - y, box.left - x : box.right - x]
        slices, pad = [], []
        for start, stop, end in ((box.top, box.bottom, height), (box.left, box.right, width)):
            slices.append(slice(max(start - 1, 0), min(stop + 1, end)))
            pad.append((int(start > 0), int(stop < end)))
        yield tuple(slices), np.pad(part, pad)


def _distance(hole: np.ndarray, box: tuple[slice, slice]) -> Float[np.ndarray, "bh bw"]:
    """Returns the distance to the nearest known pixel in a box; outside it nothing is known."""
    part = hole[box]
    if part.all():  # of the whole image, then, for which OpenCV's answer is not defined
        return np.full(part.shape, sum(part.shape), np.float32)
    return cv2.distanceTransform(part.view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)


def _any(mask: np.ndarray, cell: int) -> Bool[np.ndarray, "rows columns"]:
    """Returns which square cells of a mask have a pixel set."""
    for axis in (0, 1):  # slices of all cells at a time: much faster than cell by cell
        slices = [mask[i::cell] if axis == 0 else mask[:, i::cell] for i in range(cell)]
        found = slices[0].copy()
        for other in slices[1:]:
            part = found[: other.shape[0], : other.shape[1]]
            np.logical_or(part, other, out=part)
        mask = found
    return mask


class Box(NamedTuple):
    """Pixels from top to bottom and from left to right, without the last ones."""

    top: int
    left: int
    bottom: int
    right: int


def _box_of(mask: np.ndarray, top: int, left: int, cell: int = 1) -> Box:
    """Returns the box around what is set in a mask of cells whose corner is at (top, left)."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    (first, last), (start, end) = (rows[0], rows[-1] + 1), (columns[0], columns[-1] + 1)
    edges = (first * cell + top, start * cell + left, last * cell + top, end * cell + left)
    return Box(*map(int, edges))


def _cover(
    target: np.ndarray, corner: tuple[int, int], geometry: Geometry, factor: int
) -> list[Box]:
    """Covers a mask, whose corner is at this pixel, with boxes for which a crop has room.

    What fits into one crop gets one; what does not is divided, band by band.
    """
    cell = factor * max(1, min(geometry.size) // 16)
    cells, room = _any(target, cell), geometry.room(factor)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(cells.view(np.uint8))
    boxes = []
    for label in range(1, count):
        left, top, columns, rows, _ = (int(value) for value in stats[label])
        own = labels[top : top + rows, left : left + columns] == label
        where = np.s_[top * cell : (top + rows) * cell, left * cell : (left + columns) * cell]
        mine = target[where]
        mine = mine & own.repeat(cell, 0).repeat(cell, 1)[: mine.shape[0], : mine.shape[1]]
        box = _box_of(mine, corner[0] + top * cell, corner[1] + left * cell)
        if box.bottom - box.top <= room[0] and box.right - box.left <= room[1]:
            boxes.append(box)
            continue
        high, wide = (
            count if own == side else max(1, own // cell)
            for count, own, side in zip((rows, columns), room, geometry.shape, strict=True)
        )
        for y in range(0, rows, high):
            band = own[y : y + high]
            x = 0
            for column in np.flatnonzero(band.any(0)):
                if column < x:
                    continue
                x = int(column) + wide
                start = (corner[0] + (top + y) * cell, corner[1] + (left + column) * cell)
                boxes.append(_box_of(band[:, column:x], *start, cell))
    return boxes


def _merge(boxes: list[Box], room: tuple[int, int]) -> list[Box]:
    """Joins boxes that have room together, (height, width): band by band, from left to right."""
    merged: list[Box] = []
    left = sorted(boxes)
    while left:
        bottom = left[0].top + room[0]
        reached = next((i for i, box in enumerate(left) if box.top >= bottom), len(left))
        candidates, left = left[:reached], left[reached:]
        band = [box for box in candidates if box.bottom <= bottom] or candidates[:1]
        chosen = set(band)
        left = [box for box in candidates if box not in chosen] + left
        joined = None
        for box in sorted(band, key=lambda box: box.left):
            if joined is None or box.right - joined.left > room[1]:
                merged += [joined] if joined else []
                joined = box
            joined = Box(
                min(joined.top, box.top),
                min(joined.left, box.left),
                max(joined.bottom, box.bottom),
                max(joined.right, box.right),
            )
        merged.append(joined)
    return merged


def _around(box: Box, geometry: Geometry, factor: int) -> Crop:
    """Returns the crop that has a box in its middle, or as near to it as the image allows."""

    def along(start, stop, end, size):
        length = min(end, size * factor)
        return min(max((start + stop - length) // 2, 0), end - length), length

    top, height = along(box.top, box.bottom, geometry.shape[0], geometry.size[0])
    left, width = along(box.left, box.right, geometry.shape[1], geometry.size[1])
    return Crop(top, left, height, width, factor)


def overlapping(crop: Crop, others: Sequence[Crop]) -> list[Crop]:
    """Returns those of other crops that share pixels with a crop, in their order."""
    bottom, right = crop.top + crop.height, crop.left + crop.width
    return [
        other
        for other in others
        if other.top < bottom
        and crop.top < other.top + other.height
        and other.left < right
        and crop.left < other.left + other.width
    ]


def _waves(crops: list[Crop]) -> list[list[Crop]]:
    """Divides crops among as few waves as a greedy coloring finds."""
    waves: list[list[Crop]] = []
    for crop in crops:
        wave = next((wave for wave in waves if not overlapping(crop, wave)), None)
        if wave is None:
            waves.append(wave := [])
        wave.append(crop)
    return waves
