"""Cutting an image into patches and putting overlapping patches together again.

Patches are ordered row by row. A padded patch reaches `overlap` pixels over its
neighbors on every side.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def cut(
    image: Float[Array, "b h w c"], patch_size: int, overlap: int, step: int | None = None
) -> Float[Array, "b p s s c"]:
    """Returns the padded patches of an image whose border pixels go on outside it.

    With a `step`, windows of that size so many pixels apart instead, all that fit.
    """
    border = (overlap, overlap)
    padded = jnp.pad(image, ((0, 0), border, border, (0, 0)), mode="edge")
    extent = patch_size + 2 * overlap
    step = step or patch_size
    rows, columns = ((side - patch_size) // step + 1 for side in image.shape[1:3])
    y = (jnp.arange(rows) * step)[:, None] + jnp.arange(extent)
    x = (jnp.arange(columns) * step)[:, None] + jnp.arange(extent)
    patches = padded[:, y[:, None, :, None], x[None, :, None, :]]
    return patches.reshape(image.shape[0], rows * columns, extent, extent, image.shape[-1])


def crossfade(
    patches: Float[Array, "b p s s c"], grid: tuple[int, int], overlap: int
) -> Float[Array, "b h w c"]:
    """Joins padded patches; within `overlap` pixels of a seam they fade into each other.

    Their weights rise linearly from 0 at `overlap` pixels outside of a patch to 1 at as many
    inside of it, along both axes, so that four patches meet in a corner. At the border of the
    image a patch stands alone.

    Args:
      patches: row by row, s = p + 2·overlap pixels a side.
      grid: rows and columns of patches.
      overlap: 0 < overlap ≤ p / 2.
    """
    batch, _, extent, _, channels = patches.shape
    size = extent - 2 * overlap
    image = patches.reshape(batch, *grid, extent, extent, channels).transpose(0, 1, 3, 2, 4, 5)
    image = _add_up(image.reshape(batch, grid[0], extent, -1), size, overlap)
    image = image.reshape(batch, -1, grid[1], extent, channels).transpose(0, 2, 3, 1, 4)
    image = _add_up(image.reshape(batch, grid[1], extent, -1), size, overlap)
    return image.reshape(batch, grid[1] * size, -1, channels).swapaxes(1, 2)


def _add_up(strips: Float[Array, "b n s x"], size: int, overlap: int) -> Float[Array, "b n*p x"]:
    """Adds up padded strips, weighted, where they lie over each other; one after the other."""
    batch, count, extent, _ = strips.shape
    rise = np.minimum((np.arange(extent) + 0.5) / (2 * overlap), 1)
    index = np.arange(count)[:, None]
    weights = np.where(index > 0, rise, 1.0) * np.where(index < count - 1, rise[::-1], 1.0)
    strips = strips * jnp.asarray(weights, strips.dtype)[:, :, None]
    # The head of each lies beside the heads of the others; the rest over the next one's head.
    heads = jnp.pad(strips[:, :, :size], ((0, 0), (0, 1), (0, 0), (0, 0)))
    rests = jnp.pad(strips[:, :, size:], ((0, 0), (1, 0), (0, size - 2 * overlap), (0, 0)))
    added = (heads + rests).reshape(batch, (count + 1) * size, -1)
    return added[:, overlap : overlap + count * size]


def blend(
    patches: Float[Array, "b p s s c"], grid: tuple[int, int], overlap: int
) -> Float[Array, "b h w c"]:
    """Joins padded patches; along a seam, each side is averaged with its neighbor's view.

    Of a patch's own p×p pixels, the outer `overlap` are the mean of its own drawing and
    of the neighbor that also drew them. First between the rows of patches, then between
    the columns, over what came before: in a corner only the neighbor to the side counts.
    At the border of the image a patch stands alone, and at the left and right border also
    where rows of patches meet, since the columns come last.

    Args:
      patches: row by row, s = p + 2·overlap pixels a side.
      grid: rows and columns of patches.
      overlap: 0 ≤ overlap ≤ p / 2.
    """
    (rows, columns), o = grid, overlap
    batch, _, extent, _, channels = patches.shape
    p = extent - 2 * o
    patches = patches.reshape(batch, rows, columns, extent, extent, channels)
    own = patches[..., o : o + p, o : o + p, :]
    if o:
        inner = slice(o, o + p)
        above, below = patches[:, :-1, :, :, inner], patches[:, 1:, :, :, inner]
        seam = (above[..., p : p + 2 * o, :, :] + below[..., : 2 * o, :, :]) / 2
        blended = own.at[:, :-1, :, p - o :].set(seam[..., :o, :, :])
        blended = blended.at[:, 1:, :, :o].set(seam[..., o:, :, :])
        left, right = patches[:, :, :-1, inner], patches[:, :, 1:, inner]
        seam = (left[..., p : p + 2 * o, :] + right[..., : 2 * o, :]) / 2
        blended = blended.at[:, :, :-1, :, p - o :].set(seam[..., :o, :])
        blended = blended.at[:, :, 1:, :, :o].set(seam[..., o:, :])
        blended = blended.at[:, :, 0, :, :o].set(own[:, :, 0, :, :o])
        own = blended.at[:, :, -1, :, p - o :].set(own[:, :, -1, :, p - o :])
    image = own.transpose(0, 1, 3, 2, 4, 5)
    return image.reshape(batch, rows * p, columns * p, channels)
