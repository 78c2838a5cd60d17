"""Encodes filled pictures, and keeps the metadata of the originals."""

import io
import struct
import zlib
from typing import Any

import cv2
import numpy as np
from jaxtyping import Integer
from PIL import Image

from gsjax.data.blocks import XMP_KEYWORD
from gsjax.data.containers import join_png, png_chunks
from gsjax.data.exif import ByteOrder, Exif, Tag, directories
from gsjax.errors import UserError
from gsjax.inpainting.metadata import IPTC, SEGMENT, Metadata
from gsjax.inpainting.pictures import FORMATS, Picture


def lossy_warning(picture: Picture, suffix: str) -> str | None:
    """Returns a warning if this format changes known pixels, else None."""
    kind = FORMATS[suffix]
    if kind == "JPEG":
        return "JPEG is lossy: known pixels are encoded again; a .png keeps them to the bit"
    if picture.pixels.dtype == np.uint16 and kind in ("WEBP", "BMP"):
        return f"{kind} has 8 bits a channel; a .png or .tif keeps the 16"
    return None


def metadata_warning(picture: Picture, suffix: str) -> str | None:
    """Returns a warning if this format cannot store all of the picture's metadata, else None."""
    lost = picture.metadata.lost(FORMATS[suffix])
    return f"{FORMATS[suffix]} cannot hold {', '.join(lost)} of the picture" if lost else None


def check_alpha(picture: Picture, suffix: str) -> None:
    """Raises UserError if this format has no alpha channel."""
    kind = FORMATS[suffix]
    if kind in ("JPEG", "BMP"):
        raise UserError(picture.path, f"{kind} has no alpha channel", "write a .png, .webp or .tif")


def encode(
    picture: Picture,
    pixels: Integer[np.ndarray, "h w 3"],
    alpha: Integer[np.ndarray, "h w"] | None,
    suffix: str,
    quality: int | None = None,
) -> bytes:
    """Encodes new pixels with the metadata of a picture.

    Args:
      picture: as it was read.
      pixels: of the picture's size and type.
      alpha: of the picture's size and type, or None.
      suffix: one of `FORMATS`.
      quality: of a JPEG, 1 to 100; by default that of the picture if it is a JPEG, else 95.

    Raises:
      UserError: the format has no alpha channel, or does not allow this size.
    """
    kind = FORMATS[suffix]
    if alpha is not None:
        check_alpha(picture, suffix)
    if pixels.dtype == np.uint16 and kind not in ("PNG", "TIFF"):
        pixels = np.rint(pixels / 257).astype(np.uint8)
        alpha = None if alpha is None else np.rint(alpha / 257).astype(np.uint8)
    channels = [_mean(pixels) if picture.gray else pixels]
    if alpha is not None:
        channels.append(alpha)
    array = channels[0] if len(channels) == 1 else np.dstack(channels)
    metadata = picture.metadata
    try:
        if kind == "PNG":
            return _with_chunks(_encode_png(array), metadata)
        if kind == "TIFF":
            return _encode_tiff(array, metadata, picture.uncompressed)
        options: dict[str, Any] = {}
        if kind == "JPEG":
            options = _jpeg_options(picture.jpeg, quality)
        elif kind == "WEBP":
            options = {"lossless": True, "exact": True, "method": 4}
            blocks = {
                "icc_profile": metadata.icc, "exif": metadata.exif_block(resolution=True),
                "xmp": metadata.xmp,
            }  # fmt: skip
            options |= {name: block for name, block in blocks.items() if block}
        elif metadata.resolution and metadata.resolution[2] == 2:  # BMP
            options = {"dpi": metadata.resolution[:2]}
        content = io.BytesIO()
        Image.fromarray(array).save(content, format=kind, **options)
        return (
            _with_segments(content.getvalue(), metadata) if kind == "JPEG" else (content.getvalue())
        )
    except (OSError, ValueError, struct.error) as error:  # such as: too large for the format
        raise UserError(picture.path, f"it cannot be written as {kind}: {error}") from error


