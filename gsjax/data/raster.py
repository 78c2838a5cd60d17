"""A decoded picture in memory, and the conversion from Pillow's images."""

import dataclasses

import numpy as np
from jaxtyping import Num, UInt8
from PIL import Image

from gsjax.data.blocks import Blocks
from gsjax.data.colors import cmyk_to_rgb, eight_bits
from gsjax.data.containers import Refused


@dataclasses.dataclass
class Raster:
    """A picture, upright.

    Attributes:
      pixels: uint8, uint16 or float; gray [h, w] or RGB [h, w, 3].
      alpha: of the same type, or None.
      kind: PNG, JPEG, WEBP, TIFF, BMP, GIF, AVIF, HEIF, or another format that Pillow reads.
      lossy: whether the compression is lossy, so that black is not exactly 0.
      turned: whether it was stored rotated or mirrored.
      notes: what is lost from the file, such as frames.
      blocks: its metadata as stored.
      jpeg: quantization tables, subsampling etc. of a JPEG.
      uncompressed: whether it is a TIFF without compression.
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


def from_pillow(image: Image.Image, kind: str) -> Raster:
    """Converts an image of Pillow to a raster, without changing its values."""
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
    """Returns 8-bit RGB, with transparent pixels composited over a gray value."""
    pixels = eight_bits(raster.pixels)
    pixels = np.repeat(pixels[..., None], 3, -1) if pixels.ndim == 2 else pixels
    if raster.alpha is None:
        return pixels
    alpha = eight_bits(raster.alpha)[..., None].astype(np.uint32)
    return ((pixels * alpha + background * (255 - alpha) + 127) // 255).astype(np.uint8)
