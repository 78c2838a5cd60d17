"""Filling one image: its crops are cut out, and what is painted of them is put back."""

from collections.abc import Callable, Generator

import numpy as np
from jaxtyping import Bool, Integer

from gsjax.inpainting.field import paint_over
from gsjax.inpainting.plan import Crop, Plan, make_plan, overlapping
from gsjax.inpainting.windows import Patches
from gsjax.models.gaussian_head import Gaussians

_BLOCK = 256  # pixels a side that coarse crops are drawn in at a time

# A crop to be painted: f32[h, w, 3] in [0, 1], and f32[h, w, 1], 1 where it is known.
Asked = tuple[np.ndarray, np.ndarray]
# What is painted of it: the drawing f32[h, w, 3], and the Gaussians.
Answer = tuple[np.ndarray, Gaussians]
Work = Generator[list[Asked], list[Answer], None]


def fill(
    image: Integer[np.ndarray, "h w 3"],
    hole: Bool[np.ndarray, "h w"],
    size: tuple[int, int],
    rim: float,
    patches: Patches,
    batch_size: int,
    keep: Callable[[tuple[Crop, Gaussians]], None] | None = None,
) -> Work:
    """Fills an image in place; a generator that asks for crops and is sent what was painted.

    Args:
      image: uint8 or uint16; only what is hole is written to.
      hole: True where it is to be filled.
      size: (height, width) of crops.
      rim: how deep a level paints; see `Geometry`.
      patches: how the patches of a crop lie.
      batch_size: the most crops to ask for at a time.
      keep: is given each crop and its Gaussians, in the order they are painted.
    """
    plan = make_plan(hole, size, rim)
    for waves in plan.levels.values():
        before: list[Crop] = []
        for wave in waves:
            # Crops of a wave do not overlap: the result is the same whatever the batch's size.
            for some in (wave[i : i + batch_size] for i in range(0, len(wave), batch_size)):
                earlier = [overlapping(crop, before) for crop in some]
                asked = zip(some, earlier, strict=True)
                answers = yield [_cut(image, hole, plan, *pair) for pair in asked]
                for crop, others, (drawn, gaussians) in zip(some, earlier, answers, strict=True):
                    _put_back(image, hole, plan, patches, crop, others, drawn, gaussians)
                    if keep is not None:
                        keep((crop, gaussians))
            before += wave


def cut_known(image: Integer[np.ndarray, "h w 3"], crop: Crop, size: tuple[int, int]) -> Asked:
    """Returns a crop of factor 1 as the network sees it where all is known."""
    pixels = image[crop.top : crop.top + crop.height, crop.left : crop.left + crop.width]
    pad = ((0, size[0] - crop.height), (0, size[1] - crop.width), (0, 0))
    pixels = np.pad(np.float32(pixels) / np.iinfo(image.dtype).max, pad, "symmetric")
    return pixels, np.ones((*size, 1), np.float32)


def _cut(image, hole, plan: Plan, crop: Crop, earlier: list[Crop]) -> Asked:
    """Returns a crop as the network sees it: shrunk by its factor, and reflected up to size.

    What earlier crops of its level have painted in their cores it sees as known.
    """
    factor, (height, width) = crop.factor, plan.geometry.size
    deep, cores = plan.geometry.above(factor), [plan.geometry.core_of(one) for one in earlier]
    rows, columns = -(-crop.height // factor), -(-crop.width // factor)
    pixels = np.empty((rows, columns, 3), np.float32)
    known = np.empty((rows, columns, 1), np.float32)
    reach = plan.geometry.reach(factor)
    for row in range(rows):  # a strip at a time: a coarse crop may be a large image
        top = crop.top + row * factor
        bottom = min(top + factor, crop.top + crop.height)
        where = np.s_[top:bottom, crop.left : crop.left + crop.width]
        # Deeper in the hole is what coarser crops have painted.
        depth = plan.depth[where]
        seen = ~hole[where] | (depth > reach)
        for down, across in cores:
            if top < down.stop and down.start < bottom:
                left, right = (max(edge - crop.left, 0) for edge in (across.start, across.stop))
                first, last = max(down.start - top, 0), down.stop - top
                seen[first:last, left:right] |= depth[first:last, left:right] > deep
        values = image[where] * seen[..., None]
        ends = np.arange(0, crop.width, factor)
        area = np.add.reduceat(np.full(crop.width, bottom - top), ends)
        count = np.add.reduceat(seen.sum(0), ends)
        total = np.add.reduceat(values.sum(0, dtype=np.int64), ends, axis=0)
        pixels[row] = total / np.maximum(count, 1)[:, None]
        known[row, :, 0] = 2 * count >= area
    pixels *= known / np.iinfo(image.dtype).max
    pad = ((0, height - rows), (0, width - columns), (0, 0))
    return np.pad(pixels, pad, "symmetric"), np.pad(known, pad, "symmetric")


def _put_back(image, hole, plan: Plan, patches, crop, earlier, drawn, gaussians) -> None:
    """Writes what is hole in a crop and no finer crop covers, a block at a time."""
    steps, peak = (1.0, 1.0), np.iinfo(image.dtype).max
    side = _BLOCK if crop.factor > 1 else max(crop.height, crop.width)
    above = plan.geometry.above(crop.factor)
    for top in range(crop.top, crop.top + crop.height, side):
        for left in range(crop.left, crop.left + crop.width, side):
            bottom = min(top + side, crop.top + crop.height)
            right = min(left + side, crop.left + crop.width)
            where = np.s_[top:bottom, left:right]
            wanted = hole[where] & (plan.depth[where] > above)
            if not wanted.any():
                continue
            canvas = image[where].astype(np.float32) / peak
            own = drawn[: crop.height, : crop.width] if crop.factor == 1 else None
            paint_over(
                canvas, (top, left), steps, plan.depth[where], plan.geometry, patches, crop,
                earlier, gaussians, own,
            )  # fmt: skip
            values = np.rint(canvas * peak).astype(image.dtype)
            np.copyto(image[where], values, where=wanted[..., None])
