"""The one reader of pictures: for training, preparing, evaluating and filling alike.

Whatever a file's bit depth, planes, palette, inks, byte order or orientation, the array is what
shows on a screen; what cannot be read rightly is refused.
"""

import dataclasses
import io
import math
import struct
import zlib

import cv2
import numpy as np
from jaxtyping import Num, UInt8
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    WebPImagePlugin,
)

from gsjax.data import blocks as blocks_lib
from gsjax.data.blocks import Blocks
from gsjax.data.colors import cmyk_to_rgb, eight_bits, upright
from gsjax.data.containers import PNG, Refused, join_png, png_chunks, riff_chunks
from gsjax.errors import first_line

MAX_PIXELS = 2**28  # of a picture, unless more are allowed: 268 megapixels
_GRAY = ("1", "L", "LA", "La", "I;16", "I;16L", "I;16B", "I;16N", "I", "F")


@dataclasses.dataclass
class Raster:
    """A picture, upright.

    Attributes:
      pixels: uint8, uint16 or float; gray [h, w] or RGB [h, w, 3].
      alpha: of the same type, or None.
      kind: PNG, JPEG, WEBP, TIFF, BMP, GIF, AVIF, HEIF, or what else Pillow can read.
      lossy: whether it is compressed with loss, so that black is not exactly 0.
      turned: whether it was stored turned or mirrored.
      notes: what of the file is not kept, such as frames.
      blocks: its metadata as stored.
      jpeg: quantization tables and the like of a JPEG.
      uncompressed: whether a TIFF is.
    """

    pixels: Num[np.ndarray, "h w ..."]
    alpha: Num[np.ndarray, "h w"] | None
    kind: str
    lossy: bool = False
    turned: bool = False
    notes: list[str] = dataclasses.field(default_factory=list)
    blocks: Blocks = dataclasses.field(default_factory=Blocks)
    jpeg: dict = dataclasses.field(default_factory=dict)
    uncompressed: bool = False


def read(data: bytes, max_pixels: int = MAX_PIXELS, side: int = 0) -> Raster:
    """Reads a picture from the content of its file.

    Args:
      data: as the file holds it.
      max_pixels: larger pictures are refused before they are decoded.
      side: a JPEG may come at 1/2, 1/4 or 1/8 of its size as long as no side gets shorter than
        this; 0: at its full size.

    Raises:
      Refused: empty, no picture, damaged, too large, or of a kind that is not supported.
    """

    def check_size(width: int, height: int) -> None:
        if not width or not height:
            raise Refused("it has no pixels")
        if width * height > max_pixels:
            raise Refused(
                f"{width}×{height} are more than {max_pixels:,} pixels; --max_pixels allows more"
            )

    # Decoders meet a broken file with any kind of exception (SyntaxError, struct.error,
    # IndexError, …).
    try:
        kind = kind_of(data)
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


def kind_of(data: bytes) -> str:
    """Returns which format a file has by its first bytes: a `Raster.kind`, or "" for others.

    Raises:
      Refused: it is empty.
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
    """Says what is to be installed to read a kind of file; None if it can be read."""
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
        return _read_png(data, check_size)
    if kind == "JPEG":
        return _read_jpeg(data, check_size, side)
    if kind == "TIFF":
        return _read_tiff(data, check_size)
    if missing := missing_decoder(kind):
        raise Refused(missing)
    # The decoders are called by name: Image.open has a limit of its own, and asks each format.
    content, frames = io.BytesIO(data), 0
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
    raster = _from_pillow(image, kind or image.format or "")
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
    """Returns whether an AVIF or HEIC has more than 8 bits, by its codec's configuration."""
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


