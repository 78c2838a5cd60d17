"""What the mixture is: the formula written out; all logits are in memory at once.

Every backend is tested against this file, values and gradients.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def mix(
    queries: Float[Array, "*n d"], keys: Float[Array, "a d"], atoms: Float[Array, "a c"]
) -> Float[Array, "*n c"]:
    """Returns softmax(queries · keysᵀ) · atoms."""
    logits = jnp.einsum("...d,ad->...a", queries, keys, precision="highest")
    weights = jax.nn.softmax(logits, axis=-1)
    return jnp.einsum("...a,ac->...c", weights, atoms, precision="highest")
