"""Reads pictures to fill: pixels of 8 or 16 bits, alpha, and the metadata to keep."""

import dataclasses
import os
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from jaxtyping import Bool, Integer

from gsjax.data.containers import Refused
from gsjax.data.mask_files import decode_hole, read_hole
from gsjax.data.raster import Raster
from gsjax.data.reader import MAX_PIXELS, read
from gsjax.errors import UserError
from gsjax.files import read_regular
from gsjax.inpainting.metadata import Metadata, clean

Read = TypeVar("Read")

FORMATS = {
    ".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".tif": "TIFF",
    ".tiff": "TIFF", ".bmp": "BMP",
}  # fmt: skip
READ_ONLY = {".gif": "GIF", ".avif": "AVIF", ".heic": "HEIF", ".heif": "HEIF", ".hif": "HEIF"}
NAMES = "PNG, JPEG, WebP, TIFF or BMP"


@dataclasses.dataclass
class Picture:
    """A picture as it was read.

    Attributes:
      path: of the file.
      pixels: uint8 or uint16, upright; gray is repeated.
      alpha: of the same type, or None.
      gray: whether the file has a single color channel.
      kind: the file's format; see `raster.Raster`.
      metadata: the metadata to keep.
      jpeg: quantization tables, subsampling etc. of a JPEG.
      uncompressed: whether it is a TIFF without compression.
      turned: whether it was stored rotated or mirrored.
      warnings: what is lost from the file.
    """

    path: str
    pixels: Integer[np.ndarray, "h w 3"]
    alpha: Integer[np.ndarray, "h w"] | None
    gray: bool
    kind: str
    metadata: Metadata
    jpeg: dict
    uncompressed: bool
    turned: bool
    warnings: list[str]


def read_picture(path: str | os.PathLike, max_pixels: int = MAX_PIXELS) -> Picture:
    """Reads a picture.

    Args:
      path: of a file whose format is in `FORMATS` or `READ_ONLY`, whatever its suffix.
      max_pixels: larger pictures are refused.

    Raises:
      UserError: the file is missing, empty, damaged, too large, or of an unsupported format.
    """
    path = os.fspath(path)
    return _picture(path, _explained(path, lambda: _raster(read_regular(path), max_pixels)))


def decode_picture(data: bytes, name: str, max_pixels: int = MAX_PIXELS) -> Picture:
    """Does the same as `read_picture` with the content of a file, called `name` in errors."""
    return _picture(name, _explained(name, lambda: _raster(data, max_pixels)))


def _picture(path: str, raster: Raster) -> Picture:
    gray = raster.pixels.ndim == 2
    height, width = raster.pixels.shape[:2]
    converted = any("CMYK" in note for note in raster.notes)
    metadata, warnings = clean(raster.blocks, (width, height), 1 if gray else 3, converted)
    pixels = np.repeat(raster.pixels[..., None], 3, axis=-1) if gray else raster.pixels
    return Picture(
        path, pixels, raster.alpha, gray, raster.kind, metadata, raster.jpeg, raster.uncompressed,
        raster.turned, raster.notes + warnings,
    )  # fmt: skip


def read_mask(
    path: str | os.PathLike,
    threshold: int | None = None,
    invert: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> Bool[np.ndarray, "h w"]:
    """Reads a mask; see `mask_files.read_hole`.

    Raises:
      UserError: as for `read_picture`.
    """
    path = os.fspath(path)
    return _explained(path, lambda: read_hole(path, threshold, invert, max_pixels))


def decode_mask(
    data: bytes,
    name: str,
    threshold: int | None = None,
    invert: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> Bool[np.ndarray, "h w"]:
    """Does the same as `read_mask` with the content of a file, called `name` in errors."""
    return _explained(name, lambda: decode_hole(data, threshold, invert, max_pixels))


def _raster(data: bytes, max_pixels: int) -> Raster:
    raster = read(data, max_pixels)
    if raster.kind not in {*FORMATS.values(), *READ_ONLY.values()}:
        raise Refused(f"it is not a {NAMES} file")
    if raster.pixels.dtype.kind == "f":
        raise Refused("floating-point pixels; convert it to 8 or 16 bits")
    return raster


def _explained(path: str, reading: Callable[[], Read]) -> Read:
    """Calls `reading` and turns problems with the file into UserErrors."""
    cause: Exception
    try:
        return reading()
    except FileNotFoundError as error:
        reason, cause = "there is no such file", error
    except IsADirectoryError as error:
        reason, cause = "it is a folder, not a file", error
    except OSError as error:
        reason, cause = error.strerror or str(error), error
    except Refused as error:
        reason, cause = str(error).replace("not an image file", f"it is not a {NAMES} file"), error
    except MemoryError as error:
        reason, cause = "there is not enough memory for it", error
    raise UserError(path, reason) from cause
