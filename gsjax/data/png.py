"""Reads PNG files: finds and checks their chunks, and decodes pixels with Pillow and OpenCV."""

import io
import math
import struct
import zlib
from collections.abc import Callable

import cv2
import numpy as np
from PIL import PngImagePlugin

from gsjax.data.blocks import png_blocks
from gsjax.data.containers import Refused, join_png, png_chunks
from gsjax.data.raster import Raster, from_pillow


def read_png(data: bytes, check_size: Callable[[int, int], None]) -> Raster:
    """Reads a PNG and its metadata.

    Args:
      data: the content of the file.
      check_size: called with (width, height) before anything is decoded.

    Raises:
      Refused: the file is damaged or truncated.
    """
    chunks = png_chunks(data)
    width, height, depth, color, _, _, interlaced = struct.unpack(">IIBBBBB", chunks[0][1])
    check_size(width, height)
    parts = dict(reversed(chunks))  # the first chunk of a name counts
    pixels_only = [part for part in chunks if part[0] in (b"IHDR", b"PLTE", b"IDAT", b"IEND")]
    blocks = png_blocks(chunks)
    transparent = bytes(parts.get(b"tRNS", b""))
    if depth == 16:
        _check_complete(chunks, width, height, color, interlaced)
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
        raster = from_pillow(image, "PNG")
        raster.blocks = blocks
    if transparent and color in (0, 2):
        keys = np.frombuffer(transparent, ">u2")[: 1 if color == 0 else 3]
        keys = keys * (255 // (2**depth - 1)) if depth < 8 else keys
        same = raster.pixels == keys.astype(raster.pixels.dtype)
        same = same.all(-1) if same.ndim == 3 else same
        full = np.iinfo(raster.pixels.dtype).max
        raster.alpha = np.where(same, 0, full).astype(raster.pixels.dtype)
    return raster


def _check_complete(chunks, width: int, height: int, color: int, interlaced: int) -> None:
    """Raises Refused unless a 16-bit PNG has all its pixels, which OpenCV does not check."""
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
