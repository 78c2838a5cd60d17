"""Converts weights of FID's Inception-v3, as ported to PyTorch, to `Inception`."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict

from gsjax.convert import keys
from gsjax.convert.state_dicts import read_state_dict
from gsjax.errors import UserError
from gsjax.fetch import fetch
from gsjax.models.inception import SIDE, Inception

_NETWORK = "Inception weights"
_CLASSIFIER = "fc."  # FID does not use it
_CLASSES = 1008  # in the original; torchvision's classifier has 1,000
_COUNTER = ".num_batches_tracked"
_LEAVES = {
    "conv/kernel": ("conv.weight", keys.CONV),
    "scale": ("bn.weight", keys.SAME),
    "bias": ("bn.bias", keys.SAME),
    "mean": ("bn.running_mean", keys.SAME),
    "var": ("bn.running_var", keys.SAME),
}


def from_state_dict(state_dict: Mapping) -> tuple[Inception, dict]:
    """Builds FID's Inception from its state dict, `pt_inception-2015-12-05`.

    Returns:
      The module and its variables.

    Raises:
      UserError: keys are missing, left over or have wrong shapes (lists all of them), or it is
        another Inception, whose distances are not FID.
    """
    arrays = keys.unwrap(state_dict, _NETWORK)
    keys.require(arrays, {"fc.weight": 2}, _NETWORK)
    classes = len(arrays["fc.weight"])
    if classes != _CLASSES:
        raise UserError(
            _NETWORK,
            f"it classifies into {classes} classes",
            f"FID's has {_CLASSES} (pt_inception-2015-12-05-6726825d.pth); what others measure is "
            "not comparable",
        )
    arrays = {
        key: array
        for key, array in arrays.items()
        if not key.startswith(_CLASSIFIER) and not key.endswith(_COUNTER)
    }
    module = Inception()
    image = jax.ShapeDtypeStruct((1, SIDE, SIDE, 3), jnp.float32)
    shapes = jax.eval_shape(module.init, jax.random.key(0), image)["params"]
    return module, {"params": keys.to_params(arrays, table(shapes), shapes, _NETWORK)}


def fetch_inception() -> tuple[Inception, dict]:
    """Returns FID's Inception with its weights, downloaded unless they are in the cache.

    Raises:
      UserError: they are unavailable.
    """
    return from_state_dict(read_state_dict(fetch("inception")))


def table(params) -> keys.Table:
    """Returns the conversion table for a tree of parameters."""
    entries = {}
    for path in flatten_dict(params, sep="/"):
        ending = next(ending for ending in _LEAVES if path.endswith("/" + ending))
        layer = path.removesuffix("/" + ending).replace("/", ".")
        published, layout = _LEAVES[ending]
        entries[f"{layer}.{published}"] = (path, layout)
    return entries
