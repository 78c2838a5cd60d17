"""Splatting on TPUs: a register holds 8 Gaussians of 128 patches, for one pixel of each.

With patches as lanes every operation is elementwise: no Gaussian or pixel has to be
spread over a register, and all sums stay in registers until they are done. This is
also the layout that XLA gives arrays of [patches, Gaussians, 2 or 3], so that they
come and go without a copy.

All arithmetic is float32 on the vector unit. A matrix product of opacities and
colors has too few columns to be worth its six passes of bfloat16. Nor is the exponent
a product of monomials of the pixel and coefficients of the Gaussian: for l = 0.03 px
its terms are 10⁵ times what is left of them, and float32 has only seven digits.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jaxtyping import Array, Float

from gsjax.kernels import mosaic
from gsjax.kernels.backends import vary_alike
from gsjax.kernels.mosaic import LANES, SUBLANES
from gsjax.kernels.rasterizer import reference, xla

# exp(−½(u² + v²)) is 2^−(u'² + v'²) with u' = STRETCH·u, which saves a product.
STRETCH = math.sqrt(0.5 / math.log(2))
# Of VMEM, for a block of Gaussians and of pixels, of each of which two are in flight.
GAUSSIANS_BYTES = 3 * 2**20
PIXELS_BYTES = 4 * 2**20
# Of the 64 registers, for the sums over Gaussians in the forward pass.
SUMS = 18
# How many pixels of a column are drawn at once, so that the exponential of one is
# computed while another is added.
PIXELS = 6


def rasterize(
    means: Float[Array, "*p n 2"],
    cholesky: Float[Array, "*p n 3"],
    colors: Float[Array, "*p n c"],
    patch_shape: tuple[int, int],
    interpret: bool | None = None,
) -> Float[Array, "*p h w c"]:
    """Draws as `reference.rasterize` does, in float32; holds little beyond the output.

    `interpret` is that of `mosaic.call`.
    """
    if not means.size:
        return jnp.zeros((*means.shape[:-2], *patch_shape, colors.shape[-1]), means.dtype)
    arrays = (means, cholesky, colors)
    return _rasterize(*vary_alike(arrays, arrays), patch_shape, interpret)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _rasterize(means, cholesky, colors, patch_shape, interpret):
    n, channels = colors.shape[-2:]
    gaussians = [_patches_last(array) for array in (means, cholesky, colors)]
    patches = gaussians[0].shape[-1]
    rows, columns = _pixel_block(patch_shape, channels)
    group = max(1, min(rows, PIXELS, SUMS // channels))
    chunk = _gaussian_block(n, channels, 5 + channels + group)
    grid = (
        pl.cdiv(patches, LANES),
        patch_shape[0] // rows,
        pl.cdiv(patch_shape[1], columns),
        pl.cdiv(n, chunk),
    )

    def gaussian_block(size):
        return (size, chunk, LANES), lambda p, i, j, k: (0, k, p)

    pixels = (rows, columns, channels, LANES), lambda p, i, j, k: (i, j, 0, p)
    opacities = rows * columns * chunk * LANES
    (image,) = mosaic.call(
        functools.partial(_draw, n, patch_shape),
        gaussians,
        [(*patch_shape, channels, patches)],
        grid,
        blocks=[*map(gaussian_block, (2, 3, channels)), pixels],
        scratch=[(5 + channels, chunk, LANES), (group, chunk, LANES)],
        sums=1,
        cost=((4 + 2 * channels) * opacities, opacities),
        interpret=interpret,
    )
    return jnp.moveaxis(image, -1, 0).reshape(*means.shape[:-2], *patch_shape, channels)


def _forward(means, cholesky, colors, patch_shape, interpret):
    gaussians = means, cholesky, colors
    return _rasterize(*gaussians, patch_shape, interpret), gaussians


def _backward(patch_shape, interpret, gaussians, cotangent):
    """As in `xla`, but the moments are those of a block's pixels."""
    lead, (n, channels) = gaussians[2].shape[:-2], gaussians[2].shape[-2:]
    errors = jnp.moveaxis(cotangent.reshape(-1, *cotangent.shape[-3:]), 0, -1)
    inputs = [*map(_patches_last, gaussians), errors]
    patches = errors.shape[-1]
    rows, columns = _pixel_block(patch_shape, channels)
    chunk = _gaussian_block(n, channels, 11 + 2 * channels)
    grid = (
        pl.cdiv(patches, LANES),
        pl.cdiv(n, chunk),
        patch_shape[0] // rows,
        pl.cdiv(patch_shape[1], columns),
    )

    def gaussian_block(size):
        return (size, chunk, LANES), lambda p, k, i, j: (0, k, p)

    pixels = (rows, columns, channels, LANES), lambda p, k, i, j: (i, j, 0, p)
    opacities = rows * columns * chunk * LANES
    moments = mosaic.call(
        functools.partial(_sum_moments, n, patch_shape),
        vary_alike(inputs, inputs),
        [(6, n, patches), (channels, n, patches)],
        grid,
        blocks=[
            *map(gaussian_block, (2, 3, channels)),
            pixels,
            *map(gaussian_block, (6, channels)),
        ],
        scratch=[(rows, _together(channels), LANES)],
        sums=2,
        cost=((10 + 4 * channels) * opacities, opacities),
        interpret=interpret,
    )
    h, hu, hv, huu, huv, hvv, *color = (
        moment.T.reshape(*lead, n) for moment in jnp.concatenate(moments)
    )
    first, second = 1 / STRETCH, 1 / STRETCH**2
    moments = h, first * hu, first * hv, second * huu, second * huv, second * hvv, *color
    return xla.gradients(gaussians, moments)


