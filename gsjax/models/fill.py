"""A coarse fill of the holes by a push-pull pyramid (Gortler et al. 1996).

Known pixels are averaged down a pyramid, weighted by how much of each cell is
known; coming back up, what a level does not know it takes from the level below.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def push_pull(
    image: Float[Array, "b h w c"], known: Float[Array, "b h w 1"]
) -> Float[Array, "b h w c"]:
    """Returns the image with its holes filled smoothly from the known pixels around them.

    An image without a known pixel gives zeros. Gradients flow to the known pixels.
    """
    height, width = image.shape[1:3]
    if height == width == 1:
        return image * known
    pad = ((0, 0), (0, height % 2), (0, width % 2), (0, 0))
    weighted = _halve(jnp.pad(image * known, pad))
    weight = _halve(jnp.pad(known, pad))
    coarse = weighted / jnp.maximum(weight, 1e-8)
    # A cell with one known pixel of four is known: its color is theirs.
    below = push_pull(coarse, jnp.minimum(4.0 * weight, 1.0))
    shape = (image.shape[0], height + height % 2, width + width % 2, image.shape[-1])
    smooth = jax.image.resize(below, shape, "linear")[:, :height, :width]
    return known * image + (1.0 - known) * smooth


def _halve(image):
    batch, height, width, channels = image.shape
    return image.reshape(batch, height // 2, 2, width // 2, 2, channels).mean((2, 4))
