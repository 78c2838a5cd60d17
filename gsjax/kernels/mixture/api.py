"""The public mixture function: checks, dispatch by backend, the contract."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gsjax.kernels.backends import BACKENDS, choose, implementation, over_devices


def mix(
    queries: Float[Array | np.ndarray, "*n d"],
    keys: Float[Array | np.ndarray, "a d"],
    atoms: Float[Array | np.ndarray, "a c"],
    backend: str = "auto",
) -> Float[Array, "*n c"]:
    """Mixes the atoms of a dictionary: softmax(queries · keysᵀ) · atoms.

    Args:
      queries: any number of them, in any leading dimensions.
      keys: one for each atom.
      atoms: what is mixed.
      backend: auto | xla | pallas | triton; see `gsjax.kernels.backends`.

    Returns:
      The mixtures in float32, or in float64 if an argument is. Memory beyond them is of the
      size of the arguments, forward and backward; queries × atoms never exist.

    Raises:
      ValueError: for shapes that do not fit together or an unknown backend.
    """
    fitting = queries.ndim > 0 and keys.ndim == atoms.ndim == 2 and len(keys) == len(atoms)
    if not fitting or keys.shape[1] != queries.shape[-1] or not len(keys):
        raise ValueError(
            "queries, keys and atoms must be [..., D], [A, D] and [A, C]; "
            f"got {queries.shape}, {keys.shape} and {atoms.shape}"
        )
    dtype = jnp.promote_types(jnp.result_type(queries, keys, atoms), jnp.float32)
    arrays = [jnp.asarray(array, dtype) for array in (queries, keys, atoms)]
    backend = choose(backend, dtype)
    compute = implementation("mix", backend)
    with jax.named_scope("mix"):
        if BACKENDS[backend].plain:
            return compute(*arrays)
        if queries.ndim == 1:  # kernels take rows of queries
            return compute(arrays[0][None], *arrays[1:])[0]
        return over_devices(compute, arrays[:1], arrays[1:])