def _mean(pixels: Integer[np.ndarray, "h w 3"]) -> Integer[np.ndarray, "h w"]:
    """Returns the mean of the channels, some rows at a time; exact for gray pixels."""
    gray = np.empty(pixels.shape[:2], pixels.dtype)
    for top in range(0, len(gray), 256):
        gray[top : top + 256] = (pixels[top : top + 256].sum(-1, dtype=np.uint32) + 1) // 3
    return gray


def _jpeg_options(jpeg: dict[str, Any], quality: int | None) -> dict[str, Any]:
    """Returns the JPEG's own quantization tables, unless a quality is given."""
    if quality is None and jpeg:
        options = {"qtables": jpeg["qtables"], "progressive": jpeg["progressive"]}
        return options | ({"subsampling": jpeg["subsampling"]} if jpeg["subsampling"] >= 0 else {})
    return {"quality": quality or 95, "subsampling": 0}


def _with_segments(jpeg: bytes, metadata: Metadata) -> bytes:
    """Adds metadata to a JPEG from Pillow; what does not fit into a segment is left out."""
    density = struct.pack(">BHH", 0, 1, 1)
    if metadata.resolution:
        across, down = (min(round(value), 65_535) for value in metadata.resolution[:2])
        density = struct.pack(">BHH", metadata.resolution[2] - 1, across, down)
    parts = [(0xE0, b"JFIF\0\1\1" + density + b"\0\0")]
    exif, photoshop = metadata.small_exif_block(), metadata.photoshop_block()
    if exif:
        parts.append((0xE1, b"Exif\0\0" + exif))
    if metadata.xmp and len(metadata.xmp) <= SEGMENT:
        parts.append((0xE1, b"http://ns.adobe.com/xap/1.0/\0" + metadata.xmp))
    profile = metadata.icc or b""
    pieces = [profile[i : i + 65_000] for i in range(0, len(profile), 65_000)]
    for number, piece in enumerate(pieces, 1):
        parts.append((0xE2, b"ICC_PROFILE\0" + bytes([number, len(pieces)]) + piece))
    if photoshop and len(photoshop) <= SEGMENT:
        parts.append((0xED, b"Photoshop 3.0\0" + photoshop))
    if metadata.comment:
        parts.append((0xFE, metadata.comment.encode()[:SEGMENT]))
    start = 2
    if jpeg[2:4] == b"\xff\xe0":  # Pillow's JFIF header
        start += 2 + struct.unpack(">H", jpeg[4:6])[0]
    added = b"".join(
        struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content for marker, content in parts
    )
    return jpeg[:2] + added + jpeg[start:]


def _encode_png(array: np.ndarray) -> bytes:
    if array.ndim == 3 and array.shape[2] == 2:
        if array.dtype == np.uint8:
            file = io.BytesIO()
            Image.fromarray(array).save(file, format="PNG")
            return file.getvalue()
        array = array[..., [0, 0, 0, 1]]  # OpenCV writes no gray with alpha
    if array.ndim == 3:
        array = array[..., [2, 1, 0, 3][: array.shape[2]]]
    done, content = cv2.imencode(".png", array, [cv2.IMWRITE_PNG_COMPRESSION, 4])
    if not done:
        raise ValueError("OpenCV cannot encode it")
    return content.tobytes()


