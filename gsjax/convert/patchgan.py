"""Converts weights of the published discriminator to `Discriminator`, and back."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from gsjax.convert import keys
from gsjax.models.discriminator import Discriminator, min_side

_NETWORK = "discriminator weights"


def from_state_dict(state_dict: Mapping) -> tuple[Discriminator, dict]:
    """Builds the discriminator, of any width and depth, from a state dict with published keys.

    Returns:
      The module and its variables.

    Raises:
      UserError: keys are missing, left over or have wrong shapes (lists all of them).
    """
    arrays = keys.unwrap(state_dict, _NETWORK)
    keys.require(arrays, {"main.0.weight": 4}, _NETWORK)
    # The index of the last convolution in the Sequential is 3 · layers + 2.
    layers = max(1, (keys.count(arrays, "main.", _NETWORK) - 3) // 3)
    module = Discriminator(width=arrays["main.0.weight"].shape[0], layers=layers)
    image = jnp.zeros((1, min_side(layers), min_side(layers), 3))
    shapes = jax.eval_shape(module.init, jax.random.key(0), image)["params"]
    return module, {"params": keys.to_params(arrays, table(module), shapes, _NETWORK)}


def to_state_dict(module: Discriminator, variables: Mapping) -> dict[str, np.ndarray]:
    """Returns the published state dict."""
    return keys.to_published(variables["params"], table(module))


def table(module: Discriminator) -> keys.Table:
    """Returns the conversion table.

    In the published Sequential, each convolution except the first and the last is followed by its
    normalization and an activation.
    """
    entries = keys.weighted("main.0", "conv_0", keys.CONV)
    for index in range(1, module.layers + 1):
        entries |= keys.weighted(f"main.{3 * index - 1}", f"conv_{index}", keys.CONV)
        entries |= keys.norm(f"main.{3 * index}", f"norm_{index}")
    last = module.layers + 1
    return entries | keys.weighted(f"main.{3 * last - 1}", f"conv_{last}", keys.CONV)
