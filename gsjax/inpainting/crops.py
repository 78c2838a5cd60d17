"""Fills one image: cuts out its crops, and writes the painted crops back."""

from collections.abc import Callable, Generator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Integer

from gsjax.inpainting.canvas import paint_over
from gsjax.inpainting.geometry import Crop, overlapping
from gsjax.inpainting.plan import Layer, make_plan, small_crops_per_full
from gsjax.inpainting.windows import Patches
from gsjax.models.gaussian_head import Gaussians

_BLOCK = 256  # side in pixels of the blocks in which coarse crops are drawn

# A crop to paint: f32[h, w, 3] in [0, 1], and f32[h, w, 1], 1 where a pixel is known.
CropInput = tuple[np.ndarray, np.ndarray]
# The painted crop: the drawing f32[h, w, 3], and the Gaussians.
CropOutput = tuple[np.ndarray, Gaussians]
CropRequests = Generator[list[CropInput], list[CropOutput], None]


class Layout(NamedTuple):
    """The layout of a network's crops.

    Attributes:
      size: (height, width) of crops.
      rim: how deep a level paints; see `Geometry`.
      patches: the layout of patches in a crop.
      small: (height, width) of small crops, for holes of a few pixels; None to use none.
    """

    size: tuple[int, int]
    rim: float
    patches: Patches
    small: tuple[int, int] | None = None


def fill(
    image: Integer[np.ndarray, "h w 3"],
    hole: Bool[np.ndarray, "h w"],
    layout: Layout,
    batch_size: int,
    keep: Callable[[tuple[Crop, Gaussians]], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> CropRequests:
    """Fills an image in place: a generator that yields crops to paint, and is sent the results.

    Args:
      image: uint8 or uint16; only the hole is changed.
      hole: True where it should be filled.
      layout: of the crops.
      batch_size: maximum number of full-size crops to yield at a time, or the same work in small
        crops.
      keep: called with each crop and its Gaussians, in painting order.
      progress: called with the number of crops painted so far, and the total.
    """
    plan = make_plan(hole, layout.size, layout.rim, layout.small)
    done, total = 0, sum(len(wave) for layer in plan.layers for wave in layer.waves)
    for layer in plan.layers:
        before: list[Crop] = []
        count = batch_size
        if layer.geometry.size != layout.size:
            count *= small_crops_per_full(layout.size, layer.geometry.size)
        for wave in layer.waves:
            # Crops of a wave do not overlap, so the result does not depend on the batch size.
            for some in (wave[i : i + count] for i in range(0, len(wave), count)):
                earlier = overlapping(some, before)
                asked = zip(some, earlier, strict=True)
                answers = yield [_cut(image, hole, plan.depth, layer, *pair) for pair in asked]
                for crop, others, (drawn, gaussians) in zip(some, earlier, answers, strict=True):
                    put = (plan.depth, layer, layout.patches, crop, others, drawn, gaussians)
                    _put_back(image, hole, *put)
                    if keep is not None:
                        keep((crop, gaussians))
                done += len(some)
                if progress is not None:
                    progress(done, total)
            before += wave


def cut_known(image: Integer[np.ndarray, "h w 3"], crop: Crop, size: tuple[int, int]) -> CropInput:
    """Returns the network's input for a crop of factor 1 without unknown pixels."""
    pixels = image[crop.top : crop.top + crop.height, crop.left : crop.left + crop.width]
    pad = ((0, size[0] - crop.height), (0, size[1] - crop.width), (0, 0))
    pixels = np.pad(np.float32(pixels) / np.iinfo(image.dtype).max, pad, "symmetric")
    return pixels, np.ones((*size, 1), np.float32)


def _cut(image, hole, depths, layer: Layer, crop: Crop, earlier: list[Crop]) -> CropInput:
    """Returns the network's input for a crop: downsampled by its factor, padded by reflection.

    Pixels that earlier crops of its layer painted in their cores count as known.
    """
    factor, (height, width) = crop.factor, layer.geometry.size
    peak = np.iinfo(image.dtype).max
    if factor == 1:
        where = np.s_[crop.top : crop.top + crop.height, crop.left : crop.left + crop.width]
        known = _seen(hole, depths, layer, crop, earlier, where)[..., None].astype(np.float32)
        pixels = image[where] * (known / peak)
    else:
        pixels, known = _shrunk(image, hole, depths, layer, crop, earlier)
        pixels *= known / peak
    pad = ((0, height - len(pixels)), (0, width - pixels.shape[1]), (0, 0))
    return np.pad(pixels, pad, "symmetric"), np.pad(known, pad, "symmetric")


def _seen(hole, depths, layer: Layer, crop: Crop, earlier: list[Crop], where):
    """Returns which pixels a crop sees: known ones, and those that other crops have painted."""
    depth = depths[where]
    # Coarser crops have painted what is deeper in the hole.
    seen = ~hole[where] | (depth > layer.geometry.reach(crop.factor))
    deep = depth > layer.geometry.hidden_depth(crop.factor)
    for core in map(layer.geometry.core_of, earlier):
        part = tuple(
            slice(max(own.start - here.start, 0), max(own.stop - here.start, 0))
            for own, here in zip(core, where, strict=True)
        )
        seen[part] |= deep[part]
    return seen


def _shrunk(image, hole, depths, layer: Layer, crop: Crop, earlier: list[Crop]) -> CropInput:
    """Returns the mean of the visible pixels in each cell, and which cells are mostly visible."""
    factor = crop.factor
    rows, columns = -(-crop.height // factor), -(-crop.width // factor)
    pixels = np.empty((rows, columns, 3), np.float32)
    known = np.empty((rows, columns, 1), np.float32)
    for row in range(rows):  # a strip at a time: a coarse crop may be a large image
        top = crop.top + row * factor
        bottom = min(top + factor, crop.top + crop.height)
        where = np.s_[top:bottom, crop.left : crop.left + crop.width]
        seen = _seen(hole, depths, layer, crop, earlier, where)
        values = image[where] * seen[..., None]
        ends = np.arange(0, crop.width, factor)
        area = np.add.reduceat(np.full(crop.width, bottom - top), ends)
        count = np.add.reduceat(seen.sum(0), ends)
        total = np.add.reduceat(values.sum(0, dtype=np.int64), ends, axis=0)
        pixels[row] = total / np.maximum(count, 1)[:, None]
        known[row, :, 0] = 2 * count >= area
    return pixels, known


def _put_back(
    image, hole, depths, layer: Layer, patches, crop: Crop, earlier, drawn, gaussians
) -> None:
    """Writes a painted crop to the hole, except where finer crops cover it, block by block."""
    steps, peak = (1.0, 1.0), np.iinfo(image.dtype).max
    side = _BLOCK if crop.factor > 1 else max(crop.height, crop.width)
    above = layer.geometry.hidden_depth(crop.factor)
    for top in range(crop.top, crop.top + crop.height, side):
        for left in range(crop.left, crop.left + crop.width, side):
            bottom = min(top + side, crop.top + crop.height)
            right = min(left + side, crop.left + crop.width)
            where = np.s_[top:bottom, left:right]
            wanted = hole[where] & (depths[where] > above)
            if not wanted.any():
                continue
            canvas = image[where].astype(np.float32) / peak
            own = drawn[: crop.height, : crop.width] if crop.factor == 1 else None
            paint_over(
                canvas, (top, left), steps, depths[where], layer.geometry, patches, crop,
                earlier, gaussians, own,
            )  # fmt: skip
            values = np.rint(canvas * peak).astype(image.dtype)
            np.copyto(image[where], values, where=wanted[..., None])
