"""Joins a picture with its mask before painting, and encodes the filled picture after it."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Integer

from gsjax.data.mask_files import hole_warning
from gsjax.data.reader import MAX_PIXELS
from gsjax.errors import UserError
from gsjax.inpainting.borders import Prepared, finish, prepare
from gsjax.inpainting.encode import check_alpha, encode, lossy_warning, metadata_warning
from gsjax.inpainting.exemplar import Deep
from gsjax.inpainting.extend import Margins, extend_picture, outside, pad
from gsjax.inpainting.pictures import FORMATS, Picture


class Options(NamedTuple):
    """Options for all files of a run; see the flags of gsjax.inpaint."""

    threshold: int | None = None
    quality: int | None = None
    batch_size: int | None = None
    overwrite: bool = False
    deep: Deep = "exemplar"
    invert: bool = False
    grow: float = 0
    feather: float = 0
    max_pixels: int = MAX_PIXELS
    extend: Margins = Margins()


class Opened(NamedTuple):
    """A picture that is ready to be painted.

    Attributes:
      picture: as it was read.
      prepared: the input of the painter.
      alpha: the alpha channel of the filled picture, if any.
      avoid: True where texture must not be copied from, or None for nowhere.
      warnings: anything suspicious about the mask, and what is lost of the picture.
    """

    picture: Picture
    prepared: Prepared
    alpha: Integer[np.ndarray, "h w"] | None
    avoid: Bool[np.ndarray, "h w"] | None
    warnings: list[str]


def open_picture(
    picture: Picture,
    mask: tuple[str, Bool[np.ndarray, "h w"]] | None,
    avoid: Bool[np.ndarray, "h w"] | None,
    options: Options,
) -> Opened:
    """Joins a picture with its masks, ready to be painted.

    Args:
      picture: as it was read.
      mask: its name in messages, and an array that is True where to fill; None takes the
        picture's alpha channel.
      avoid: True where texture must not be copied from.
      options: `threshold` and `invert` apply only to the alpha channel. The margins of `extend`
        are added to the hole.

    Raises:
      UserError: there is neither a mask nor an alpha channel, and the picture is not extended.
    """
    margins = options.extend
    beyond = outside(picture.pixels.shape[:2], margins)
    if any(margins):
        picture = extend_picture(picture, margins, options.max_pixels)
        mask = None if mask is None else (mask[0], pad(mask[1], margins))
        avoid = None if avoid is None else pad(avoid, margins)
    alpha = picture.alpha
    visible = None if alpha is None else alpha > 0
    if mask is not None:
        what, hole = mask
    elif alpha is None and any(margins):
        what, hole = f"{picture.path}, extended", beyond
    else:
        if alpha is None:
            raise UserError(picture.path, "it has no alpha channel to be its mask", "give a --mask")
        what = f"{picture.path}, its alpha channel"
        top = np.iinfo(alpha.dtype).max
        hole = ((top - alpha) > (options.threshold or 0) * (top // 255)) ^ options.invert
        alpha = np.where(hole, np.array(top, alpha.dtype), alpha)
        if (alpha == top).all():
            alpha = None
    hole = hole | beyond
    prepared = prepare(picture.pixels, hole, visible, options.grow, options.feather)
    warnings = []
    if not any(margins) and (warning := hole_warning(prepared.hole)):  # about masks
        if mask is not None and hole.all():
            warning += ". If its black is not quite black, raise --threshold above it"
        warnings.append(f"{what}: {warning}")
    warnings += [f"{picture.path}: {warning}" for warning in picture.warnings]
    return Opened(picture, prepared, alpha, prepared.avoided(avoid), warnings)


def check_output(opened: Opened, suffix: str) -> list[str]:
    """Checks before painting that the result can be written; returns warnings of what is lost."""
    if opened.alpha is not None:
        check_alpha(opened.picture, suffix)
    warnings = [metadata_warning(opened.picture, suffix)]
    if opened.prepared.to_paint.any():
        warnings.append(lossy_warning(opened.picture, suffix))
    return [warning for warning in warnings if warning]


def encode_filled(
    opened: Opened, image: Integer[np.ndarray, "h w 3"], suffix: str, quality: int | None
) -> bytes | None:
    """Returns the content of the output file, or None if the input file is the result.

    Args:
      opened: the picture, before painting.
      image: the output of the painter.
      suffix: the suffix of the output, one of `FORMATS`.
      quality: the JPEG quality, or None for that of the picture, else 95.
    """
    same_kind = FORMATS[suffix] == opened.picture.kind and quality is None
    if same_kind and not opened.prepared.to_paint.any() and not opened.picture.turned:
        return None
    image = finish(opened.prepared, image)
    return encode(opened.picture, image, opened.alpha, suffix, quality)
