"""What splatting is: the formula written out, slow and obvious.

Every backend is tested against this file, values and gradients.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

# A Gaussian of less than this area l11·l22, in px², fades out: its opacity goes
# smoothly to zero with its area. Above it the formula is exact. (The published
# code zeroes the conic of a small Gaussian, which then floods its whole patch.)
FADE_AREA = 1e-3
# Lengths past these bounds, in px, draw as the bounds do; they keep every
# intermediate finite in float32 and are out of reach of any patch.
SMALLEST = 1e-12
LARGEST = 1e6
# Distances past this many deviations are as good as infinite: exp(-½·10⁴) is 0.
FARTHEST = 1e2


def fade(cholesky: Float[Array, "*n 3"]) -> Float[Array, "*n"]:
    """Returns the opacity, 0 to 1, left to a Gaussian whose area vanishes."""
    return fade_of_area(cholesky[..., 0] * cholesky[..., 2])


def fade_of_area(area: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """Returns the opacity, 0 to 1, left to a Gaussian of an area in px² of either sign."""
    part = jnp.minimum(jnp.abs(area) / FADE_AREA, 1.0)
    return part * part * (3.0 - 2.0 * part)


def bounded(lengths: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """Returns lengths, or the bound that they are past."""
    return jnp.clip(lengths, -LARGEST, LARGEST)


def opacity(
    means: Float[Array, "*n 2"],
    cholesky: Float[Array, "*n 3"],
    x: Float[Array, "*q"],
    y: Float[Array, "*q"],
) -> Float[Array, "..."]:
    """Returns α of Gaussians at the points (x, y), in px; the shapes broadcast.

    α = fade(L) · exp(−½ |L⁻¹ (μ − q)|²), which is exp(−½ (μ−q)ᵀ Σ⁻¹ (μ−q)) for
    Σ = L Lᵀ and never exceeds 1. Solving with L instead of inverting Σ keeps the
    digits of sharp and of slanted Gaussians in float32.
    """
    means, cholesky = bounded(means), bounded(cholesky)
    l11, l21, l22 = (cholesky[..., i] for i in range(3))
    u = jnp.clip((means[..., 0] - x) * reciprocal(l11), -FARTHEST, FARTHEST)
    v = jnp.clip((means[..., 1] - y - l21 * u) * reciprocal(l22), -FARTHEST, FARTHEST)
    return fade(cholesky) * jnp.exp(-0.5 * (u * u + v * v))


def reciprocal(length: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """Returns 1/length, and 0 where the length is as good as zero."""
    zero = jnp.abs(length) < SMALLEST
    return jnp.where(zero, 0.0, 1.0 / jnp.where(zero, 1.0, length))


def pixel_centers(
    patch_shape: tuple[int, int], dtype: jnp.dtype
) -> tuple[Float[Array, " s"], Float[Array, " s"]]:
    """Returns x and y of a patch's pixels, row by row: the integers."""
    height, width = patch_shape
    y, x = jnp.meshgrid(jnp.arange(height), jnp.arange(width), indexing="ij")
    return x.ravel().astype(dtype), y.ravel().astype(dtype)


def rasterize(
    means: Float[Array, "*p n 2"],
    cholesky: Float[Array, "*p n 3"],
    colors: Float[Array, "*p n c"],
    patch_shape: tuple[int, int],
) -> Float[Array, "*p h w c"]:
    """Draws Σ_k α_k(q)·color_k on every pixel q; holds all h·w·n opacities in memory."""
    x, y = pixel_centers(patch_shape, means.dtype)
    alpha = opacity(means[..., None, :, :], cholesky[..., None, :, :], x[:, None], y[:, None])
    image = jnp.einsum("...qn,...nc->...qc", alpha, colors, precision="highest")
    return image.reshape(*means.shape[:-2], *patch_shape, colors.shape[-1])