def _read_png(data: bytes, check_size) -> Raster:
    chunks = png_chunks(data)
    width, height, depth, color, _, _, interlaced = struct.unpack(">IIBBBBB", chunks[0][1])
    check_size(width, height)
    parts = dict(reversed(chunks))  # the first of a name counts
    pixels_only = [part for part in chunks if part[0] in (b"IHDR", b"PLTE", b"IDAT", b"IEND")]
    blocks = blocks_lib.png_blocks(chunks)
    transparent = bytes(parts.get(b"tRNS", b""))
    if depth == 16:
        _check_inflated(chunks, width, height, color, interlaced)
        stream = np.frombuffer(join_png(pixels_only), np.uint8)
        values = cv2.imdecode(stream, cv2.IMREAD_UNCHANGED)
        if values is None or values.dtype != np.uint16:
            raise Refused("its 16-bit pixels cannot be read; convert it to 8 bits")
        values = values if values.ndim == 3 else values[..., None]
        has_alpha = color in (4, 6)
        colors = values[..., :-1] if has_alpha else values
        alpha = np.ascontiguousarray(values[..., -1]) if has_alpha else None
        pixels = colors[..., 0] if color in (0, 4) else colors[..., 2::-1]
        raster = Raster(np.ascontiguousarray(pixels), alpha, "PNG", blocks=blocks)
    else:
        image = PngImagePlugin.PngImageFile(io.BytesIO(join_png(pixels_only)))
        if image.mode == "P":
            palette = np.zeros((256, 4), np.uint8)
            colors = np.frombuffer(parts[b"PLTE"], np.uint8)[:768].reshape(-1, 3)
            palette[: len(colors), :3], palette[:, 3] = colors, 255
            palette[: len(transparent), 3] = np.frombuffer(transparent[:256], np.uint8)
            values = palette[np.asarray(image)]
            alpha = np.ascontiguousarray(values[..., 3]) if transparent else None
            return Raster(np.ascontiguousarray(values[..., :3]), alpha, "PNG", blocks=blocks)
        raster = _from_pillow(image, "PNG")
        raster.blocks = blocks
    if transparent and color in (0, 2):
        keys = np.frombuffer(transparent, ">u2")[: 1 if color == 0 else 3]
        keys = keys * (255 // (2**depth - 1)) if depth < 8 else keys
        same = raster.pixels == keys.astype(raster.pixels.dtype)
        same = same.all(-1) if same.ndim == 3 else same
        full = np.iinfo(raster.pixels.dtype).max
        raster.alpha = np.where(same, 0, full).astype(raster.pixels.dtype)
    return raster


def _check_inflated(chunks, width: int, height: int, color: int, interlaced: int) -> None:
    """Raises Refused unless a PNG of 16 bits has all its pixels; OpenCV is content with fewer."""
    channels = {0: 1, 2: 3, 4: 2, 6: 4}.get(color)
    if channels is None:
        raise Refused("the file is damaged: a PNG of 16 bits with a palette")
    passes = [(0, 0, 1, 1)]
    if interlaced:  # Adam7: first column and row, and the steps between them
        passes = [
            (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
            (0, 1, 1, 2),
        ]  # fmt: skip
    wanted = 0
    for left, top, step_x, step_y in passes:
        columns, rows = math.ceil((width - left) / step_x), math.ceil((height - top) / step_y)
        wanted += rows * (1 + columns * channels * 2) if columns > 0 and rows > 0 else 0
    inflater, length = zlib.decompressobj(), 0
    try:
        for name, content in chunks:
            if name == b"IDAT":
                piece = inflater.decompress(content, 2**20)
                while piece:
                    length += len(piece)
                    piece = inflater.decompress(inflater.unconsumed_tail, 2**20)
    except zlib.error as error:
        raise Refused(f"the file is damaged: {error}") from error
    if length < wanted:
        raise Refused("the file is cut off: not all of its pixels are there")


def _read_jpeg(data: bytes, check_size, side: int) -> Raster:
    image = JpegImagePlugin.JpegImageFile(io.BytesIO(data))
    check_size(*image.size)
    if side:
        image.draft(None, (side, side))
    jpeg = {}
    if image.mode in ("L", "RGB"):
        jpeg = {"qtables": image.quantization, "progressive": "progressive" in image.info}
        jpeg["subsampling"] = JpegImagePlugin.get_sampling(image)
    raster = _from_pillow(image, "JPEG")
    raster.lossy, raster.jpeg = True, jpeg
    raster.blocks = blocks_lib.jpeg_blocks(data)
    return raster


def _read_tiff(data: bytes, check_size) -> Raster:
    from gsjax.data.tiff import read_tiff  # tifffile takes half a second to import

    stored, blocks = read_tiff(data, check_size)
    if stored.image is not None:
        raster = _from_pillow(stored.image, "TIFF")
    else:
        raster = Raster(stored.pixels, stored.alpha, "TIFF")
    raster.notes += stored.notes
    raster.lossy, raster.uncompressed = stored.lossy, stored.uncompressed
    raster.blocks = blocks
    return raster


def _from_pillow(image: Image.Image, kind: str) -> Raster:
    """Returns what Pillow has decoded without changing any value."""
    mode, notes = image.mode, []
    if mode.startswith("I") or mode == "F":
        values = np.asarray(image)
        if mode != "F":
            if values.min(initial=0) < 0 or values.max(initial=0) > 65535:
                raise Refused("32-bit pixels; convert it to 8 or 16 bits")
            values = values.astype(np.uint16)  # in this machine's byte order
        return Raster(values, None, kind)
    if mode == "CMYK":
        notes = ["it is CMYK and becomes RGB, without its color profile"]
        return Raster(cmyk_to_rgb(np.asarray(image)), None, kind, notes=notes)
    if mode not in ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "YCbCr"):
        raise Refused(f"pixels of mode {mode}; convert it to RGB or gray")
    gray = mode in ("1", "L", "LA", "La")
    if image.has_transparency_data or mode in ("PA", "La", "RGBa"):
        values = np.asarray(image.convert("LA" if gray else "RGBA"))
        alpha = np.ascontiguousarray(values[..., -1])
        pixels = values[..., 0] if gray else values[..., :3]
        return Raster(np.ascontiguousarray(pixels), alpha, kind)
    return Raster(np.array(image.convert("L" if gray else "RGB")), None, kind)


def to_rgb8(raster: Raster, background: int = 255) -> UInt8[np.ndarray, "h w 3"]:
    """Returns 8 bits a channel, transparent pixels composited over a gray value."""
    pixels = eight_bits(raster.pixels)
    pixels = np.repeat(pixels[..., None], 3, -1) if pixels.ndim == 2 else pixels
    if raster.alpha is None:
        return pixels
    alpha = eight_bits(raster.alpha)[..., None].astype(np.uint32)
    return ((pixels * alpha + background * (255 - alpha) + 127) // 255).astype(np.uint8)
