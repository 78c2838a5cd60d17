"""LPIPS weights, torchvision's backbone and the published linear heads, to `Lpips`."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from gsjax.convert import keys
from gsjax.convert.files import read_state_dict
from gsjax.errors import UserError
from gsjax.fetch import fetch
from gsjax.models.lpips import BACKBONES, LEAST_SIDE, Lpips

_NETWORK = "LPIPS weights"
# Where torchvision's convolutions stand among activations and pools.
_PLACES = {"alex": (0, 3, 6, 8, 10), "vgg": (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)}
REMOTE_BACKBONE = {"alex": "alexnet", "vgg": "vgg16"}
_CLASSIFIER = "classifier."  # of the backbone; LPIPS does not use it


def from_state_dicts(backbone: Mapping, heads: Mapping) -> tuple[Lpips, dict]:
    """Reads LPIPS off the state dicts of arrays of a classifier and of its linear heads.

    Args:
      backbone: torchvision's AlexNet or VGG16; which one shows in its keys.
      heads: `lin0.model.1.weight` to `lin4.model.1.weight`, as published.

    Returns:
      The module and its variables.

    Raises:
      UserError: keys missing, left over or wrongly shaped, all of them listed.
    """
    kind = backbone_of(backbone)
    arrays = keys.unwrap(backbone, _NETWORK)
    arrays = {key: array for key, array in arrays.items() if not key.startswith(_CLASSIFIER)}
    weights = keys.unwrap(heads, _NETWORK)
    # A head is a 1×1 convolution to one channel; ours is a vector.
    heads = {key: array.reshape(-1) for key, array in weights.items() if key not in arrays}
    arrays |= heads
    module = Lpips(kind)
    image = jax.ShapeDtypeStruct((1, LEAST_SIDE[kind], LEAST_SIDE[kind], 3), jnp.float32)
    shapes = jax.eval_shape(module.init, jax.random.key(0), image, image)["params"]
    return module, {"params": keys.to_params(arrays, table(kind), shapes, _NETWORK)}


def backbone_of(state_dict: Mapping) -> str:
    """Returns which classifier a state dict is of: alex or vgg.

    Raises:
      UserError: it is neither.
    """
    arrays = keys.unwrap(state_dict, _NETWORK)
    first = arrays.get("features.0.weight")
    if first is None or first.ndim != 4:
        example = ", ".join(list(arrays)[:3])
        raise UserError(
            f"{_NETWORK}: no features.0.weight of 4 axes; expected torchvision's AlexNet or "
            f"VGG16 (the file has {example}, …)"
        )
    return "alex" if first.shape[-1] == BACKBONES["alex"][0][1] else "vgg"


def fetch_lpips(kind: str, field: str) -> tuple[Lpips, dict]:
    """Returns LPIPS with the published weights, fetched where they are not in the cache.

    Args:
      kind: alex | vgg.
      field: the config field that asks for them, for errors.

    Raises:
      UserError: they cannot be had.
    """
    backbone = read_state_dict(fetch(REMOTE_BACKBONE[kind], field), field)
    return from_state_dicts(backbone, read_state_dict(fetch(f"lpips_{kind}", field), field))


def table(backbone: str) -> keys.Table:
    """Returns where each published key goes."""
    entries = {f"lin{i}.model.1.weight": (f"head_{i}", keys.SAME) for i in range(5)}
    for index, place in enumerate(_PLACES[backbone]):
        entries |= keys.weighted(f"features.{place}", f"conv_{index}", keys.CONV)
    return entries
