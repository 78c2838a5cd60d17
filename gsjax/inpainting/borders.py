"""Where a hole ends: growing it, feathering its border, and pixels that do not count as known."""

from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Integer

from gsjax.errors import UserError, shown

_ROWS = 256  # that are looked at at a time


class Prepared(NamedTuple):
    """What the painter is given for an image and its hole.

    Attributes:
      image: to be painted on; the original itself if nothing needs a copy.
      painted: what is painted: the grown hole, and the band over which it is feathered.
      original: the image as it was; it may share memory with `image`.
      hole: what is filled altogether: the grown hole.
      known: what is neither painted nor unknown.
      feather: pixels that the band is wide.
    """

    image: Integer[np.ndarray, "h w 3"]
    painted: Bool[np.ndarray, "h w"]
    original: Integer[np.ndarray, "h w 3"]
    hole: Bool[np.ndarray, "h w"]
    known: Bool[np.ndarray, "h w"]
    feather: float

    def avoided(
        self, avoid: Bool[np.ndarray, "h w"] | None = None
    ) -> Bool[np.ndarray, "h w"] | None:
        """Returns where nothing is to be copied from: `avoid`, and what is not known."""
        unknown = ~self.known & ~self.painted
        if not unknown.any():
            return avoid
        return unknown if avoid is None else unknown | avoid


def check_margins(grow: float, feather: float) -> None:
    """Raises UserError unless both are widths in pixels."""
    for name, value in {"grow": grow, "feather": feather}.items():
        number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
        if not number or not 0 <= value <= 1000:
            raise UserError(f"{name}: {shown(repr(value))} is no width from 0 to 1000 pixels")


def prepare(
    image: Integer[np.ndarray, "h w 3"],
    hole: Bool[np.ndarray, "h w"],
    known: Bool[np.ndarray, "h w"] | None = None,
    grow: float = 0,
    feather: float = 0,
) -> Prepared:
    """Returns what is to be painted, and on what.

    Args:
      image: as it is.
      hole: True where it is to be filled.
      known: False where a pixel must not be looked at, such as one that is transparent: outside
        the hole it stays as it is, but for the painter it has the color of known ones near it.
        If no pixel is left, all count as known.
      grow: pixels by which the hole is enlarged.
      feather: pixels of the band around it over which the fill fades into the image.
    """
    hole = dilate(hole, grow)
    painted = dilate(hole, feather)
    known = ~painted if known is None else known & ~painted
    if not known.any():
        known = ~painted
    lacking = ~known & ~painted
    work = image
    if lacking.any():
        work = _extended(image, known)
    elif feather and painted.any():
        work = image.copy()
    return Prepared(work, painted, image, hole, known, feather)


def finish(prepared: Prepared, filled: Integer[np.ndarray, "h w 3"]) -> np.ndarray:
    """Returns the picture: the fill in the hole, faded over the band, all else as it was.

    Where all that is known is gray, so is the fill.
    """
    image, painted, original, hole, known, feather = prepared
    if painted.any() and _is_gray(original, known):
        mean = (filled[painted].sum(-1, dtype=np.uint32) + 1) // 3
        filled[painted] = mean.astype(filled.dtype)[:, None]
    if image is original:  # nothing else was painted on
        return filled
    result = original.copy()
    result[hole] = filled[hole]
    band = painted & ~hole
    if band.any():
        distance = _distance(hole)[band]
        share = (1 - distance / (feather + 1))[:, None]
        blended = share * filled[band] + (1 - share) * original[band]
        result[band] = np.rint(blended).astype(result.dtype)
    return result


def dilate(hole: Bool[np.ndarray, "h w"], pixels: float) -> Bool[np.ndarray, "h w"]:
    """Returns a hole and all that is at most so many pixels from it."""
    if not pixels or not hole.any():
        return hole
    return _distance(hole) <= pixels


def _distance(hole: Bool[np.ndarray, "h w"]) -> np.ndarray:
    return cv2.distanceTransform((~hole).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)


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
    """Returns an image whose unknown pixels have the mean color of known ones near them."""
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
