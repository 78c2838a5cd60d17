"""Outpainting: a picture with margins, which are a hole."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Shaped

from gsjax.errors import UserError, shown
from gsjax.inpainting.metadata import with_size
from gsjax.inpainting.pictures import Picture

_MOST = 2**15  # pixels of a margin


class Margins(NamedTuple):
    """Pixels to add on each side."""

    left: int = 0
    top: int = 0
    right: int = 0
    bottom: int = 0


def check_extend(extend: Sequence[int] | None, name: str = "extend") -> Margins:
    """Returns the margins; None means none. Raises UserError if they are not four widths."""
    if extend is None:
        return Margins()
    widths = [width for width in extend if isinstance(width, int | np.integer)]
    if not len(widths) == len(extend) == 4 or not all(0 <= width <= _MOST for width in widths):
        raise UserError(
            name,
            f"{shown(repr(extend))} is not LEFT,TOP,RIGHT,BOTTOM in pixels",
            f"four whole numbers from 0 to {_MOST}, such as 0,0,64,0",
        )
    return Margins(*map(int, widths))


def pad(
    array: Shaped[np.ndarray, "h w *c"], margins: Margins, value: int | bool = 0
) -> Shaped[np.ndarray, "hm wm *c"]:
    """Returns an array with margins of one value; the array itself if all are 0."""
    if not any(margins):
        return array
    left, top, right, bottom = margins
    widths = [(top, bottom), (left, right), *[(0, 0)] * (array.ndim - 2)]
    return np.pad(array, widths, constant_values=value)


def outside(shape: tuple[int, int], margins: Margins) -> Bool[np.ndarray, "hm wm"]:
    """Returns an array that is True in the margins of an image of this (height, width)."""
    return pad(np.zeros(shape, bool), margins, True)


def extend_picture(picture: Picture, margins: Margins, max_pixels: int) -> Picture:
    """Returns a picture with black, opaque margins, whose EXIF has the new size.

    Raises:
      UserError: it would have more than `max_pixels`.
    """
    height, width = picture.pixels.shape[:2]
    height += margins.top + margins.bottom
    width += margins.left + margins.right
    if height * width > max_pixels:
        raise UserError(
            picture.path,
            f"extended to {width}×{height}, it has more than {max_pixels:,} pixels",
            "extend it less, or raise --max_pixels",
        )
    alpha = picture.alpha
    return dataclasses.replace(
        picture,
        pixels=pad(picture.pixels, margins),
        alpha=None if alpha is None else pad(alpha, margins, np.iinfo(alpha.dtype).max),
        metadata=with_size(picture.metadata, (width, height)),
    )
