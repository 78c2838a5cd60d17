"""Reads TIFF files: tifffile finds the strips and tiles, all of which must be complete.

Compressed byte streams are decompressed one by one with zlib or libtiff, so that bit depth, byte
order, planes and predictors need only one implementation for all compressions. Strips compressed as
pictures (JPEG, fax, WebP, …) are decoded by Pillow's libtiff.
"""

import contextlib
import io
import logging
import struct
from collections.abc import Callable

import numpy as np
import tifffile
from PIL import Image, TiffImagePlugin

from gsjax.data.blocks import Blocks, resolution
from gsjax.data.colors import cmyk_to_rgb, unpremultiplied
from gsjax.data.containers import Refused
from gsjax.data.exif import parse
from gsjax.data.libtiff import DEFLATE, RAW, decompressed, raising_libtiff_errors

logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # the same problems are checked here

# Byte streams: libtiff decompresses LZW, PackBits, LZMA and Zstandard.
_STREAMS = (RAW, 5, *DEFLATE, 32773, 34925, 50000)
_AS_PICTURES = (2, 3, 4, 6, 7, 34712, 50001)  # fax, JPEG, JPEG 2000, WebP
_LOSSY = (6, 7, 34712, 50001)
_COLORS = {0: 1, 1: 1, 2: 3, 3: 1, 5: 4, 6: 3}  # channels by PhotometricInterpretation
_UNSPECIFIED, _PREMULTIPLIED, _STRAIGHT = 0, 1, 2  # ExtraSamples
_MOST_PACKED = 5000  # maximum compression ratio: LZW has 1,365, Deflate 1,032, …
_LARGEST_TILE = 8192  # maximum pixels by which a tile may exceed its picture


class Stored:
    """The pixels of a TIFF's first page as stored, before orientation is applied.

    Attributes:
      image: the image if Pillow read it, else None.
      pixels: uint8, uint16 or float [h, w] or [h, w, 3]; None if there is an image.
      alpha: of the same type [h, w], or None.
      lossy: whether the compression is lossy.
      uncompressed: whether there is no compression.
      size: (width, height).
      notes: what is lost from the file.
    """

    def __init__(self, page: tifffile.TiffPage, pages: int):
        self.image: Image.Image | None = None
        self.pixels: np.ndarray | None = None
        self.alpha: np.ndarray | None = None
        self.lossy = int(page.compression) in _LOSSY
        self.uncompressed = int(page.compression) == RAW
        self.size = page.imagewidth, page.imagelength
        self.notes = [f"only the first of its {pages} frames is kept"] if pages > 1 else []


def read_tiff(data: bytes, check_size: Callable[[int, int], None]) -> tuple[Stored, Blocks]:
    """Reads the first page of a TIFF, and its metadata.

    Args:
      data: the content of the file.
      check_size: called with (width, height) before anything is decoded.

    Raises:
      Refused: the pixels are of an unsupported kind, or incomplete.
    """
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            page, pages = file.pages.first, _count(file)
            stored = Stored(page, pages)
            check_size(*stored.size)
            _check(page)
            if _needs_pillow(page):
                stored.image = _by_pillow(data, page)
            else:
                with raising_libtiff_errors() if _in_libtiff(page) else contextlib.nullcontext():
                    values = _values(page)
                _interpret(stored, values, page)
            return stored, _blocks(data, page)
    except tifffile.TiffFileError as error:
        raise Refused(f"the file is damaged: {error}") from error


def _count(file: tifffile.TiffFile) -> int:
    try:
        return len(file.pages)
    except Exception:  # the chain of pages is damaged, but the first one can be read
        return 1


