"""What a frozen DINO says of images: class tokens for the semantic branch, patch tokens."""

import math
from collections.abc import Callable
from typing import cast

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree
from ml_collections import ConfigDict

from gsjax.models.coarse_fill import push_pull
from gsjax.models.dino import DinoOutput, DinoViT, preprocess
from gsjax.models.resize import resize

# The share of a patch that must be known for DINO to be shown it. Of 0, 1/4, 1/2 and 3/4, a
# quarter keeps the class token closest to that of the whole photograph.
LEAST_KNOWN = 0.25
# The fraction of a patch that must be hole for distances to compare its token.
LEAST_HOLE = 0.5


def make_tokens(dino: ConfigDict, module: DinoViT | None) -> Callable:
    """Returns `tokens(variables, masked, known, clean=None) -> (token, clean_token)`.

    Both are class tokens of DINO, f32[B, D]: of the masked images, and of the clean images if
    these are given. Images are f32[B, H, W, 3] in [0, 1]; `known` is f32[B, H, W, 1], 1 where a
    pixel is known. Without a semantic branch both tokens are None.

    `dino` is that group of the config; its `sees` is what DINO is shown of a masked image:

    - "masked": the image with black holes, as published.
    - "known": the image with coarsely filled holes (`push_pull`), without the patches that are
      more than three quarters hole. If none is left, the class token attends only to itself,
      and is the same for every image.
    """
    if module is None:
        return lambda variables, masked, known, clean=None: (None, None)
    side, known_only = dino.image_size, dino.sees == "known"

    def tokens(
        variables: PyTree, masked: jax.Array, known: jax.Array, clean: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array | None]:
        images = [push_pull(masked, known) if known_only else masked]
        keep = [mostly_known(known, side, module.patch_size)] if known_only else []
        if clean is not None:
            images = [clean, *images]
            keep = [jnp.ones_like(mask) for mask in keep] + keep
        inputs = preprocess(_interleave(images), side, dino.normalize)
        shown = _interleave(keep) if keep else None
        output = cast(DinoOutput, module.apply(variables, inputs, shown))
        cls_tokens = output.cls_token.reshape(-1, len(images), output.cls_token.shape[-1])
        return cls_tokens[:, -1], None if clean is None else cls_tokens[:, 0]

    return tokens


def make_patch_tokens(dino: ConfigDict, module: DinoViT) -> Callable:
    """Returns `patch_tokens(variables, images)`, a tuple of arrays f32[B, T, D], for the loss.

    They are the tokens after half, three quarters and all of the blocks. `dino` is that group of
    the config; the images are f32[B, H, W, 3] in [0, 1], without holes.
    """
    taps = {math.ceil(module.depth * quarters / 4) for quarters in (2, 3, 4)}

    def patch_tokens(variables: PyTree, images: jax.Array) -> tuple[jax.Array, ...]:
        inputs = preprocess(images, dino.image_size, dino.normalize)
        return cast(DinoOutput, module.apply(variables, inputs, taps=taps)).taps

    return patch_tokens


def mostly_known(
    known: Float[Array, "b h w 1"], image_size: int, patch_size: int
) -> Bool[Array, "b t"]:
    """Returns which of DINO's patches, row-major, are known to at least a quarter.

    Args:
      known: 1 where a pixel is known.
      image_size: side in pixels to which DINO's input is resized.
      patch_size: side of a patch in pixels.
    """
    # Rounding must not decide about a patch that is exactly a quarter known.
    return known_shares(known, image_size, patch_size) > LEAST_KNOWN - 1e-4


def known_shares(
    known: Float[Array, "b h w 1"], image_size: int, patch_size: int
) -> Float[Array, "b t"]:
    """Returns which fraction of each of DINO's patches is known; see `mostly_known`."""
    grid = image_size // patch_size
    share = resize(known, (image_size, image_size), "bilinear", antialias=True)
    share = share.reshape(known.shape[0], grid, patch_size, grid, patch_size).mean((2, 4))
    return share.reshape(known.shape[0], grid * grid)


def cosine(some: Float[Array, "... d"], others: Float[Array, "... d"]) -> Float[Array, "..."]:
    """Returns the cosines of pairs of tokens, at least in float32; 0 for a token of zeros."""

    def normalized(x):
        x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        # The bound is inside the root, so that a token of zeros has a finite gradient.
        return x * jax.lax.rsqrt(jnp.maximum(jnp.sum(x * x, axis=-1, keepdims=True), 1e-16))

    return jnp.sum(normalized(some) * normalized(others), axis=-1)


def _interleave(batches: list[jax.Array]) -> jax.Array:
    """Returns batches as one, in which no example moves to another device."""
    return jnp.stack(batches, axis=1).reshape(-1, *batches[0].shape[1:])
