"""Reads pictures, for training, preparing, evaluating and filling alike.

The resulting array is what a screen shows, for any bit depth, plane layout, palette, inks, byte
order or orientation. Files that cannot be read correctly are refused.
"""

import io
import struct

import numpy as np
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    WebPImagePlugin,
)

from gsjax.data import blocks as blocks_lib
from gsjax.data.colors import upright
from gsjax.data.containers import PNG, Refused, TooLarge, riff_chunks
from gsjax.data.png import read_png
from gsjax.data.raster import Raster, from_pillow
from gsjax.errors import first_line

MAX_PIXELS = 2**28  # default limit for a picture: 268 megapixels


def read(data: bytes, max_pixels: int = MAX_PIXELS, side: int = 0) -> Raster:
    """Reads a picture from the content of its file.

    Args:
      data: the content of the file.
      max_pixels: larger pictures are refused before they are decoded.
      side: a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size as long as no side gets shorter
        than this; 0 for full size.

    Raises:
      Refused: the file is empty, not a picture, damaged, too large, or of an unsupported kind.
    """

    def check_size(width: int, height: int) -> None:
        if not width or not height:
            raise Refused("it has no pixels")
        if width * height > max_pixels:
            raise TooLarge(
                f"{width}×{height} are more than {max_pixels:,} pixels; --max_pixels allows more"
            )

    # On broken files, decoders raise any kind of exception (SyntaxError, struct.error, IndexError,
    # …).
    try:
        kind = detect_format(data)
        raster = _read_kind(kind, data, check_size, side)
    except (Refused, MemoryError):
        raise
    except Exception as error:
        raise Refused(first_line(error)) from error
    orientation = 1 if kind == "HEIF" else raster.blocks.orientation()
    if orientation != 1:
        raster.pixels = np.ascontiguousarray(upright(raster.pixels, orientation))
        if raster.alpha is not None:
            raster.alpha = np.ascontiguousarray(upright(raster.alpha, orientation))
        raster.turned = True
    return raster


def detect_format(data: bytes) -> str:
    """Returns the format of a file from its first bytes: a `Raster.kind`, or "" for others.

    Raises:
      Refused: the file is empty.
    """
    if not data:
        raise Refused("the file is empty")
    marks = {
        PNG: "PNG", b"\xff\xd8\xff": "JPEG", b"GIF87a": "GIF", b"GIF89a": "GIF", b"BM": "BMP",
        b"II*\0": "TIFF", b"MM\0*": "TIFF", b"II+\0": "TIFF", b"MM\0+": "TIFF",
    }  # fmt: skip
    for mark, kind in marks.items():
        if data.startswith(mark):
            return kind
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[4:8] == b"ftyp":
        brands = data[8 : struct.unpack(">I", data[:4])[0]]
        if b"avif" in brands or b"avis" in brands:
            return "AVIF"
        if any(brand in brands for brand in (b"heic", b"heix", b"heim", b"heis", b"mif1")):
            return "HEIF"
    return ""


def missing_decoder(kind: str) -> str | None:
    """Returns what to install to read a kind of file, or None if it can be read."""
    if kind == "HEIF" and _heif() is None:
        return "it is HEIC; to read it: pip install pillow-heif"
    if kind == "AVIF" and _avif() is None:
        return "it is AVIF, which this Pillow cannot read; pip install -U pillow, or pillow-heif"
    return None


def _avif():
    try:
        from PIL import AvifImagePlugin
    except ImportError:
        return None
    return AvifImagePlugin if getattr(AvifImagePlugin, "SUPPORTED", False) else None


def _heif():
    try:
        import pillow_heif
    except ImportError:
        return None
    return pillow_heif


def _read_kind(kind: str, data: bytes, check_size, side: int) -> Raster:
    if kind == "PNG":
        return read_png(data, check_size)
    if kind == "JPEG":
        return _read_jpeg(data, check_size, side)
    if kind == "TIFF":
        return _read_tiff(data, check_size)
    if missing := missing_decoder(kind):
        raise Refused(missing)
    # Decoders are called directly: Image.open has its own size limit, and tries every format.
    content, frames = io.BytesIO(data), 0
    image: Image.Image
    if kind == "WEBP":
        image = WebPImagePlugin.WebPImageFile(content)
    elif kind == "BMP":
        image = BmpImagePlugin.BmpImageFile(content)
    elif kind == "GIF":
        image = GifImagePlugin.GifImageFile(content)
    elif kind == "AVIF":
        image = _avif().AvifImageFile(content)
    elif kind == "HEIF":
        opened = _heif().open_heif(content)
        image, frames = opened.to_pillow(), len(opened)
    else:
        image = _opened(content)
    check_size(*image.size)
    frames = frames or getattr(image, "n_frames", 1)
    raster = from_pillow(image, kind or image.format or "")
    raster.lossy = kind in ("AVIF", "HEIF")
    if kind == "WEBP":
        raster.blocks = blocks_lib.webp_blocks(data)
        raster.lossy = any(
            name == b"VP8 " or (name == b"ANMF" and b"VP8 " in bytes(content[16:40]))
            for name, content in riff_chunks(data)
        )
    else:
        raster.blocks = blocks_lib.other_blocks(image.info)
    if frames > 1:
        raster.notes.append(f"only the first of its {frames} frames is kept")
    if _has_more_bits(data, kind):
        raster.notes.append("its 10 or 12 bits a channel become 8")
    return raster


def _has_more_bits(data: bytes, kind: str) -> bool:
    """Returns whether an AVIF or HEIC has more than 8 bits, from its codec configuration."""
    configurations = {"AVIF": (b"av1C", 6, 0x40), "HEIF": (b"hvcC", 21, 0x07)}
    if kind not in configurations:
        return False
    name, place, bits = configurations[kind]
    start = data.find(name, 0, 2**16)
    return 0 <= start < len(data) - place and bool(data[start + place] & bits)


def _opened(content: io.BytesIO) -> Image.Image:
    try:
        return Image.open(content)
    except Image.UnidentifiedImageError as error:
        raise Refused("not an image file") from error


def _read_jpeg(data: bytes, check_size, side: int) -> Raster:
    image = JpegImagePlugin.JpegImageFile(io.BytesIO(data))
    check_size(*image.size)
    if side:
        image.draft(None, (side, side))
    jpeg = {}
    if image.mode in ("L", "RGB"):
        jpeg = {"qtables": image.quantization, "progressive": "progressive" in image.info}
        jpeg["subsampling"] = JpegImagePlugin.get_sampling(image)
    raster = from_pillow(image, "JPEG")
    raster.lossy, raster.jpeg = True, jpeg
    raster.blocks = blocks_lib.jpeg_blocks(data)
    return raster


def _read_tiff(data: bytes, check_size) -> Raster:
    from gsjax.data.tiff import read_tiff  # tifffile takes half a second to import

    stored, blocks = read_tiff(data, check_size)
    if stored.pixels is not None:
        raster = Raster(stored.pixels, stored.alpha, "TIFF")
    else:
        assert stored.image is not None  # one of the two
        raster = from_pillow(stored.image, "TIFF")
    raster.notes += stored.notes
    raster.lossy, raster.uncompressed = stored.lossy, stored.uncompressed
    raster.blocks = blocks
    return raster