def _check(page: tifffile.TiffPage) -> None:
    compression, photometric, bits = int(page.compression), page.photometric, page.bitspersample
    if photometric is None or int(photometric) not in _COLORS:
        name = getattr(photometric, "name", photometric)
        raise Refused(f"its colors are {name}; convert it to RGB or gray")
    if page.imagedepth != 1:
        raise Refused("it is a volume, not a picture")
    if page.samplesperpixel < _COLORS[int(photometric)] or page.samplesperpixel > 16:
        raise Refused(f"it has {page.samplesperpixel} channels; convert it to RGB or gray")
    if bits not in (1, 2, 4, 8, 16) and page.sampleformat != 3:
        raise Refused(f"{bits}-bit pixels; convert it to 8 or 16 bits")
    formats = page.tags.valueof(339, 1)
    formats = set(formats) if isinstance(formats, tuple) else {formats}
    if not formats <= {1, 3, 4} or (formats == {3}) != (bits in (32, 64) and 3 in formats):
        raise Refused("its pixels have signs or are complex numbers; convert it to 8 or 16 bits")
    if int(photometric) == 5 and page.tags.valueof(332, 1) != 1:
        raise Refused("its inks are not cyan, magenta, yellow and black; convert it to RGB")
    if int(photometric) == 3 and (page.colormap is None or bits == 16):
        raise Refused("its palette cannot be read")
    if compression not in (*_STREAMS, *_AS_PICTURES):
        name = getattr(page.compression, "name", compression)
        raise Refused(f"its compression {name} is not supported; save it with LZW or Deflate")


def _needs_pillow(page: tifffile.TiffPage) -> bool:
    if int(page.compression) in _AS_PICTURES:
        if page.bitspersample not in (1, 8):
            raise Refused(f"{page.bitspersample}-bit pixels compressed with loss; save it with LZW")
        return True
    if int(page.photometric) == 6:  # YCbCr
        if page.bitspersample != 8:
            raise Refused("16-bit YCbCr; convert it to RGB")
        return True
    return False


def _in_libtiff(page: tifffile.TiffPage) -> bool:
    return int(page.compression) not in (RAW, *DEFLATE)


def _by_pillow(data: bytes, page: tifffile.TiffPage) -> Image.Image:
    upright = bytearray(data)
    tag = page.tags.get(274)
    if tag is not None:  # orientation is applied later, as for all formats
        code = page.parent.byteorder + "H"
        struct.pack_into(code, upright, tag.valueoffset, 1)
    image = TiffImagePlugin.TiffImageFile(io.BytesIO(upright))
    if image.size != (page.imagewidth, page.imagelength):
        raise Refused("the file is damaged: its sizes differ")
    with raising_libtiff_errors():
        image.load()
    return image


