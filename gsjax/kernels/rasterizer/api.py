"""The public splatting function: checks, dispatch by backend, the contract."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gsjax.kernels.backends import BACKENDS, choose, implementation, over_devices


def rasterize(
    means: Float[Array | np.ndarray, "*p n 2"],
    cholesky: Float[Array | np.ndarray, "*p n 3"],
    colors: Float[Array | np.ndarray, "*p n c"],
    patch_shape: tuple[int, int] = (18, 18),
    backend: str = "auto",
) -> Float[Array, "*p h w c"]:
    """Splats 2D Gaussians onto their patches: pixel(q) = Σ_k α_k(q) · color_k.

    α_k(q) = exp(−½ (μ_k − q)ᵀ Σ_k⁻¹ (μ_k − q)) with Σ = L Lᵀ: additive, without
    sorting. Every index of the leading dimensions is a patch of its own. A Gaussian
    whose area l11·l22 falls below 10⁻³ px² fades out smoothly.

    Args:
      means: (x, y) in pixels of the patch; pixel centers are the integers.
      cholesky: (l11, l21, l22) of the lower triangle L, in pixels.
      colors: any number of channels; bfloat16 is fine, they are drawn in float32.
      patch_shape: height and width of a patch, in pixels.
      backend: auto | xla | pallas | triton; see `gsjax.kernels.backends`.

    Returns:
      The patches in float32, or in float64 if means and cholesky are. Memory beyond
      them is of their own size, forward and backward; pixels × Gaussians never exist.

    Raises:
      ValueError: for shapes that do not fit together or an unknown backend.
    """
    lead = means.shape[:-1]
    fitting = means.shape == (*lead, 2) and cholesky.shape == (*lead, 3)
    if not lead or not fitting or colors.shape[:-1] != lead:
        raise ValueError(
            "means, cholesky and colors must be [..., N, 2], [..., N, 3] and [..., N, C]; "
            f"got {means.shape}, {cholesky.shape} and {colors.shape}"
        )
    if len(patch_shape) != 2 or min(patch_shape) < 1:
        raise ValueError(f"patch_shape must be (height, width) in pixels; got {patch_shape}")
    dtype = jnp.promote_types(jnp.result_type(means, cholesky), jnp.float32)
    arrays = [jnp.asarray(array, dtype) for array in (means, cholesky, colors)]
    backend = choose(backend, dtype)
    draw = functools.partial(implementation("rasterize", backend), patch_shape=tuple(patch_shape))
    with jax.named_scope("rasterize"):
        if BACKENDS[backend].plain or len(lead) == 1:
            return draw(*arrays)
        return over_devices(draw, arrays)
