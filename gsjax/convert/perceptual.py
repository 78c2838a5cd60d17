"""Converts LPIPS weights, torchvision's backbone and the published linear heads, to `Lpips`."""

import re
from collections.abc import Mapping
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np

from gsjax.convert import keys
from gsjax.convert.state_dicts import read_state_dict
from gsjax.errors import UserError, shown
from gsjax.fetch import fetch
from gsjax.models.lpips import BACKBONES, MIN_SIDE, Conv, Lpips, Tap

_NETWORK = "LPIPS weights"
# Indices of torchvision's convolutions among activations and pools.
_FIRES = (3, 4, 6, 7, 9, 10, 11, 12)
_PLACES = {
    "alex": (0, 3, 6, 8, 10),
    "vgg": (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28),
    "squeeze": (
        0,
        *(f"{fire}.{part}" for fire in _FIRES for part in ("squeeze", "expand1x1", "expand3x3")),
    ),
}
_HEADS = {kind: layers.count(Tap()) for kind, layers in BACKBONES.items()}
REMOTE_BACKBONE = {"alex": "alexnet", "vgg": "vgg16", "squeeze": "squeezenet1_1"}
_CLASSIFIER = ("classifier.", "classifier/")  # of the backbone; unused by LPIPS


def from_state_dicts(backbone: Mapping, heads: Mapping | None = None) -> tuple[Lpips, dict]:
    """Builds LPIPS from the state dicts of a classifier and of its linear heads.

    Args:
      backbone: torchvision's AlexNet, VGG16 or SqueezeNet 1.1, recognized by its keys. Or
        SqueezeNet and the heads with the keys of JAX code: `conv1/w` and `fire3/squeeze/w` to
        `fire12/expand3x3/w` (HWIO), their `/b`, and `lpips/lin0` to `lpips/lin6`.
      heads: `lin0.model.1.weight` to `lin4.model.1.weight` (`lin6` with SqueezeNet), as
        published; not needed if `backbone` has them.

    Returns:
      The module and its variables.

    Raises:
      UserError: keys are missing, left over or have wrong shapes (lists all of them).
    """
    kind = backbone_of(backbone)
    arrays = _published_names(keys.unwrap(backbone, _NETWORK))
    if heads is not None:
        weights = keys.unwrap(heads, _NETWORK)
        arrays |= {key: array for key, array in weights.items() if key not in arrays}
    # A head is a 1×1 convolution to one channel; ours is a vector.
    arrays = {k: a.reshape(-1) if k.startswith("lin") else a for k, a in arrays.items()}
    module = Lpips(kind)
    image = jax.ShapeDtypeStruct((1, MIN_SIDE[kind], MIN_SIDE[kind], 3), jnp.float32)
    shapes = jax.eval_shape(module.init, jax.random.key(0), image, image)["params"]
    return module, {"params": keys.to_params(arrays, table(kind), shapes, _NETWORK)}


def backbone_of(state_dict: Mapping) -> str:
    """Returns the classifier of a state dict: alex, vgg or squeeze.

    Raises:
      UserError: it is none of these.
    """
    arrays = _published_names(keys.unwrap(state_dict, _NETWORK))
    first = arrays.get("features.0.weight")
    if first is None or first.ndim != 4:
        example = ", ".join(map(shown, list(arrays)[:3]))
        raise UserError(
            _NETWORK,
            "it has no features.0.weight with 4 axes",
            f"expected torchvision's AlexNet, VGG16 or SqueezeNet 1.1 (the file has {example}, …)",
        )
    if any(".squeeze." in key for key in arrays):
        return "squeeze"
    return "alex" if first.shape[-1] == cast(Conv, BACKBONES["alex"][0]).kernel else "vgg"


def backbone_of_params(params: Mapping) -> str:
    """Returns the backbone of a tree of `Lpips` parameters, by its number of convolutions."""
    count = sum(name.startswith("conv_") for name in params)
    return {len(places): kind for kind, places in _PLACES.items()}[count]


def has_heads(state_dict: Mapping) -> bool:
    """Returns whether the state dict of a backbone also has the linear heads."""
    return any(key.startswith("lin") for key in _published_names(state_dict))


def fetch_lpips(kind: str) -> tuple[Lpips, dict]:
    """Returns LPIPS with the published weights, downloaded unless they are in the cache.

    Args:
      kind: alex | vgg | squeeze.

    Raises:
      UserError: they are unavailable.
    """
    backbone = read_state_dict(fetch(REMOTE_BACKBONE[kind]))
    return from_state_dicts(backbone, read_state_dict(fetch(f"lpips_{kind}")))


def table(backbone: str) -> keys.Table:
    """Returns the conversion table."""
    heads = range(_HEADS[backbone])
    entries = {f"lin{i}.model.1.weight": (f"head_{i}", keys.SAME) for i in heads}
    for index, place in enumerate(_PLACES[backbone]):
        entries |= keys.weighted(f"features.{place}", f"conv_{index}", keys.CONV)
    return entries


# Patterns from keys of JAX code to published keys.
_RENAMED = (
    (r"^lpips/lin(\d+)$", r"lin\1.model.1.weight"),
    (r"^conv1/", "features.0/"),
    (r"^fire(\d+)/(\w+)/", r"features.\1.\2/"),
    (r"/b$", ".bias"),
)


def _published_names(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns arrays by published keys, in the published layout, without the classifier."""
    renamed = {}
    for key, array in arrays.items():
        if key.startswith(_CLASSIFIER):
            continue
        for pattern, name in _RENAMED:
            key = re.sub(pattern, name, key)
        if key.endswith("/w") and array.ndim == 4:
            key, array = key.removesuffix("/w") + ".weight", keys.CONV.published(array)
        renamed[key] = array
    return renamed
