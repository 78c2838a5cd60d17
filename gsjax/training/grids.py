"""Sample grids: input, prediction, composite and original, side by side."""

import io
import os
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from gsjax.data.colors import to_uint8
from gsjax.files import write_atomically

COLUMNS = ("input", "prediction", "composite", "original")
HOLE_COLOR = (255, 94, 170)  # a pink that is rare in photographs; black could be a shadow

_SHORTEST_SIDE = 128  # pixels; smaller images are enlarged
_MARGIN = 6
_FONT_SIZE = 14
_LINE = 20  # height of a line of text


def sample_grid(
    original: Float[np.ndarray, "b h w 3"],
    known: Float[np.ndarray, "b h w 1"],
    prediction: Float[np.ndarray, "b h w 3"],
    composite: Float[np.ndarray, "b h w 3"],
    captions: Sequence[str] = (),
) -> UInt8[np.ndarray, "height width 3"]:
    """Draws a row per image: input with its hole in pink, prediction, composite, original.

    Values are clipped to [0, 1]; NaN is drawn black. Images with a side below 128 pixels are
    enlarged by an integer factor, without interpolation. Captions, if any, are below the rows.
    """
    pink = np.asarray(HOLE_COLOR, np.float32) / 255
    known = np.asarray(known)
    masked = np.asarray(original) * known + pink * (1 - known)
    columns = [to_uint8(images) for images in (masked, prediction, composite, original)]
    return picture_grid(dict(zip(COLUMNS, columns, strict=True)), captions)


def picture_grid(
    columns: Mapping[str, UInt8[np.ndarray, "b h w 3"]], captions: Sequence[str] = ()
) -> UInt8[np.ndarray, "height width 3"]:
    """Draws columns of pictures of one size under their titles, like `sample_grid`."""
    rows, height, width = next(iter(columns.values())).shape[:3]
    factor = max(1, -(-_SHORTEST_SIDE // min(height, width)))
    height, width = height * factor, width * factor
    row_height = height + _MARGIN + (_LINE if captions else 0)
    canvas_size = (
        _MARGIN + len(columns) * (width + _MARGIN),
        _LINE + _MARGIN + rows * row_height,
    )
    canvas = Image.new("RGB", canvas_size, "white")
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(_FONT_SIZE)

    for column, (title, images) in enumerate(columns.items()):
        left = _MARGIN + column * (width + _MARGIN)
        draw.text((left + width / 2, _LINE / 2 + 2), title, "black", font, anchor="mm")
        for row, image in enumerate(images):
            picture = Image.fromarray(image).resize((width, height), Image.Resampling.NEAREST)
            canvas.paste(picture, (left, _LINE + _MARGIN + row * row_height))
    for row, caption in enumerate(captions):
        middle = _LINE + _MARGIN + row * row_height + height + _LINE / 2
        draw.text((_MARGIN, middle + 1), caption, "black", font, anchor="lm")
    return np.asarray(canvas)


def write_png(path: str | os.PathLike, array: UInt8[np.ndarray, "height width 3"]) -> None:
    """Writes a PNG atomically.

    Raises:
      OSError: if the folder is missing, full or read-only; nothing is left behind.
    """
    write_atomically(path, encode_png(array))


def encode_png(array: UInt8[np.ndarray, "height width 3"]) -> bytes:
    """Returns the content of a PNG file."""
    content = io.BytesIO()
    Image.fromarray(array).save(content, format="PNG")
    return content.getvalue()
