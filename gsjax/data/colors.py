"""Converts stored pixels to displayed pixels: inks, alpha, bit depth and orientation."""

import numpy as np
from jaxtyping import Float, Num, Shaped, UInt8

from gsjax.data.containers import Refused


def cmyk_to_rgb(inks: np.ndarray) -> np.ndarray:
    """Converts CMYK, uint8 or uint16 [h, w, 4], to RGB without a color profile, like Pillow."""
    top = np.uint32(np.iinfo(inks.dtype).max)
    light = top - inks[..., 3:].astype(np.uint32)
    return (light - (inks[..., :3] * light + top // 2) // top).astype(inks.dtype)


def unpremultiplied(colors: np.ndarray, alpha: np.ndarray, top: float) -> np.ndarray:
    """Converts premultiplied to straight alpha; fully transparent pixels are unchanged."""
    if colors.dtype.kind == "f":
        raise Refused("floating-point pixels with premultiplied alpha; convert it to 8 or 16 bits")
    over = np.maximum(alpha, 1)[..., None].astype(np.uint32)
    straight = np.minimum(colors * np.uint32(top) // over, top).astype(colors.dtype)
    return np.where(alpha[..., None] == 0, colors, straight)


def upright(values: Shaped[np.ndarray, "h w ..."], orientation: int) -> np.ndarray:
    """Applies an EXIF orientation, 1 to 8, to pixels."""
    if orientation in (5, 6, 7, 8):
        values = values.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    return values[:, ::-1] if orientation in (2, 3, 6, 7) else values


def eight_bits(values: Num[np.ndarray, "..."]) -> UInt8[np.ndarray, "..."]:
    """Scales values to 8 bits; the maximum of floats is assumed to be 1, 255 or 65535."""
    if values.dtype == np.uint8:
        return values
    if values.dtype == np.uint16:
        return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    top = float(np.nanmax(values, initial=0.0))
    full = 1.0 if top <= 1.0 else 255.0 if top <= 255.0 else 65535.0
    return np.rint(np.clip(np.nan_to_num(values) * (255.0 / full), 0.0, 255.0)).astype(np.uint8)


def to_uint8(values: Float[np.ndarray, "..."]) -> UInt8[np.ndarray, "..."]:
    """Returns values of [0, 1] as 8 bits, clipped; NaN becomes 0."""
    values = np.nan_to_num(np.asarray(values, np.float32), nan=0.0)
    return np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
