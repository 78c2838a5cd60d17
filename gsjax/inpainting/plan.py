"""Which parts of an image are worked on, at which scale, to fill its holes.

The network sees crops of one size, at which it was trained. A hole that is narrow and fits into
the core of a crop is painted in one, at the image's own resolution. Of a larger hole only the rim
is, where it matters most: level k, whose crops are shrunk 2^k times, paints what is within
`reach` · 2^k pixels of a known pixel, and takes as known what lies deeper and has been painted
by the levels above it. So a hole costs what its border is long, not what its area is.
"""

from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float

from gsjax.inpainting.geometry import Crop, Geometry, overlapping

# Of a crop's side, that of a tile: a small crop for holes of a few pixels.
_TILE = 3 / 16


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


def _waves(crops: list[Crop]) -> list[list[Crop]]:
    """Divides crops among as few waves as a greedy coloring finds."""
    waves: list[list[Crop]] = []
    for crop in crops:
        wave = next((wave for wave in waves if not overlapping(crop, wave)), None)
        if wave is None:
            waves.append(wave := [])
        wave.append(crop)
    return waves