_rasterize.defvjp(_forward, _backward)


def _patches_last(gaussians: Float[Array, "*p n k"]) -> Float[Array, "k n p"]:
    return gaussians.reshape(-1, *gaussians.shape[-2:]).transpose(2, 1, 0)


def _together(channels):
    """Returns how many Gaussians a patch's lane takes at once: what registers allow."""
    return SUBLANES * (2 if channels <= 4 else 1)


def _gaussian_block(n, channels, values):
    """Returns how many Gaussians of so many values are in a block."""
    together = _together(channels)
    most = GAUSSIANS_BYTES // (4 * LANES * values)
    return together * min(pl.cdiv(n, together), most // together)


def _pixel_block(patch_shape, channels):
    """Returns how many rows and columns are in a block: rows without a rest."""
    height, width = patch_shape
    most = PIXELS_BYTES // (4 * LANES * SUBLANES * pl.cdiv(channels, SUBLANES))
    columns = min(width, most)
    return max(d for d in range(1, height + 1) if height % d == 0 and d * columns <= most), columns


def _chunk(index, size):
    return pl.ds(pl.multiple_of(index * size, size), size)


def _rest(total, block, size, each=1):
    """Returns how many are in a block, of which the last may be partly empty."""
    return jax.lax.div(jnp.minimum(size, total - block * size) + each - 1, jnp.int32(each))


def _for_each(size, together, step, carry):
    """Is `jax.lax.fori_loop` from 0 to a size, so many steps at once."""

    def steps(index, carry):
        for i in range(together):
            carry = step(index * together + i, carry)
        return carry

    carry = jax.lax.fori_loop(0, size // together, steps, carry)
    for index in range(size - size % together, size):
        carry = step(jnp.int32(index), carry)
    return carry


def _bounded(means, cholesky, chunk):
    """Reads a few Gaussians of each patch: x, y, l11, l21, l22."""
    values = [means[i, chunk, :] for i in range(2)] + [cholesky[i, chunk, :] for i in range(3)]
    return [reference.bounded(value) for value in values]


def _ready(x, y, l11, l21, l22):
    """Returns what u' = r11·(x − q_x) and v' = r22·(y − q_y) − slant·(x − q_x) take.

    The pixel is subtracted first, as that is exact where the Gaussian is seen.
    """
    r11, r22 = reference.reciprocal(l11), STRETCH * reference.reciprocal(l22)
    return x, y, STRETCH * r11, r22, l21 * r11 * r22


def _draw(n, patch_shape, means, cholesky, colors, image, ready, heights):
    """Adds a block of Gaussians, of n, to a block of pixels."""
    rows, columns, channels, _ = image.shape
    size, group = _together(channels), heights.shape[0]
    row, column, block = (pl.program_id(i) for i in (1, 2, 3))
    chunks = _rest(n, block, ready.shape[1], size)

    @pl.when(block == 0)
    def clear():
        image[...] = jnp.zeros_like(image)

    @pl.loop(0, chunks)
    def prepare(index):
        chunk = _chunk(index, size)
        first = block * ready.shape[1] + index * size
        present = first + jax.lax.broadcasted_iota(jnp.int32, (size, LANES), 0) < n
        x, y, l11, l21, l22 = _bounded(means, cholesky, chunk)
        visible = reference.fade_of_area(l11 * l22)
        color = [visible * colors[c, chunk, :] for c in range(channels)]
        for i, value in enumerate((*_ready(x, y, l11, l21, l22), *color)):
            # What is past the last Gaussian may be anything, even not a number.
            ready[i, chunk, :] = jnp.where(present, value, 0.0)

    def draw(start, count):
        """Draws on some rows."""

        @pl.loop(0, chunks)
        def prepare_rows(index):
            chunk = _chunk(index, size)
            y = ready[1, chunk, :] - (row * rows + start).astype(jnp.float32)
            for i in range(count):
                heights[i, chunk, :] = (y - i) * ready[3, chunk, :]

        @pl.loop(0, _rest(patch_shape[1], column, columns))
        def draw_column(j):
            def add(index, sums):
                chunk = _chunk(index, size)
                x, r11, slant, *color = (
                    ready[i, chunk, :] for i in (0, 2, 4, *range(5, 5 + channels))
                )
                x = x - (column * columns + j).astype(jnp.float32)
                u, slanted = x * r11, x * slant
                along = -u * u
                added = []
                for i in range(count):
                    v = heights[i, chunk, :] - slanted
                    alpha = jnp.exp2(along - v * v)
                    added += [(alpha * c).reshape(-1, SUBLANES, LANES).sum(0) for c in color]
                return [old + new for old, new in zip(sums, added, strict=True)]

            zeros = [jnp.zeros((SUBLANES, LANES), jnp.float32)] * (count * channels)
            sums = jax.lax.fori_loop(0, chunks, add, zeros)
            for i in range(count):
                for c in range(channels):
                    at = start + i, j, pl.ds(c, 1), slice(None)
                    image[at] += sums[i * channels + c].sum(0, keepdims=True)

    @pl.loop(0, jax.lax.div(_rest(patch_shape[0], row, rows), jnp.int32(group)))
    def draw_group(index):
        draw(index * group, group)

    if rest := rows % group:
        draw(jnp.int32(rows - rest), rest)


def _sum_moments(n, patch_shape, means, cholesky, colors, errors, moments, shares, heights):
    """Adds a block of pixels to the moments of a block of Gaussians, of n."""
    rows, columns, channels, _ = errors.shape
    size = _together(channels)
    block, row, column = (pl.program_id(i) for i in (1, 2, 3))

    @pl.when((row == 0) & (column == 0))
    def clear():
        moments[...] = jnp.zeros_like(moments)
        shares[...] = jnp.zeros_like(shares)

    zero = jnp.zeros((size, LANES), jnp.float32)
    present = _rest(patch_shape[1], column, columns)

    @pl.loop(0, _rest(n, block, moments.shape[1], size))
    def add_chunk(index):
        chunk = _chunk(index, size)
        x, y, r11, r22, slant = _ready(*_bounded(means, cholesky, chunk))
        y = y - (row * rows).astype(jnp.float32)

        @pl.loop(0, rows)
        def prepare_row(i):
            heights[i] = (y - i.astype(jnp.float32)) * r22

        color = [colors[c, chunk, :] for c in range(channels)]

        def add_column(j, sums):
            h, hu, hv, huu, huv, hvv, *share = sums
            right = x - (column * columns + j).astype(jnp.float32)
            u, slanted = right * r11, right * slant
            along = -u * u

            def add_pixel(i, sums):
                h, hv, hvv, *share = sums
                v = heights[i] - slanted
                alpha = jnp.exp2(along - v * v)
                error = [errors[i, j, pl.ds(c, 1), :] for c in range(channels)]
                weight = alpha * sum(e * c for e, c in zip(error, color, strict=True))
                weight_v = weight * v
                share = [old + alpha * e for old, e in zip(share, error, strict=True)]
                return h + weight, hv + weight_v, hvv + weight_v * v, *share

            # Along a column u is the same: it multiplies the column's sums.
            start = (zero, zero, hvv, *share)
            a, b, hvv, *share = _for_each(rows, min(PIXELS, rows), add_pixel, start)
            au = a * u
            return (h + a, hu + au, hv + b, huu + au * u, huv + b * u, hvv, *share)

        sums = jax.lax.fori_loop(0, present, add_column, (zero,) * (6 + channels))
        for i in range(6):
            moments[i, chunk, :] += sums[i]
        for c in range(channels):
            shares[c, chunk, :] += sums[6 + c]
