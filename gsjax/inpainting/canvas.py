"""Draws on a canvas, a part of an image at any resolution: resamples images and blends crops."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from PIL import Image

from gsjax.inpainting.geometry import Crop, Geometry
from gsjax.inpainting.windows import Axis, Patches, draw_samples
from gsjax.models.gaussian_head import Gaussians


def paint_over(
    canvas: Float[np.ndarray, "h w 3"],
    corner: tuple[float, float],
    steps: tuple[float, float],
    depth: Float[np.ndarray, "h w"] | None,
    geometry: Geometry,
    patches: Patches,
    crop: Crop,
    earlier: Sequence[Crop],
    gaussians: Gaussians,
    drawn: Float[np.ndarray, "hc wc 3"] | None = None,
) -> None:
    """Blends a crop into a canvas by its weights.

    Args:
      canvas: in [0, 1], changed in place.
      corner: (y, x) of the upper left corner of the canvas, in pixels of the image.
      steps: (y, x) distances between its samples, in pixels of the image.
      depth: distance to the nearest known pixel at the samples; None: the crop's level is
        the last.
      geometry: how crops lie in the image.
      patches: how patches lie in a crop.
      crop: what is drawn.
      earlier: crops of its layer that were painted before it, and whose cores it must not change.
      gaussians: the crop's.
      drawn: their drawing in [0, 1], if it is known: at the samples within the crop.
    """
    axes, ranges, points = [], [], []
    lengths = (crop.height, crop.width)
    for axis, first in enumerate((crop.top, crop.left)):
        low = (first - corner[axis]) / steps[axis] - 0.5
        high = (first + lengths[axis] - corner[axis]) / steps[axis] - 0.5
        start = max(0, math.ceil(low - 1e-9))
        stop = min(canvas.shape[axis], math.floor(high + 1e-9) + 1)
        if start >= stop:
            return
        ranges.append(slice(start, stop))
        begin = (corner[axis] + start * steps[axis] - first) / crop.factor
        axes.append(Axis(steps[axis] / crop.factor, begin, stop - start))
        points.append(corner[axis] + (np.arange(start, stop) + 0.5) * steps[axis])
    weight = geometry.crop_weight(crop, *points)
    for other in earlier:
        weight = weight * (1 - geometry.core_weight(other, *points))
    if depth is not None:
        weight = weight * geometry.level_weight(crop.factor, depth[tuple(ranges)])
    if not weight.any():
        return
    if drawn is None:
        drawn = draw_samples(gaussians, patches, *axes)
    part = canvas[tuple(ranges)]
    part += weight[..., None] * (np.clip(drawn, 0, 1) - part)


def resampled(array: np.ndarray, corner, steps, shape) -> Float[np.ndarray, "h w ..."]:
    """Returns samples of an array; `corner` and `steps` are in pixels of the array.

    Images are resampled bicubically, single channels linearly, both with antialiasing.
    """
    kernel = Image.Resampling.BICUBIC if array.ndim == 3 else Image.Resampling.BILINEAR
    slices, edges = [], []
    for axis in (0, 1):
        low, high = corner[axis], corner[axis] + steps[axis] * shape[axis]
        margin = math.ceil(3 * max(1.0, steps[axis]))  # the support of the kernel
        first = max(0, math.floor(low) - margin)
        last = min(array.shape[axis], math.ceil(high) + margin)
        slices.append(slice(first, last))
        edges.append((max(low - first, 0), min(high - first, last - first)))
    part = np.ascontiguousarray(array[tuple(slices)])
    image = Image.fromarray(part if array.ndim == 3 else part.astype(np.float32))
    box = (edges[1][0], edges[0][0], edges[1][1], edges[0][1])
    return np.asarray(image.resize(shape[::-1], kernel, box), np.float32)
