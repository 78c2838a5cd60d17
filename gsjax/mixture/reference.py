"""What mixing is: the formula written out, with all weights in memory.

Every backend is tested against this file, values and gradients.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def mix(
    queries: Float[Array, "*p n d"], keys: Float[Array, "a d"], atoms: Float[Array, "a m"]
) -> Float[Array, "*p n m"]:
    """Returns softmax(queries · keysᵀ) · atoms."""
    logits = jnp.einsum("...d,ad->...a", queries, keys, precision="highest")
    return jnp.einsum("...a,am->...m", jax.nn.softmax(logits), atoms, precision="highest")