def _with_chunks(png: bytes, metadata: Metadata) -> bytes:
    """Adds metadata to a PNG, before its pixels."""
    chunks = [(name, content) for name, content in metadata.color if name != b"tIME"]
    if metadata.icc:
        chunks = [chunk for chunk in chunks if chunk[0] != b"sRGB"]  # not both
        chunks.append((b"iCCP", b"ICC Profile\0\0" + zlib.compress(metadata.icc)))
    if metadata.resolution:
        across, down, unit = metadata.resolution
        scale = 0.0254 if unit == 2 else 1
        density = struct.pack(">IIB", round(across / scale), round(down / scale), unit == 2)
        chunks.append((b"pHYs", density))
    chunks += [(name, content) for name, content, _ in metadata.texts.values()]
    if metadata.comment:
        chunks.append((b"iTXt", b"Comment\0\0\0\0\0" + metadata.comment.encode()))
    if metadata.xmp:
        chunks.append((b"iTXt", XMP_KEYWORD + b"\0\0\0\0\0" + metadata.xmp))
    if metadata.photoshop:  # as ImageMagick and ExifTool write it
        block = metadata.photoshop_block()
        text = f"\niptc\n{len(block):8}\n{block.hex()}\n".encode()
        chunks.append((b"zTXt", b"Raw profile type iptc\0\0" + zlib.compress(text)))
    if exif := metadata.exif_block():
        chunks.append((b"eXIf", exif))
    chunks += [chunk for chunk in metadata.color if chunk[0] == b"tIME"]
    head, *rest = [part for part in png_chunks(png) if part[0] in (b"IHDR", b"IDAT", b"IEND")]
    return join_png([head, *chunks, *rest])


def _encode_tiff(array: np.ndarray, metadata: Metadata, uncompressed: bool) -> bytes:
    """Returns a TIFF with strips, deflated or not, and the directory at the end."""
    exif = metadata.exif or Exif("<", {}, {})
    height, width = array.shape[:2]
    channels = array.shape[2] if array.ndim == 3 else 1
    head = b"II*\0" if exif.order == "<" else b"MM\0*"
    strips, rows = _strips(array, exif.order, uncompressed)
    lengths = np.array([len(strip) for strip in strips], np.int64)
    offsets = 8 + np.cumsum(lengths) - lengths
    start = int(8 + lengths.sum())
    if start > 2**32 - 2**24:
        raise ValueError("it is over 4 GB")

    def tag(kind: int, *values: int) -> Tag:
        code = {3: "H", 4: "I"}[kind]
        return Tag(kind, len(values), struct.pack(f"{exif.order}{len(values)}{code}", *values))

    tags = exif.tags | {
        256: tag(4, width), 257: tag(4, height), 258: tag(3, *[8 * array.itemsize] * channels),
        259: tag(3, 1 if uncompressed else 8), 262: tag(3, 2 if channels > 2 else 1),
        273: tag(4, *offsets.tolist()), 277: tag(3, channels), 278: tag(4, rows),
        279: tag(4, *lengths.tolist()), 284: tag(3, 1),
    }  # fmt: skip
    if not uncompressed:
        tags[317] = tag(3, 2)
    if channels in (2, 4):
        tags[338] = tag(3, 2)
    tags |= metadata.resolution_tags(exif.order)
    blocks = {34675: metadata.icc, 700: metadata.xmp, 34377: metadata.photoshop_block(iptc=False)}
    blocks[33723] = metadata.photoshop[IPTC][1] if IPTC in metadata.photoshop else None
    tags |= {name: Tag(7, len(block), block) for name, block in blocks.items() if block}
    content = [*strips, b"\0" * (start % 2)]
    start += start % 2
    content.append(directories(exif._replace(tags=tags), start))
    return b"".join([head, struct.pack(exif.order + "I", start), *content])


def _strips(array: np.ndarray, order: ByteOrder, uncompressed: bool) -> tuple[list[bytes], int]:
    """Returns strips of about a megabyte before compression, and the number of rows per strip."""
    rows = max(1, 2**20 // max(array[0].nbytes, 1))
    strips = []
    for top in range(0, len(array), rows):
        strip = array[top : top + rows]
        if not uncompressed:  # differences between neighbors
            strip = np.concatenate([strip[:, :1], np.diff(strip, axis=1)], axis=1)
        values = strip.astype(strip.dtype.newbyteorder(order)).tobytes()
        strips.append(values if uncompressed else zlib.compress(values))
    return strips, rows
