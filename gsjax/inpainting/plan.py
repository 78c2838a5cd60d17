"""Plans which crops of an image to paint, and at which scale, to fill its holes.

The network sees crops of the size it was trained at. A narrow hole that fits into the core of a
crop is painted in one pass, at the image's resolution. Of a larger hole, only the rim is painted
at that resolution, where it matters most. Level k, whose crops are downsampled by 2^k, paints what
is within `reach` · 2^k pixels of a known pixel, and treats what coarser levels have painted deeper
in the hole as known. So the cost of a hole grows with the length of its border, not its area.
"""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float

from gsjax.inpainting.depth import depth_in
from gsjax.inpainting.geometry import Crop, Geometry, overlapping


class Layer(NamedTuple):
    """Crops of one size and factor.

    Attributes:
      geometry: the layout of the crops.
      factor: image pixels per network pixel.
      waves: groups of crops that do not overlap; each wave sees what earlier waves have painted.
    """

    geometry: Geometry
    factor: int
    waves: list[list[Crop]]


class Plan(NamedTuple):
    """The crops to paint.

    Attributes:
      depth: the distance to the nearest known pixel in holes, 0 elsewhere.
      layers: in painting order: small crops, then others from coarse to fine.
    """

    depth: Float[np.ndarray, "h w"]
    layers: list[Layer]