def _values(page: tifffile.TiffPage) -> np.ndarray:
    """Returns [h, w, channels] as stored."""
    separate = page.planarconfig == 2 and page.samplesperpixel > 1
    planes, channels = (page.samplesperpixel, 1) if separate else (1, page.samplesperpixel)
    height, width = page.imagelength, page.imagewidth
    if page.is_tiled:
        rows, columns = page.tilelength, page.tilewidth
    else:
        rows, columns = min(page.rowsperstrip or height, height), width
    beyond = max(rows - height, columns - width)
    if not rows or not columns or beyond > _LARGEST_TILE:
        raise Refused("the file is damaged: a strip or tile has no size that can be")
    down, across = -(-height // rows), -(-width // columns)
    offsets, lengths = page.dataoffsets, page.databytecounts
    if min(len(offsets), len(lengths)) < planes * down * across:
        raise Refused("the file is cut off: not all strips or tiles are there")
    array = np.zeros((planes, height, width, channels), _type(page))
    for index in range(planes * down * across):
        plane, place = divmod(index, down * across)
        top, left = place // across * rows, place % across * columns
        # The last strip ends with the picture; tiles are complete.
        count = rows if page.is_tiled else min(rows, height - top)
        part = _segment(page, offsets[index], lengths[index], (count, columns, channels))
        part = part[: height - top, : width - left]
        array[plane, top : top + part.shape[0], left : left + part.shape[1]] = part
    return array[0] if not separate else np.moveaxis(array[..., 0], 0, -1)


def _type(page: tifffile.TiffPage) -> np.dtype:
    if page.bitspersample >= 32:
        return np.dtype(f"f{page.bitspersample // 8}")
    return np.dtype(np.uint16 if page.bitspersample == 16 else np.uint8)


def _segment(page, offset: int, length: int, shape: tuple[int, int, int]) -> np.ndarray:
    rows, columns, channels = shape
    bits, dtype = page.bitspersample, _type(page)
    wanted = rows * -(-columns * channels * bits // 8)
    file = page.parent.filehandle
    file.seek(offset)
    packed = file.read(length) if offset > 0 and 0 < length <= file.size else b""
    if not packed or len(packed) < length or len(packed) * _MOST_PACKED < wanted:
        raise Refused("the file is cut off: not all of its pixels are there")
    if page.fillorder == 2:
        packed = packed.translate(_REVERSED)
    content = decompressed(packed, int(page.compression), wanted)
    if len(content) < wanted:
        raise Refused("the file is damaged: not all of its pixels are there")
    if bits < 8:
        if page.predictor != 1:
            raise Refused(f"a predictor with {bits} bits; save it without")
        ones = np.unpackbits(np.frombuffer(content, np.uint8, wanted).reshape(rows, -1), axis=1)
        ones = ones[:, : columns * channels * bits].reshape(rows, columns, channels, bits)
        return (ones << np.arange(bits - 1, -1, -1, dtype=np.uint8)).sum(-1, dtype=np.uint8)
    stored = dtype.newbyteorder(page.parent.byteorder)
    values = np.frombuffer(content, stored, rows * columns * channels).reshape(shape)
    if page.predictor == 2 and dtype.kind == "u":
        values = np.cumsum(values, axis=1, dtype=dtype)
    elif page.predictor != 1:
        raise Refused(f"predictor {int(page.predictor)} is not supported; save it without")
    return values


_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def _interpret(stored: Stored, values: np.ndarray, page: tifffile.TiffPage) -> None:
    """Sets colors and alpha from the stored values."""
    photometric, bits = int(page.photometric), page.bitspersample
    top = {16: 65535, 32: 1.0, 64: 1.0}.get(bits, 255)
    scale = values.dtype.type(255 // (2**bits - 1) if bits < 8 else 1)
    colors, extra = np.split(values, [_COLORS[photometric]], axis=-1)
    extra = extra * scale
    if photometric == 3:
        table = np.asarray(page.colormap)
        table = (table if table.max(initial=0) < 256 else table >> 8).astype(np.uint8)
        colors = table.T[colors[..., 0]]
    elif photometric == 0:
        colors = top - colors * scale
    elif photometric == 5:
        colors = cmyk_to_rgb(colors)
    else:
        colors = colors * scale
    kinds = _extra_kinds(page, extra.shape[-1])
    place = next((i for i, kind in enumerate(kinds) if kind != _UNSPECIFIED), None)
    if place is not None:
        stored.alpha = np.ascontiguousarray(extra[..., place])
        if kinds[place] == _PREMULTIPLIED:
            colors = unpremultiplied(colors, stored.alpha, top)
            stored.notes.append("its premultiplied alpha becomes straight alpha")
    if len(kinds) > (place is not None):
        stored.notes.append("its channels beside color and alpha are not kept")
    stored.pixels = np.ascontiguousarray(colors[..., 0] if colors.shape[-1] == 1 else colors)


def _extra_kinds(page: tifffile.TiffPage, count: int) -> list[int]:
    kinds = page.tags.valueof(338)
    if kinds is None:  # without the tag, a fourth channel beside RGB is alpha
        kinds = [_STRAIGHT] if int(page.photometric) == 2 else []
    kinds = [int(kind) for kind in (kinds if isinstance(kinds, tuple | list) else [kinds])]
    return (kinds + [_UNSPECIFIED] * count)[:count]


def _blocks(data: bytes, page: tifffile.TiffPage) -> Blocks:
    blocks = Blocks(exif=data)
    for tag, name in {34675: "icc", 700: "xmp", 34377: "photoshop", 33723: "iptc"}.items():
        if tag in page.tags:
            start, length = page.tags[tag].valueoffset, page.tags[tag].valuebytecount
            setattr(blocks, name, data[start : start + length] or None)
    tags = parse(data)
    if tags and (across := tags.rational(282)) and (down := tags.rational(283)):
        unit = {1: None, 3: 2.54}.get(tags.number(296) or 2, 1)
        blocks.resolution = resolution(across, down, unit)
    if 330 in page.tags:
        blocks.pictures.append("pictures in directories below it")
    if 37724 in page.tags:
        blocks.pictures.append("the layers of Photoshop")
    return blocks
