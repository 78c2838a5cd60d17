"""Splatting on NVIDIA GPUs: `triton_kernels` called from JAX.

The kernels do what is done for every pixel and Gaussian. What is done once a Gaussian
is in here: bounds, reciprocals and fading before, the chain rule through them after.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gsjax.kernels import gpu
from gsjax.kernels.backends import vary_alike
from gsjax.kernels.rasterizer import reference, xla

KERNELS = "gsjax.kernels.rasterizer.triton_kernels"
# exp(−½ d²) is 2^−(SCALE·d)²: what the hardware computes is a power of two.
SCALE = math.sqrt(0.5 * math.log2(math.e))
WARPS = 2
# A lane does more, which shares more, as long as there are this many lanes: a quarter of
# the threads that an A100 or H200 holds.
LANES = 2**16
# What a lane has in registers, beyond which they would spill.
ROWS, ACCUMULATORS, GROUP = 9, 32, 2
ROWS_IN_FLIGHT = 18


def rasterize(
    means: Float[Array, "*p n 2"],
    cholesky: Float[Array, "*p n 3"],
    colors: Float[Array, "*p n c"],
    patch_shape: tuple[int, int],
) -> Float[Array, "*p h w c"]:
    """Draws as `reference.rasterize` does, in float32; holds little beside the output.

    Raises:
      ImportError: without a GPU build of JAX, jax_triton or triton.
      TypeError: for anything but float32.
    """
    arrays = (means, cholesky, colors)
    if any(array.dtype != jnp.float32 for array in arrays):
        raise TypeError(f"this backend draws in float32; got {[str(a.dtype) for a in arrays]}")
    means, cholesky, colors = vary_alike(arrays, arrays)
    if means.size == 0 or colors.size == 0:
        return jnp.zeros((*means.shape[:-2], *patch_shape, colors.shape[-1]), jnp.float32)
    return _rasterize(means, cholesky, colors, tuple(patch_shape))


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _rasterize(means, cholesky, colors, patch_shape):
    visible = reference.fade(reference.bounded(cholesky))
    gaussians = pack(means, cholesky, visible[..., None] * colors)

    @gpu.mappable
    def draw(gaussians):
        launch = drawing(_one_lead(gaussians, 2), patch_shape, colors.shape[-1])
        (image,) = gpu.run(launch, KERNELS)
        return image.reshape(*gaussians.shape[:-2], *image.shape[1:])

    return draw(gaussians)


def _forward(means, cholesky, colors, patch_shape):
    return _rasterize(means, cholesky, colors, patch_shape), (means, cholesky, colors)


def _backward(patch_shape, gaussians, cotangent):
    @gpu.mappable
    def sum_moments(packed, cotangent):
        launch = summing(_one_lead(packed, 2), _one_lead(cotangent, 3))
        (moments,) = gpu.run(launch, KERNELS)
        return moments.reshape(*packed.shape[:-2], *moments.shape[1:])

    means, cholesky, colors = gaussians
    moments = sum_moments(pack(means, cholesky, colors), cotangent)
    return gradients(means, cholesky, colors, moments)


_rasterize.defvjp(_forward, _backward)


def _one_lead(array, dimensions):
    """Merges all dimensions but the last few into one."""
    return array.reshape(-1, *array.shape[-dimensions:])


def pack(
    means: Float[Array, "*p n 2"], cholesky: Float[Array, "*p n 3"], colors: Float[Array, "*p n c"]
) -> Float[Array, "*p n v"]:
    """Returns what the kernels read of each Gaussian: x, y, r11, l21, r22, its color, zeros."""
    l11, l21, l22 = (reference.bounded(cholesky)[..., i : i + 1] for i in range(3))
    r11, r22 = SCALE * reference.reciprocal(l11), SCALE * reference.reciprocal(l22)
    columns = [reference.bounded(means), r11, l21 / SCALE, r22, colors]
    columns.append(jnp.zeros((*l11.shape[:-1], -(5 + colors.shape[-1]) % 4), l11.dtype))
    return jnp.concatenate(columns, axis=-1)


def drawing(
    gaussians: Float[Array, "p n v"], patch_shape: tuple[int, int], channels: int
) -> gpu.Launch:
    """Plans the forward pass, which draws the patches."""
    height, width = patch_shape
    patches, n, _ = gaussians.shape
    strips_a_column = -(-height // max(1, min(ROWS, ACCUMULATORS // channels)))
    strips = patches * width * strips_a_column
    split = 1
    while split < min(8, n) and strips * split < LANES:
        split *= 2
    # Gaussians of zeros, black, make all shares even.
    gaussians = jnp.pad(gaussians, ((0, 0), (0, -n % split), (0, 0)))
    strips_a_program = 32 * WARPS // split
    constants = {
        "P": patches,
        "N": gaussians.shape[1],
        "C": channels,
        "H": height,
        "W": width,
        "WIDTH": gaussians.shape[2],
        "ROWS": -(-height // strips_a_column),
        "SPLIT": split,
        "STRIPS": strips_a_program,
    }
    programs = -(-strips // strips_a_program)
    image = (patches, height, width, channels)
    return gpu.Launch("draw_kernel", (gaussians,), (image,), (programs,), WARPS, constants)


def summing(gaussians: Float[Array, "p n v"], errors: Float[Array, "p h w c"]) -> gpu.Launch:
    """Plans the backward pass, which writes the moments of the Gaussians."""
    patches, height, width, channels = errors.shape
    n = gaussians.shape[1]
    group = GROUP if channels <= 4 and patches * -(-n // GROUP) >= LANES else 1
    blocks = -(-height // ROWS_IN_FLIGHT)
    constants = {
        "P": patches,
        "N": n,
        "C": channels,
        "H": height,
        "W": width,
        "WIDTH": gaussians.shape[2],
        "GROUP": group,
        "LANES": 32 * WARPS,
        "ROWS": -(-height // blocks),
        "FARTHEST": reference.FARTHEST,
    }
    programs = -(-patches * -(-n // group) // (32 * WARPS))
    arrays, moments = (gaussians, errors), (patches, n, 5 + channels)
    return gpu.Launch("moments_kernel", arrays, (moments,), (programs,), WARPS, constants)


def gradients(
    means: Float[Array, "*p n 2"],
    cholesky: Float[Array, "*p n 3"],
    colors: Float[Array, "*p n c"],
    moments: Float[Array, "*p n 5+c"],
) -> tuple[Float[Array, "*p n 2"], Float[Array, "*p n 3"], Float[Array, "*p n c"]]:
    """Assembles the gradients from what `moments_kernel` sums, as `xla` does from its sums."""
    l22 = reference.bounded(cholesky)[..., 2]
    r22 = reference.reciprocal(l22)
    hu, hw, huu, huw, hww = (moments[..., i] for i in range(5))
    color = moments[..., 5:]
    shape = [hu / SCALE, r22 * hw, huu / SCALE**2, r22 * huw / SCALE, r22 * (r22 * hww)]
    h = (color * colors).sum(-1)
    sums = [h, *shape, *jnp.moveaxis(color, -1, 0)]
    return xla.gradients((means, cholesky, colors), sums)