def make_plan(
    hole: Bool[np.ndarray, "h w"],
    size: tuple[int, int],
    rim: float = 1.0,
    small: tuple[int, int] | None = None,
) -> Plan:
    """Returns the crops that fill a hole.

    Takes 4 bytes of memory per pixel of the boxes around holes.

    Args:
      hole: True where the image should be filled.
      size: (height, width) of the network's input.
      rim: how deep a level paints; see `Geometry`.
      small: (height, width) of small crops for holes of a few pixels, used where they at least
        halve the work; None to use none.
    """
    geometry = Geometry(hole.shape, size, rim)
    specks = None
    if small and hole.shape[0] >= small[0] and hole.shape[1] >= small[1]:
        specks = Geometry(hole.shape, small, rim)
    depth = np.zeros(hole.shape, np.float32)  # untouched pages take no memory
    targets: dict[int, list[Box]] = {1: []}
    tiny: list[tuple[list[Box], list[Box]]] = []
    for box, own in _groups(hole, max(1, min(size) // 16)):
        own_depth = np.where(own, depth_in(hole[box]), 0)
        np.maximum(depth[box], own_depth, out=depth[box])
        deepest = float(own_depth.max())
        corner = (box[0].start, box[1].start)
        if specks and deepest <= specks.opaque_depth(1):
            pieces = _cover(own, corner, specks, 1, divide=False)
            if pieces:
                tiny.append((pieces, _cover(own, corner, geometry, 1)))
                continue
        for level in range(geometry.levels + 1):
            factor = 2**level
            target = (own_depth > geometry.hidden_depth(factor)) & (
                own_depth <= geometry.reach(factor)
            )
            targets.setdefault(factor, []).extend(_cover(target, corner, geometry, factor))
            if deepest <= geometry.opaque_depth(factor):
                break
    layers = []
    if specks and tiny:
        pieces, boxes = ([*itertools.chain(*parts)] for parts in zip(*tiny, strict=True))
        alone, merged = _crops(pieces, specks, 1, 1), _crops(targets[1] + boxes, geometry, 1, 1)
        others = len(_crops(targets[1], geometry, 1, 1))
        if 2 * (others + len(alone) / small_crops_per_full(size, specks.size)) <= len(merged):
            layers.append(Layer(specks, 1, _waves(alone)))
        else:
            targets[1] += boxes
    for factor in sorted(targets, reverse=True):
        crops = _crops(targets[factor], geometry, factor, len(layers) + 1)
        if crops:
            layers.append(Layer(geometry, factor, _waves(crops)))
    return Plan(depth, layers)


def small_crops_per_full(size: tuple[int, int], small: tuple[int, int]) -> int:
    """Returns how many small crops are as much work as one full-size crop."""
    return (size[0] * size[1]) // (small[0] * small[1])


def _crops(boxes: list["Box"], geometry: Geometry, factor: int, layer: int) -> list[Crop]:
    """Returns crops with the boxes in their cores; boxes that fit together share a crop."""
    return [
        _crop_around(box, geometry, factor)._replace(layer=layer)
        for box in _merge(boxes, geometry.max_box(factor))
    ]


def covering_crops(mask: Bool[np.ndarray, "h w"], geometry: Geometry) -> list[Crop]:
    """Returns crops at the image's resolution whose cores cover a mask."""
    boxes = []
    for box, own in _groups(mask, max(1, min(geometry.size) // 16)):
        boxes += _cover(own, (box[0].start, box[1].start), geometry, 1)
    return _crops(boxes, geometry, 1, 0)


def _groups(
    hole: Bool[np.ndarray, "h w"], cell: int
) -> Iterator[tuple[tuple[slice, slice], Bool[np.ndarray, "bh bw"]]]:
    """Yields the bounding box of each hole, and a mask of its pixels in the box.

    Holes in neighboring cells form one. Boxes have a margin of one known pixel, except at the edges
    of the image.
    """
    height, width = hole.shape
    count, labels, stats, _ = cv2.connectedComponentsWithStats(
        _any_in_cell(hole, cell).view(np.uint8)
    )
    for label in range(1, count):
        left, top, columns, rows, _ = (int(value) for value in stats[label])
        cells = labels[top : top + rows, left : left + columns] == label
        mine = cells.repeat(cell, 0).repeat(cell, 1)
        y, x = top * cell, left * cell
        mine = mine[: height - y, : width - x]
        part = hole[y : y + mine.shape[0], x : x + mine.shape[1]] & mine
        box = _box_of(part, y, x)
        part = part[box.top - y : box.bottom - y, box.left - x : box.right - x]
        above, below = int(box.top > 0), int(box.bottom < height)
        before, after = int(box.left > 0), int(box.right < width)
        part_of_image = (
            slice(box.top - above, box.bottom + below),
            slice(box.left - before, box.right + after),
        )
        yield part_of_image, np.pad(part, ((above, below), (before, after)))


def _any_in_cell(mask: np.ndarray, cell: int) -> Bool[np.ndarray, "rows columns"]:
    """Returns which square cells of a mask have any pixel set."""
    for axis in (0, 1):  # one slice of all cells at a time: much faster than cell by cell
        slices = [mask[i::cell] if axis == 0 else mask[:, i::cell] for i in range(cell)]
        reduced = slices[0].copy()
        for other in slices[1:]:
            part = reduced[: other.shape[0], : other.shape[1]]
            np.logical_or(part, other, out=part)
        mask = reduced
    return mask


class Box(NamedTuple):
    """A rectangle of pixels; bottom and right are exclusive."""

    top: int
    left: int
    bottom: int
    right: int


def _box_of(mask: np.ndarray, top: int, left: int, cell: int = 1) -> Box:
    """Returns the bounding box of a mask of cells whose corner is at (top, left)."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    (first, last), (start, end) = (rows[0], rows[-1] + 1), (columns[0], columns[-1] + 1)
    edges = (first * cell + top, start * cell + left, last * cell + top, end * cell + left)
    return Box(*map(int, edges))


def _cover(
    target: np.ndarray,
    corner: tuple[int, int],
    geometry: Geometry,
    factor: int,
    divide: bool = True,
) -> list[Box]:
    """Covers a mask, whose corner is at `corner`, with boxes that fit into crops.

    A component that fits into a crop gets one box. Others are divided, band by band; without
    `divide`, the result is then empty.
    """
    cell = factor * max(1, min(geometry.size) // 16)
    cells, room = _any_in_cell(target, cell), geometry.max_box(factor)
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
        if not divide:
            return []
        high, wide = (
            count if own == side else max(1, own // cell)
            for count, own, side in zip((rows, columns), room, geometry.shape, strict=True)
        )
        for y in range(0, rows, high):
            band = own[y : y + high]
            x = 0
            for column in np.flatnonzero(band.any(0)).tolist():
                if column < x:
                    continue
                x = column + wide
                start = (corner[0] + (top + y) * cell, corner[1] + (left + column) * cell)
                boxes.append(_box_of(band[:, column:x], *start, cell))
    return boxes


def _merge(boxes: list[Box], room: tuple[int, int]) -> list[Box]:
    """Joins boxes that fit together into `room` (height, width), by bands from left to right."""
    merged: list[Box] = []
    left = sorted(boxes)
    while left:
        bottom = left[0].top + room[0]
        reached = next((i for i, box in enumerate(left) if box.top >= bottom), len(left))
        candidates, left = left[:reached], left[reached:]
        band = [box for box in candidates if box.bottom <= bottom] or candidates[:1]
        chosen = set(band)
        left = [box for box in candidates if box not in chosen] + left
        joined, *others = sorted(band, key=lambda box: box.left)
        for box in others:
            if box.right - joined.left > room[1]:
                merged.append(joined)
                joined = box
            joined = Box(
                min(joined.top, box.top),
                min(joined.left, box.left),
                max(joined.bottom, box.bottom),
                max(joined.right, box.right),
            )
        merged.append(joined)
    return merged


def _crop_around(box: Box, geometry: Geometry, factor: int) -> Crop:
    """Returns the crop centered on a box, as far as the edges of the image allow."""

    def along(start, stop, end, size):
        length = min(end, size * factor)
        return min(max((start + stop - length) // 2, 0), end - length), length

    top, height = along(box.top, box.bottom, geometry.shape[0], geometry.size[0])
    left, width = along(box.left, box.right, geometry.shape[1], geometry.size[1])
    return Crop(top, left, height, width, factor)


def _waves(crops: list[Crop]) -> list[list[Crop]]:
    """Divides crops into waves by greedy coloring."""
    waves: list[list[Crop]] = []
    wave_of: dict[Crop, int] = {}
    for crop, near in zip(crops, overlapping(crops, crops), strict=True):
        taken = {wave_of.get(other) for other in near}
        wave = next(i for i in range(len(waves) + 1) if i not in taken)
        if wave == len(waves):
            waves.append([])
        waves[wave].append(crop)
        wave_of[crop] = wave
    return waves
