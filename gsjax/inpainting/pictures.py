"""Pictures and masks as they are read from files, with all that a filled one is to keep.

PNG, JPEG, WebP, TIFF and BMP; gray or RGB, 8 or 16 bits, with or without alpha. Palettes
become RGB(A). Pictures are turned upright by their EXIF orientation, which is then 1.
"""

import dataclasses
import os
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, Integer
from PIL import Image, ImageOps, JpegImagePlugin, UnidentifiedImageError

from gsjax.errors import UserError, first_line

FORMATS = {
    ".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".tif": "TIFF",
    ".tiff": "TIFF", ".bmp": "BMP",
}  # fmt: skip
NAMES = "PNG, JPEG, WebP, TIFF or BMP"
LOSSY_THRESHOLD = 127  # of 255; lossy files have no exact zeros

_READ = ("PNG", "JPEG", "WEBP", "TIFF", "BMP")
_GRAY = ("1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N")
_KNOWN_MODES = (*_GRAY, "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")
# Tags of a TIFF that tell of the picture: descriptions, maker, date, author, XMP, IPTC.
_TIFF_TAGS = (269, 270, 271, 272, 285, 305, 306, 315, 316, 33432, 700, 33723, 34377)


@dataclasses.dataclass
class Picture:
    """A picture that was read.

    Attributes:
      path: of the file.
      pixels: uint8 or uint16; gray is repeated.
      alpha: of the same type, or None.
      gray: whether the file has one color channel.
      kind: the file's format, as Pillow names it.
      info: what Pillow knows of it, for the file that is written.
      turned: whether its EXIF orientation was not upright.
      warnings: what of the file is not kept.
    """

    path: str
    pixels: Integer[np.ndarray, "h w 3"]
    alpha: Integer[np.ndarray, "h w"] | None
    gray: bool
    kind: str
    info: dict[str, Any]
    turned: bool
    warnings: list[str]


def read_picture(path: str | os.PathLike) -> Picture:
    """Reads a picture.

    Raises:
      UserError: missing, empty, damaged, or of a format or kind that is not supported.
    """
    path = os.fspath(path)
    with _explained(path), Image.open(path, formats=_READ) as opened:
        warnings = []
        if getattr(opened, "n_frames", 1) > 1 and opened.format != "MPO":
            warnings.append(f"only the first of its {opened.n_frames} frames is kept")
        if opened.mode not in _KNOWN_MODES:
            raise UserError(f"{path}: pixels of mode {opened.mode}; convert it to RGB or gray")
        turned = opened.getexif().get(0x0112, 1) not in (0, 1)
        gray = opened.mode in _GRAY
        pixels, alpha = _deep_pixels(path, opened) if _is_deep(path, opened) else _pixels(opened)
        info = _info_of(opened)  # after the pixels: it takes the orientation away
        if opened.mode in ("CMYK", "YCbCr"):
            warnings.append(f"it is {opened.mode} and becomes RGB, without its color profile")
            info["icc_profile"] = None
        if gray and pixels.ndim == 2:
            pixels = np.repeat(pixels[..., None], 3, axis=-1)
        return Picture(path, pixels, alpha, gray, opened.format, info, turned, warnings)


def read_mask(path: str | os.PathLike, threshold: int | None = None) -> Bool[np.ndarray, "h w"]:
    """Reads a mask: True where it is brighter than the threshold, and not transparent.

    Args:
      path: any picture; the brightest channel counts.
      threshold: of 255. By default 0, and `LOSSY_THRESHOLD` for JPEG and lossy WebP.

    Raises:
      UserError: as for `read_picture`.
    """
    path = os.fspath(path)
    with _explained(path), Image.open(path, formats=_READ) as opened:
        if threshold is None:
            lossy = opened.format in ("JPEG", "MPO") or _is_lossy_webp(path, opened)
            threshold = LOSSY_THRESHOLD if lossy else 0
        image = ImageOps.exif_transpose(opened)
        if image.mode in ("P", "PA") or image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "black"), image)
            image = image.convert("RGB")
        values = np.asarray(image)
        if values.dtype == bool:
            return values.copy()
        values = values.max(axis=-1) if values.ndim == 3 else values
        deep = image.mode.startswith("I") and values.max(initial=0) > 255
        return values > threshold * (257 if deep else 1)


