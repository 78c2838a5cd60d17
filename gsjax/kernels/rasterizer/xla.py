"""Splatting in plain JAX, for any platform, in little memory.

Nothing of the size pixels × Gaussians ever exists. The forward pass scans over
the Gaussians with all patches' pixels as vector lanes; the backward pass scans
over the pixels with all patches' Gaussians as lanes, so that neither needs a
reduction: both only add to what they carry.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gsjax.kernels.rasterizer import reference

# Chosen by measurement on CPU: enough to amortize reading and writing the carry.
GAUSSIANS_A_STEP = 4
PIXELS_A_STEP = 6


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def rasterize(
    means: Float[Array, "*p n 2"],
    cholesky: Float[Array, "*p n 3"],
    colors: Float[Array, "*p n c"],
    patch_shape: tuple[int, int],
) -> Float[Array, "*p h w c"]:
    """Draws as `reference.rasterize` does; holds twice the output in memory."""
    x, y = reference.pixel_centers(patch_shape, means.dtype)

    def draw(image, gaussian):
        mean, factor, color = gaussian
        alpha = reference.opacity(mean[..., None, :], factor[..., None, :], x, y)
        return image + alpha[..., None, :] * color[..., :, None], None

    gaussians = [jnp.moveaxis(array, -2, 0) for array in (means, cholesky, colors)]
    image = jnp.zeros((*means.shape[:-2], colors.shape[-1], len(x)), means.dtype)
    image, _ = jax.lax.scan(draw, image, gaussians, unroll=GAUSSIANS_A_STEP)
    return jnp.moveaxis(image, -2, -1).reshape(*means.shape[:-2], *patch_shape, colors.shape[-1])


def _forward(means, cholesky, colors, patch_shape):
    return rasterize(means, cholesky, colors, patch_shape), (means, cholesky, colors)


def _backward(patch_shape, gaussians, cotangent):
    """Returns the exact derivative, from the moments of each Gaussian's share of the error.

    With (u, v) = L⁻¹(μ − q), α = exp(−½(u² + v²)) and h = α · Σ_c cotangent_c·color_c,
    every gradient of a Gaussian is a sum over pixels of h times 1, u, v, u², uv or v².
    """
    means, cholesky, colors = gaussians
    means, cholesky = reference.bounded(means), reference.bounded(cholesky)
    l11, l21, l22 = (cholesky[..., i] for i in range(3))
    r11, r22 = reference.reciprocal(l11), reference.reciprocal(l22)
    inside = functools.partial(jnp.clip, min=-reference.FARTHEST, max=reference.FARTHEST)

    def add_pixels(moments, pixels):
        x, y, errors = pixels
        u = [inside((means[..., 0] - x[i]) * r11) for i in range(PIXELS_A_STEP)]
        v = [inside((means[..., 1] - y[i] - l21 * u[i]) * r22) for i in range(PIXELS_A_STEP)]
        alpha = [jnp.exp(-0.5 * (a * a + b * b)) for a, b in zip(u, v, strict=True)]
        # Without the barriers XLA computes the exponentials again for each moment.
        alpha = jax.lax.optimization_barrier(alpha)
        h = [
            a * sum(e[..., c, None] * colors[..., c] for c in range(colors.shape[-1]))
            for a, e in zip(alpha, errors, strict=True)
        ]
        h = jax.lax.optimization_barrier(h)
        shape = zip(h, u, v, strict=True)
        terms = [(h, h * u, h * v, h * u * u, h * u * v, h * v * v) for h, u, v in shape]
        terms = [
            (*term, *(e[..., c, None] * a for c in range(colors.shape[-1])))
            for term, a, e in zip(terms, alpha, errors, strict=True)
        ]
        return [m + sum(t) for m, t in zip(moments, zip(*terms, strict=True), strict=True)], None

    moments = [jnp.zeros_like(l11)] * (6 + colors.shape[-1])
    moments, _ = jax.lax.scan(add_pixels, moments, _pixel_blocks(patch_shape, cotangent))
    return gradients(gaussians, moments)


def gradients(gaussians, moments):
    """Returns those of means, cholesky and colors.

    The moments are Σ_q h·(1, u, v, u², uv, v²) and then Σ_q α·cotangent_c for each
    channel, all without the fading.
    """
    means, cholesky, _ = gaussians
    _, means_vjp = jax.vjp(reference.bounded, means)
    cholesky, cholesky_vjp = jax.vjp(reference.bounded, cholesky)
    l11, l21, l22 = (cholesky[..., i] for i in range(3))
    r11, r22 = reference.reciprocal(l11), reference.reciprocal(l22)
    h, hu, hv, huu, huv, hvv, *color = moments

    visible, fade_vjp = jax.vjp(reference.fade, cholesky)
    slant = l21 * r22
    d_means = jnp.stack([r11 * (slant * hv - hu), -r22 * hv], axis=-1)
    d_cholesky = jnp.stack([r11 * (huu - slant * huv), r22 * huv, r22 * hvv], axis=-1)
    visible = visible[..., None]
    return (
        *means_vjp(visible * d_means),
        *cholesky_vjp(visible * d_cholesky + fade_vjp(h)[0]),
        visible * jnp.stack(color, axis=-1),
    )


def _pixel_blocks(patch_shape, cotangent):
    """Splits the pixels in blocks of PIXELS_A_STEP, the last one filled up with zero errors."""
    x, y = reference.pixel_centers(patch_shape, cotangent.dtype)
    errors = cotangent.reshape(*cotangent.shape[:-3], len(x), cotangent.shape[-1])
    errors = jnp.moveaxis(errors, -2, 0)
    blocks = -(-len(x) // PIXELS_A_STEP)

    def split(array):
        missing = blocks * PIXELS_A_STEP - len(x)
        array = jnp.pad(array, [(0, missing)] + [(0, 0)] * (array.ndim - 1))
        return array.reshape(blocks, PIXELS_A_STEP, *array.shape[1:])

    return split(x), split(y), split(errors)


rasterize.defvjp(_forward, _backward)
