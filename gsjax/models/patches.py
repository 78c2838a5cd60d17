"""Cutting an image into patches and putting overlapping patches together again.

Patches are ordered row by row. A padded patch reaches `overlap` pixels over its
neighbors on every side.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float


def cut(image: Float[Array, "b h w c"], patch_size: int, overlap: int) -> Float[Array, "b p s s c"]:
    """Returns the padded patches of an image whose border pixels go on outside it."""
    border = (overlap, overlap)
    padded = jnp.pad(image, ((0, 0), border, border, (0, 0)), mode="edge")
    extent = patch_size + 2 * overlap
    rows, columns = image.shape[1] // patch_size, image.shape[2] // patch_size
    y = (jnp.arange(rows) * patch_size)[:, None] + jnp.arange(extent)
    x = (jnp.arange(columns) * patch_size)[:, None] + jnp.arange(extent)
    patches = padded[:, y[:, None, :, None], x[None, :, None, :]]
    return patches.reshape(image.shape[0], rows * columns, extent, extent, image.shape[-1])


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
