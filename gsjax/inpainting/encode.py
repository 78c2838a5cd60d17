"""Files of filled pictures: what is not hole as it was read, metadata too."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
from jaxtyping import Integer
from PIL import Image

from gsjax.errors import UserError
from gsjax.inpainting.pictures import FORMATS, Picture

# Chunks of a PNG that hold for the picture as a whole, whatever its pixels are.
_PNG_CHUNKS = (
    *(b"iCCP", b"sRGB", b"gAMA", b"cHRM", b"cICP", b"mDCV", b"cLLI"),
    *(b"pHYs", b"tIME", b"tEXt", b"zTXt", b"iTXt", b"eXIf"),
)


def lossy_warning(picture: Picture, suffix: str) -> str | None:
    """Says what a file of this kind cannot keep of a picture's pixels; None if it keeps all."""
    kind = FORMATS[suffix]
    if kind == "JPEG":
        return "JPEG is lossy: known pixels are encoded again; a .png keeps them to the bit"
    if picture.pixels.dtype == np.uint16 and kind in ("WEBP", "BMP"):
        return f"{kind} has 8 bits a channel; a .png or .tif keeps the 16"
    return None


def check_alpha(picture: Picture, suffix: str) -> None:
    """Raises UserError unless a file of this kind can have an alpha channel."""
    kind = FORMATS[suffix]
    if kind in ("JPEG", "BMP"):
        raise UserError(f"{picture.path}: {kind} has no alpha channel; write a .png, .webp or .tif")


def encode(
    picture: Picture,
    pixels: Integer[np.ndarray, "h w 3"],
    alpha: Integer[np.ndarray, "h w"] | None,
    suffix: str,
    quality: int | None = None,
) -> bytes:
    """Returns a file with these pixels, and all else from the picture.

    Args:
      picture: as it was read.
      pixels: of its size and type.
      alpha: likewise, or None.
      suffix: one of `FORMATS`.
      quality: of a JPEG, 1 to 100; by default that of the picture if it was one, else 95.

    Raises:
      UserError: a file of that kind has no alpha channel, or is not as large.
    """
    kind = FORMATS[suffix]
    if alpha is not None:
        check_alpha(picture, suffix)
    if pixels.dtype == np.uint16 and kind not in ("PNG", "TIFF"):
        pixels = np.rint(pixels / 257).astype(np.uint8)
        alpha = None if alpha is None else np.rint(alpha / 257).astype(np.uint8)
    channels = [pixels]
    if picture.gray:  # the mean, which of what was gray is the same
        channels = [((pixels.sum(-1, dtype=np.uint32) + 1) // 3).astype(pixels.dtype)]
    if alpha is not None:
        channels.append(alpha)
    array = channels[0] if len(channels) == 1 else np.dstack(channels)
    info = picture.info
    try:
        if kind == "PNG":
            return _with_chunks(_encode_png(array), _png_chunks(picture))
        if kind == "TIFF" and array.dtype == np.uint16:
            return _encode_deep_tiff(array, info)
        options: dict[str, Any] = {
            name: info[name] for name in ("icc_profile", "exif", "dpi") if info.get(name)
        }
        if info.get("xmp") and kind in ("JPEG", "WEBP"):
            options["xmp"] = info["xmp"]
        if kind == "JPEG":
            options |= _jpeg_options(info, quality)
        elif kind == "WEBP":
            options |= {"lossless": True, "exact": True, "method": 4}
        elif kind == "TIFF":
            options |= {"tiffinfo": info["tiff"], "compression": info["compression"]}
        content = io.BytesIO()
        Image.fromarray(array).save(content, format=kind, **options)
        return content.getvalue()
    except (OSError, ValueError) as error:  # too large for the format, for one
        raise UserError(f"{picture.path}: cannot be written as {kind}: {error}") from error


def _jpeg_options(info: dict[str, Any], quality: int | None) -> dict[str, Any]:
    """Returns a JPEG's own tables if there are any and no other quality is asked for."""
    options = {"comment": info["comment"]} if info.get("comment") else {}
    if quality is None and "qtables" in info:
        options |= {"qtables": info["qtables"], "progressive": info["progressive"]}
        return options | ({"subsampling": info["subsampling"]} if info["subsampling"] >= 0 else {})
    return options | {"quality": quality or 95, "subsampling": 0}


def _encode_png(array: np.ndarray) -> bytes:
    if array.ndim == 3 and array.shape[2] == 2:
        if array.dtype == np.uint8:
            content = io.BytesIO()
            Image.fromarray(array).save(content, format="PNG")
            return content.getvalue()
        array = array[..., [0, 0, 0, 1]]  # OpenCV writes no gray with alpha
    if array.ndim == 3:
        array = array[..., [2, 1, 0, 3][: array.shape[2]]]
    done, content = cv2.imencode(".png", array, [cv2.IMWRITE_PNG_COMPRESSION, 4])
    if not done:
        raise ValueError("OpenCV cannot encode it")
    return content.tobytes()


def _png_chunks(picture: Picture) -> list[tuple[bytes, bytes]]:
    """Returns the chunks that tell of a picture: those of the PNG it was, or such as it had."""
    info = picture.info
    chunks = []
    if picture.kind == "PNG":
        data = Path(picture.path).read_bytes()
        position = 8
        while position + 8 <= len(data):
            length, name = struct.unpack(">I4s", data[position : position + 8])
            if name in _PNG_CHUNKS:
                chunks.append((name, data[position + 8 : position + 8 + length]))
            position += length + 12
        if not picture.turned:
            return chunks
        chunks = [chunk for chunk in chunks if chunk[0] != b"eXIf"]
    else:
        if info.get("icc_profile"):
            profile = zlib.compress(info["icc_profile"])
            chunks.append((b"iCCP", b"ICC Profile\0\0" + profile))
        if info.get("dpi"):
            across, down = (round(float(dots) / 0.0254) for dots in info["dpi"])
            chunks.append((b"pHYs", struct.pack(">IIB", across, down, 1)))
        if info.get("xmp"):
            chunks.append((b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + info["xmp"]))
    if info.get("exif"):
        chunks.append((b"eXIf", info["exif"].removeprefix(b"Exif\0\0")))
    return chunks


def _with_chunks(png: bytes, chunks: list[tuple[bytes, bytes]]) -> bytes:
    """Returns a PNG with chunks added, all of them before its pixels."""
    head = 8 + 25  # the signature and IHDR
    added = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )
    return png[:head] + added + png[head:]


def _encode_deep_tiff(array: np.ndarray, info: dict[str, Any]) -> bytes:
    """Writes 16 bits a channel, which Pillow does not."""
    colors = array.ndim == 3 and array.shape[2] >= 3
    tags = []
    for tag, value in info["tiff"].items():
        if tag == 305:
            continue
        kind, value = ("s", value) if isinstance(value, str) else ("B", bytes(value))
        tags.append((tag, kind, len(value), value, True))
    content = io.BytesIO()
    tifffile.imwrite(
        content,
        array,
        photometric="rgb" if colors else "minisblack",
        extrasamples=["unassalpha"] if array.ndim == 3 and array.shape[2] in (2, 4) else None,
        planarconfig="contig" if array.ndim == 3 else None,
        compression="adobe_deflate",
        iccprofile=info.get("icc_profile"),
        resolution=tuple(map(float, info["dpi"])) if info.get("dpi") else None,
        resolutionunit="inch" if info.get("dpi") else None,
        software=info["tiff"].get(305, False),
        extratags=tags,
        metadata=None,
    )
    return content.getvalue()