class _explained:
    """Turns whatever a decoder meets a broken file with into a UserError."""

    def __init__(self, path: str):
        self._path = path

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        if error is None or isinstance(error, UserError) or not isinstance(error, Exception):
            return
        if isinstance(error, FileNotFoundError):
            reason = "there is no such file"
        elif isinstance(error, IsADirectoryError):
            reason = "it is a folder, not a file"
        elif isinstance(error, UnidentifiedImageError):
            empty = os.path.getsize(self._path) == 0
            reason = "the file is empty" if empty else f"it is no {NAMES} file"
        else:
            reason = first_line(error)
        raise UserError(f"{self._path}: {reason}") from error


def _info_of(opened: Image.Image) -> dict[str, Any]:
    """Returns what is kept of a file beside its pixels, for an upright picture."""
    exif = opened.getexif()
    tags = {}
    if opened.format == "TIFF":
        tags = {tag: opened.tag_v2[tag] for tag in _TIFF_TAGS if tag in opened.tag_v2}
        exif = Image.Exif()  # its tags are these; those of the pixels must not be repeated
    exif.pop(0x0112, None)
    info = {name: opened.info.get(name) for name in ("icc_profile", "dpi", "xmp", "comment")}
    info |= {"exif": exif.tobytes() if len(exif) else None, "tiff": tags}
    compression = opened.info.get("compression")
    lossless = ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "tiff_deflate")
    info["compression"] = compression if compression in lossless else "tiff_adobe_deflate"
    if isinstance(opened, JpegImagePlugin.JpegImageFile) and opened.mode in ("L", "RGB"):
        info |= {"qtables": opened.quantization, "progressive": "progressive" in opened.info}
        info["subsampling"] = JpegImagePlugin.get_sampling(opened)
    return info


def _pixels(opened: Image.Image) -> tuple[np.ndarray, np.ndarray | None]:
    """Returns colors and alpha of what Pillow reads without loss."""
    image = ImageOps.exif_transpose(opened)
    mode = image.mode
    if mode.startswith("I"):
        values = np.asarray(image)
        if values.dtype != np.uint16:
            if values.min(initial=0) < 0 or values.max(initial=0) > 65535:
                raise UserError(f"{opened.filename}: 32-bit pixels; at most 16 bits are supported")
            values = values.astype(np.uint16)
        return values.astype(np.uint16), None  # in this machine's byte order
    gray = mode in ("1", "L", "LA", "La")
    if image.has_transparency_data or mode in ("PA", "La"):
        values = np.asarray(image.convert("LA" if gray else "RGBA"))
        return np.ascontiguousarray(values[..., :-1].squeeze(-1) if gray else values[..., :3]), (
            np.ascontiguousarray(values[..., -1])
        )
    return np.array(image.convert("L" if gray else "RGB")), None


def _is_deep(path: str, opened: Image.Image) -> bool:
    """Returns whether a file has 16 bits a channel that Pillow would cut to 8."""
    if opened.mode.startswith("I"):
        return False
    if opened.format == "PNG":
        with open(path, "rb") as file:
            return file.read(25)[24] == 16
    return opened.format == "TIFF" and max(opened.tag_v2.get(258, (8,))) == 16


def _deep_pixels(path: str, opened: Image.Image) -> tuple[np.ndarray, np.ndarray | None]:
    """Reads 16 bits a channel with OpenCV."""
    values = cv2.imread(path, cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
    if values is None or values.dtype != np.uint16 or values.ndim != 3:
        raise UserError(f"{path}: its 16-bit pixels cannot be read; convert it to 8 bits")
    values = _upright(values, opened.getexif().get(0x0112, 1))
    alpha = np.ascontiguousarray(values[..., 3]) if values.shape[2] == 4 else None
    return np.ascontiguousarray(values[..., 2::-1]), alpha


def _upright(values: np.ndarray, orientation: int) -> np.ndarray:
    """Turns pixels as an EXIF orientation, 1 to 8, says."""
    if orientation in (5, 6, 7, 8):
        values = values.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    return values[:, ::-1] if orientation in (2, 3, 6, 7) else values


def _is_lossy_webp(path: str, opened: Image.Image) -> bool:
    if opened.format != "WEBP":
        return False
    with open(path, "rb") as file:
        return b"VP8 " in file.read(2**16)
