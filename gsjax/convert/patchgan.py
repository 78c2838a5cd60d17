"""Weights of the published discriminator to and from `Discriminator`."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from gsjax.convert import keys
from gsjax.models.discriminator import Discriminator

_NETWORK = "discriminator weights"
_CONVS = (0, 2, 5, 8, 11)  # places in the published Sequential
_NORMS = (3, 6, 9)


def from_state_dict(state_dict: Mapping) -> tuple[Discriminator, dict]:
    """Reads the discriminator off a state dict of arrays by published keys.

    Returns:
      The module and its variables.

    Raises:
      UserError: keys missing, left over or wrongly shaped, all of them listed.
    """
    arrays = keys.unwrap(state_dict, _NETWORK)
    keys.require(arrays, {"main.0.weight": 4}, _NETWORK)
    module = Discriminator(width=arrays["main.0.weight"].shape[0])
    shapes = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))["params"]
    return module, {"params": keys.to_params(arrays, table(module), shapes, _NETWORK)}


def to_state_dict(module: Discriminator, variables: Mapping) -> dict[str, np.ndarray]:
    """Returns the published state dict."""
    return keys.to_published(variables["params"], table(module))


def table(module: Discriminator) -> keys.Table:
    """Returns where each published key goes."""
    del module  # the same at every width
    entries = {}
    for index, place in enumerate(_CONVS):
        entries |= keys.weighted(f"main.{place}", f"conv_{index}", keys.CONV)
    for index, place in enumerate(_NORMS, start=1):
        entries |= keys.norm(f"main.{place}", f"norm_{index}")
    return entries
