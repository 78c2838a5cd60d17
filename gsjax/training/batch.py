"""A training batch on the devices: its pixels, and splitting it into parts."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

Batch = dict[str, jax.Array]


def unpack(batch: Batch) -> tuple[jax.Array, jax.Array]:
    """Returns a batch's images in [0, 1] and known pixels as 0 or 1, both float32."""
    return batch["image"].astype(jnp.float32) / 255.0, batch["known"].astype(jnp.float32)


def mean_over_parts(function: Callable, batch: Batch, parts: int):
    """Returns the mean of `function(part)` over equal parts of the batch, one at a time.

    This is gradient accumulation: only the memory of one part is live at a time.
    """
    if parts == 1:
        return function(batch)
    # Part k takes every parts-th example, so that no example moves to another device.
    split = jax.tree.map(
        lambda array: jnp.moveaxis(array.reshape(-1, parts, *array.shape[1:]), 1, 0), batch
    )

    def add(total, part):
        return jax.tree.map(jnp.add, total, function(part)), None

    shapes = jax.eval_shape(function, jax.tree.map(lambda array: array[0], split))
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    total, _ = jax.lax.scan(add, zeros, split)
    return jax.tree.map(lambda leaf: leaf / parts, total)
