"""What a mixture of atoms is: the formula written out; holds all weights in memory."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def mix(
    queries: Float[Array, "*p n d"], keys: Float[Array, "a d"], atoms: Float[Array, "a 3"]
) -> Float[Array, "*p n 3"]:
    """Returns softmax(queries · keysᵀ) · atoms."""
    logits = jnp.einsum("...nd,ad->...na", queries, keys, precision="highest")
    return jnp.einsum("...na,al->...nl", jax.nn.softmax(logits), atoms, precision="highest")
