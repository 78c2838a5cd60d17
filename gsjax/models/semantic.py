"""The semantic branch: a frozen DINO, whose class token describes what an image shows."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import PyTree
from ml_collections import ConfigDict

from gsjax.models.dino import DinoViT, preprocess


def make_tokens(options: ConfigDict, module: DinoViT | None) -> Callable:
    """Returns `tokens(variables, *images)`: DINO's class token of each batch of images.

    Images are f32[B, H, W, 3] in [0, 1], tokens f32[B, D], or None without a semantic branch.
    """
    if module is None:
        return lambda variables, *images: [None] * len(images)

    def tokens(variables: PyTree, *images: jax.Array) -> list[jax.Array]:
        # One batch, interleaved so that no image moves to another device.
        batch = jnp.stack(images, axis=1).reshape(-1, *images[0].shape[1:])
        inputs = preprocess(batch, options.image_size, options.normalize)
        cls_tokens = module.apply(variables, inputs).cls_token
        cls_tokens = cls_tokens.reshape(-1, len(images), cls_tokens.shape[-1])
        return [cls_tokens[:, i] for i in range(len(images))]

    return tokens
