"""Cuts an image into patches, and joins overlapping patches.

Patches are ordered row by row. A padded patch covers `overlap` pixels of its neighbors on
every side.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def cut(
    image: Float[Array, "b h w c"], patch_size: int, overlap: int, step: int | None = None
) -> Float[Array, "b p s s c"]:
    """Returns the padded patches of an image, whose border pixels are repeated outside of it.

    With a `step`, returns all windows of that size at a stride of `step` pixels instead.
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
    """Joins padded patches, with a linear crossfade within `overlap` pixels of each seam.

    The weight of a patch rises linearly, along both axes, from 0 at `overlap` pixels outside of it
    to 1 at `overlap` pixels inside, so four patches mix in a corner. There is no fade at the border
    of the image.

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


def _add_up(
    strips: Float[Array, "b n s x"], size: int, overlap: int
) -> Float[Array, "b n*{size} x"]:
    """Joins padded strips along the first axis, adding them with weights where they overlap."""
    batch, count, extent, _ = strips.shape
    rise = np.minimum((np.arange(extent) + 0.5) / (2 * overlap), 1)
    index = np.arange(count)[:, None]
    weights = np.where(index > 0, rise, 1.0) * np.where(index < count - 1, rise[::-1], 1.0)
    strips = strips * jnp.asarray(weights, strips.dtype)[:, :, None]
    # The heads are contiguous; the rest of each strip overlaps the head of the next.
    heads = jnp.pad(strips[:, :, :size], ((0, 0), (0, 1), (0, 0), (0, 0)))
    rests = jnp.pad(strips[:, :, size:], ((0, 0), (1, 0), (0, size - 2 * overlap), (0, 0)))
    added = (heads + rests).reshape(batch, (count + 1) * size, -1)
    return added[:, overlap : overlap + count * size]


def blend(
    patches: Float[Array, "b p s s c"], grid: tuple[int, int], overlap: int
) -> Float[Array, "b h w c"]:
    """Joins padded patches; along each seam, both patches are averaged.

    The outer `overlap` pixels of a patch's own p×p pixels are the mean of its drawing and that of
    the neighbor that also drew them. Seams between rows of patches come first, then those between
    columns, which overwrite them: in a corner, only the neighbor to the side counts. At the border
    of the image a patch is not averaged, and, since columns come last, neither is it where rows of
    patches meet the left or right border.

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
