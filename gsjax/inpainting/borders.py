"""The borders of holes: growing, feathering, and unknown pixels outside of the hole."""

from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Integer

from gsjax.errors import UserError, shown
from gsjax.inpainting.depth import depth_in
from gsjax.inpainting.ranges import RANGES

_ROWS = 256  # processed at a time


class Prepared(NamedTuple):
    """The painter's input for an image and its hole.

    Attributes:
      image: the image to paint on; the original itself if no copy is needed.
      to_paint: the pixels to paint: the grown hole, and the band around it that is feathered.
      original: the original image; may share memory with `image`.
      hole: the grown hole, which is replaced completely.
      known: pixels that are neither to be painted nor unknown.
      feather: width of the band in pixels.
    """

    image: Integer[np.ndarray, "h w 3"]
    to_paint: Bool[np.ndarray, "h w"]
    original: Integer[np.ndarray, "h w 3"]
    hole: Bool[np.ndarray, "h w"]
    known: Bool[np.ndarray, "h w"]
    feather: float

    def avoided(
        self, avoid: Bool[np.ndarray, "h w"] | None = None
    ) -> Bool[np.ndarray, "h w"] | None:
        """Returns the pixels that must not be copied: `avoid`, and unknown pixels."""
        unknown = ~self.known & ~self.to_paint
        if not unknown.any():
            return avoid
        return unknown if avoid is None else unknown | avoid


def check_margins(grow: float, feather: float) -> None:
    """Raises UserError unless both are valid widths in pixels."""
    for name, value in {"grow": grow, "feather": feather}.items():
        number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
        low, high = RANGES[name]
        if not number or not low <= value <= high:
            raise UserError(
                name, f"{shown(repr(value))} is not a width from {low} to {high} pixels"
            )


def prepare(
    image: Integer[np.ndarray, "h w 3"],
    hole: Bool[np.ndarray, "h w"],
    known: Bool[np.ndarray, "h w"] | None = None,
    grow: float = 0,
    feather: float = 0,
) -> Prepared:
    """Returns the pixels to paint, and the image to paint on.

    Args:
      image: the original.
      hole: True where it should be filled.
      known: False where a pixel must not influence the fill, such as a transparent one. Outside of
        the hole it stays unchanged, but the painter sees the color of nearby known pixels instead.
        If no pixel is known, all count as known.
      grow: pixels by which to enlarge the hole.
      feather: width in pixels of the band around it over which the fill blends into the image.
    """
    hole = dilate(hole, grow)
    to_paint = dilate(hole, feather)
    known = ~to_paint if known is None else known & ~to_paint
    if not known.any():
        known = ~to_paint
    lacking = ~known & ~to_paint
    work = image
    if lacking.any():
        work = _extended(image, known)
    elif feather and to_paint.any():
        work = image.copy()
    return Prepared(work, to_paint, image, hole, known, feather)


def finish(prepared: Prepared, filled: Integer[np.ndarray, "h w 3"]) -> np.ndarray:
    """Returns the original with the fill in its hole, blended over the feather band.

    If all known pixels are gray, so is the fill.
    """
    image, to_paint, original, hole, known, feather = prepared
    if to_paint.any() and _is_gray(original, known):
        mean = (filled[to_paint].sum(-1, dtype=np.uint32) + 1) // 3
        filled[to_paint] = mean.astype(filled.dtype)[:, None]
    if image is original:  # the painter worked on the original itself
        return filled
    result = original.copy()
    result[hole] = filled[hole]
    band = to_paint & ~hole
    if band.any():
        distance = depth_in(~hole)[band]
        share = (1 - distance / (feather + 1))[:, None]
        blended = share * filled[band] + (1 - share) * original[band]
        result[band] = np.rint(blended).astype(result.dtype)
    return result


def dilate(hole: Bool[np.ndarray, "h w"], pixels: float) -> Bool[np.ndarray, "h w"]:
    """Returns a hole enlarged by all pixels within a distance of it."""
    if not pixels or not hole.any():
        return hole
    return depth_in(~hole) <= pixels


def _is_gray(image: Integer[np.ndarray, "h w 3"], known: Bool[np.ndarray, "h w"]) -> bool:
    if not known.any():
        return False
    for top in range(0, len(image), _ROWS):
        rows, counts = image[top : top + _ROWS], known[top : top + _ROWS]
        colored = (rows[..., 0] != rows[..., 1]) | (rows[..., 1] != rows[..., 2])
        if (colored & counts).any():
            return False
    return True


def _extended(
    image: Integer[np.ndarray, "h w 3"], known: Bool[np.ndarray, "h w"]
) -> Integer[np.ndarray, "h w 3"]:
    """Returns an image whose unknown pixels have the mean color of nearby known pixels."""
    weights = [known.astype(np.float32)]
    colors = [image * weights[0][..., None]]
    while max(weights[-1].shape) > 1:
        height, width = ((side + 1) // 2 for side in weights[-1].shape)
        for levels in (weights, colors):
            levels.append(cv2.resize(levels[-1], (width, height), interpolation=cv2.INTER_AREA))
    mean = colors[-1].reshape(1, 1, 3) / weights[-1].reshape(1, 1, 1)
    for weight, color in zip(weights[-2::-1], colors[-2::-1], strict=True):
        above = cv2.resize(mean, weight.shape[::-1], interpolation=cv2.INTER_LINEAR)
        weight = weight[..., None]
        mean = np.where(weight > 0, color / np.maximum(weight, 1e-12), above)
    return np.where(known[..., None], image, np.rint(mean)).astype(image.dtype)
