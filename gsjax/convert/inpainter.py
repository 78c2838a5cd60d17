"""Converts checkpoints of the published inpainter to `GaussianInpainter`, and back."""

import functools
import itertools
import math
from collections.abc import Mapping

import jax
import numpy as np

from gsjax.convert import keys
from gsjax.errors import UserError
from gsjax.models.inpainter import GaussianInpainter, init_variables

_NETWORK = "inpainter weights"
# The frozen DINO, which has its own converter, and unused layers.
_UNUSED = ("dino_model.", "encoder.encoder.skip_linear.")
_ENCODER = "encoder.encoder"
# Limits that images of moderate size need.
_MOST_DOWNS, _LARGEST_PATCH = 10, 128
# MLPs of the Gaussian head: published name, our name, number of layers.
_HEAD_MLPS = (("color_mlp", "color", 5), ("mlp_gaudict", "atoms", 5), ("mlp_xy", "offset", 4))


def from_state_dict(state_dict: Mapping, overlap: int = 1) -> tuple[GaussianInpainter, dict]:
    """Builds the inpainter from a state dict with published keys.

    Widths, depths, skips, patch size, Gaussians per patch, features and the presence of a semantic
    branch are inferred from keys and shapes. `dino_model.*` and the unused `skip_linear.*` are
    ignored.

    Args:
      state_dict: the arrays; a surrounding `{"model": …}` and "module." prefixes are removed.
      overlap: pixels by which a patch draws over its neighbors; shapes do not show it.

    Returns:
      The module and its variables.

    Raises:
      UserError: keys are missing, left over or have wrong shapes (lists all of them), or the
        overlap exceeds half a patch.
    """
    arrays = keys.unwrap(state_dict, _NETWORK)
    arrays = {key: array for key, array in arrays.items() if not key.startswith(_UNUSED)}
    module = _architecture(arrays, overlap)
    token_size = arrays["dino_map_mlp.layers.0.weight"].shape[1] if module.semantic else 0
    init = functools.partial(init_variables, module, token_size=token_size)
    shapes = jax.eval_shape(init, jax.random.key(0))["params"]
    return module, {"params": keys.to_params(arrays, table(module), shapes, _NETWORK)}


def _architecture(arrays: Mapping[str, np.ndarray], overlap: int) -> GaussianInpainter:
    """Infers the module from keys and shapes."""
    downs, blocks = (
        max(keys.count(arrays, f"{_ENCODER}.{name}.", _NETWORK), 1) for name in ("downs", "mid_res")
    )
    ranks = {
        f"{_ENCODER}.inp_module.1.weight": 4,
        f"{_ENCODER}.downs.0.0.weight": 4,
        f"{_ENCODER}.mid_res.0.conv_block.1.weight": 4,
        "encoder.conv_out.weight": 4,
    }
    semantic = any(key.startswith("dino_map_mlp.") or ".adapter_mlp." in key for key in arrays)
    if semantic:
        ranks["dino_map_mlp.layers.0.weight"] = 2
    ranks |= {f"{_ENCODER}.downs.{i}.0.weight": 4 for i in range(downs)}
    ranks |= {f"{_ENCODER}.ups.{i}.0.weight": 4 for i in range(downs)}
    keys.require(arrays, ranks, _NETWORK)
    first = arrays[f"{_ENCODER}.inp_module.1.weight"].shape
    widths = [first[0]] + [len(arrays[f"{_ENCODER}.downs.{i}.0.weight"]) for i in range(downs)]
    ups = [arrays[f"{_ENCODER}.ups.{i}.0.weight"].shape for i in range(downs)]
    channels, features, patch_size, _ = arrays["encoder.conv_out.weight"].shape
    gaussians = channels // features
    if patch_size > _LARGEST_PATCH or downs > _MOST_DOWNS:
        raise UserError(
            _NETWORK,
            f"it has {downs} halvings and patches of {patch_size} pixels",
            f"expected at most {_MOST_DOWNS} and {_LARGEST_PATCH}",
        )
    if math.isqrt(gaussians) ** 2 * features != channels:
        raise UserError(
            _NETWORK,
            f"encoder.conv_out.weight has {channels} outputs",
            f"expected a square number of Gaussians times {features} features",
        )
    if not 0 <= 2 * overlap <= patch_size:
        raise UserError("overlap", f"{overlap} is not from 0 to half of {patch_size} pixels")
    return GaussianInpainter(
        patch_size=patch_size,
        overlap=overlap,
        gaussians=gaussians,
        features=features,
        width=widths[0],
        max_width=_max_width(widths),
        downs=downs,
        blocks=blocks,
        skips=downs < 2 or ups[1][0] == 2 * ups[0][1],
        semantic=semantic,
        mask_channel=first[1] == 4,
    )


def to_state_dict(module: GaussianInpainter, variables: Mapping) -> dict[str, np.ndarray]:
    """Returns the published state dict, without the DINO and the unused layers."""
    return keys.to_published(variables["params"], table(module))


def table(module: GaussianInpainter) -> keys.Table:
    """Returns the conversion table."""
    entries = {
        **(_mlp("dino_map_mlp", "alignment", 2) if module.semantic else {}),
        **keys.weighted(f"{_ENCODER}.inp_module.1", "encoder/stem/conv", keys.CONV),
        **keys.norm(f"{_ENCODER}.inp_module.2", "encoder/stem_norm"),
        **keys.weighted(f"{_ENCODER}.out_module.1", "encoder/out/conv", keys.CONV),
        **keys.weighted("encoder.conv_out", "to_patches", keys.CONV),
        **keys.weighted("feature_map.cholesky_linear", "head/shape", keys.LINEAR),
    }
    for index in range(module.downs):
        # Published decoder layers are numbered from the lowest resolution, ours by resolution.
        places = (("downs", f"down_{index + 1}"), ("ups", f"up_{module.downs - 1 - index}"))
        for published, ours in places:
            key, path = f"{_ENCODER}.{published}.{index}", f"encoder/{ours}"
            entries |= keys.weighted(f"{key}.0", path, keys.CONV)
            entries |= keys.norm(f"{key}.1", f"{path}_norm")
    for index in range(module.blocks):
        key, path = f"{_ENCODER}.mid_res.{index}", f"encoder/block_{index}"
        if module.semantic:
            entries |= keys.weighted(f"{key}.adapter_mlp", f"{path}/adapter", keys.LINEAR)
        for place, layer in ((1, 1), (5, 2)):
            conv = f"{key}.conv_block.{place}"
            entries |= keys.weighted(conv, f"{path}/conv_{layer}/conv", keys.CONV)
            entries |= keys.norm(f"{key}.conv_block.{place + 1}", f"{path}/norm_{layer}")
    for published, ours, layers in _HEAD_MLPS:
        entries |= _mlp(f"feature_map.{published}", f"head/{ours}", layers)
    return entries


def _mlp(key: str, path: str, layers: int) -> keys.Table:
    """Returns the entries of an MLP, whose published layers alternate with activations."""
    entries = [
        keys.weighted(f"{key}.layers.{2 * i}", f"{path}/Dense_{i}", keys.LINEAR)
        for i in range(layers)
    ]
    return functools.reduce(dict.__or__, entries)


def _max_width(widths: list[int]) -> int:
    """Returns the cap on channels seen in `widths`, or the published one if it was not reached."""
    capped = any(wide < 2 * narrow for narrow, wide in itertools.pairwise(widths))
    return widths[-1] if capped else max(widths[-1], GaussianInpainter.max_width)
