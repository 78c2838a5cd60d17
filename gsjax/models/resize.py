"""Resampling of images and positional grids, matching PyTorch's `interpolate` exactly.

`jax.image.resize` has a different cubic kernel (a = -0.5 where PyTorch has -0.75) and accepts no
scale that differs from the ratio of the sizes, which the DINO family needs. Resampling is linear
and separable: one small matrix per axis.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

_TAPS = {"bilinear": 2, "bicubic": 4}  # input pixels per output pixel


def resize(
    images: Float[Array, "*b h w c"],
    size: tuple[int, int],
    method: str = "bilinear",
    antialias: bool = False,
    scale: tuple[float, float] | None = None,
) -> Float[Array, "*b oh ow c"]:
    """Resamples to `size` = (height, width), with pixel centers at half-integers.

    The counterpart of `torch.nn.functional.interpolate(align_corners=False)`.

    Args:
      images: any batch of pixel grids, rows before columns, channels last.
      size: height and width of the result.
      method: "bilinear" or "bicubic".
      antialias: widen the kernel by the reduction factor when shrinking.
      scale: output pixels per input pixel, for (height, width), if not exactly the ratio of the
        sizes; PyTorch's `scale_factor`.

    Returns:
      The resampled images, float32.
    """
    scale_y, scale_x = scale or (None, None)
    rows = weights(images.shape[-3], size[0], method, antialias, scale_y)
    columns = weights(images.shape[-2], size[1], method, antialias, scale_x)
    # Full precision; accelerators would otherwise multiply in bfloat16 or TF32.
    dot = functools.partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)
    images = jnp.asarray(images, jnp.float32)
    return dot("px,...yxc->...ypc", columns, dot("py,...yxc->...pxc", rows, images))


@functools.lru_cache(maxsize=64)
def weights(
    inputs: int,
    outputs: int,
    method: str = "bilinear",
    antialias: bool = False,
    scale: float | None = None,
) -> Float[np.ndarray, "o i"]:
    """Returns the matrix that resamples one axis; its rows sum to 1.

    Args:
      inputs, outputs: pixels before and after.
      method, antialias: as in `resize`.
      scale: output pixels per input pixel; None means `outputs / inputs`.

    Raises:
      ValueError: an unknown method.
    """
    if method not in _TAPS:
        raise ValueError(f"method is {method!r}; it must be one of {', '.join(_TAPS)}")
    if antialias and inputs == outputs:
        return np.eye(inputs, dtype=np.float32)  # as PyTorch does, whatever the scale
    # In float32 like PyTorch's: at pixel 200, the rounding shows in the fifth digit.
    step = np.float32(inputs / outputs if scale is None else 1 / scale)
    centers = (np.arange(outputs, dtype=np.float32) + np.float32(0.5)) * step
    if antialias:
        return _antialiased(inputs, centers, step, method).astype(np.float32)
    return _interpolated(inputs, centers, method).astype(np.float32)


def _interpolated(inputs: int, centers: np.ndarray, method: str) -> np.ndarray:
    """Returns rows of the plain kernel; taps beyond the border repeat the border pixel."""
    taps = _TAPS[method]
    first = np.floor(centers - 0.5).astype(int) - (taps // 2 - 1)
    matrix = np.zeros((len(centers), inputs))
    for tap in range(taps):
        distance = first + tap + 0.5 - centers
        column = np.clip(first + tap, 0, inputs - 1)
        # Several clipped taps may fall on one column, so they are added.
        np.add.at(matrix, (np.arange(len(centers)), column), _kernel(distance, method, -0.75))
    return matrix


def _antialiased(inputs: int, centers: np.ndarray, step: np.float32, method: str) -> np.ndarray:
    """Returns rows of the kernel widened by `step`; taps beyond the border are left out."""
    width = np.maximum(step, np.float32(1))
    distance = (np.arange(inputs)[None] + 0.5 - centers[:, None]) / width
    # Here PyTorch follows Pillow, whose cubic has a different slope.
    matrix = _kernel(distance, method, -0.5)
    return matrix / matrix.sum(axis=1, keepdims=True)


def _kernel(x: np.ndarray, method: str, a: float) -> np.ndarray:
    """Returns the interpolation kernel at distance `x`; `a` is the slope of the cubic at 1."""
    x = np.abs(x)
    if method == "bilinear":
        return np.maximum(1 - x, 0)
    near = (a + 2) * x**3 - (a + 3) * x**2 + 1
    far = a * (x**3 - 5 * x**2 + 8 * x - 4)
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))
