"""Converts DINO weights, with official or Hugging Face key names, to `DinoViT`, and back."""

import math
import re
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from gsjax.convert import keys
from gsjax.errors import UserError, check_whole
from gsjax.models.dino import DinoViT

_NETWORK = "DINO weights"
_LARGEST_PATCH = 64
# Not used for tokens: needed only in training, and Hugging Face's extra last layer.
_UNUSED = ("mask_token", "pooler.")


def from_state_dict(
    state_dict: Mapping,
    image_size: int | tuple[int, int] | None = None,
    antialias: bool | None = None,
    offset: float | None = None,
    heads: int | None = None,
    epsilon: float | None = None,
    blocks: int | None = None,
) -> tuple[DinoViT, dict]:
    """Builds DINO v1 or v2 from a state dict with published keys.

    Width, depth, MLP, patch size, registers, LayerScale and grid are inferred from keys and shapes.
    The remaining options default to those of the code that uses such keys: the official code, or
    Hugging Face's `Dinov2Model`, `Dinov2WithRegistersModel` and `ViTModel`, which resample
    positions slightly differently.

    Args:
      state_dict: the arrays; a surrounding `{"model": …}` and "module." prefixes are removed.
      image_size: side, or (height, width), in pixels of the images that positions were learned at;
        needed if their grid is not square.
      antialias: whether positions are antialiased; by default if there are registers.
      offset: patches added to the target grid in the resampling scale; by default 0.1 with official
        keys and no registers, else 0.
      heads: attention heads; by default with 64 channels each, as in all published models, or the
        largest smaller power of two that divides the width.
      epsilon: of the norms; by default 1e-12 with `ViTModel` keys, else 1e-6.
      blocks: keep only this many first blocks, and the last norm; by default all blocks.

    Returns:
      The module and its variables.

    Raises:
      UserError: keys are missing, left over or have wrong shapes (lists all of them), or there are
        fewer blocks.
    """
    published = keys.unwrap(state_dict, _NETWORK)
    hugging_face = any(key.startswith("embeddings.") for key in published)
    classic = any("layernorm_before" in key for key in published)
    arrays = _official_arrays(_official_names(published) if hugging_face else published)
    if blocks is not None:
        arrays = _first_blocks(arrays, blocks)
    width, _, patch_size, _ = arrays["patch_embed.proj.weight"].shape
    registers = arrays["register_tokens"].shape[1] if "register_tokens" in arrays else 0
    swiglu = any(".mlp.w12." in key for key in arrays)
    if offset is None:
        offset = 0.0 if hugging_face or registers else 0.1
    module = DinoViT(
        width=width,
        depth=keys.count(arrays, "blocks.", _NETWORK),
        heads=heads or width // math.gcd(width, 64),
        mlp_width=_mlp_width(arrays, swiglu),
        patch_size=patch_size,
        grid=_grid(arrays["pos_embed"].shape[1] - 1, patch_size, image_size),
        registers=registers,
        swiglu=swiglu,
        layer_scale=any(key.endswith(".ls1.gamma") for key in arrays),
        antialias=registers > 0 if antialias is None else antialias,
        offset=offset,
        epsilon=epsilon or (1e-12 if classic else 1e-6),
    )
    if width % module.heads:
        raise UserError("heads", f"{module.heads} does not divide the width, {width}")
    size = (patch_size * module.grid[0], patch_size * module.grid[1])
    image = jax.ShapeDtypeStruct((1, *size, 3), jnp.float32)
    shapes = jax.eval_shape(module.init, jax.random.key(0), image)["params"]
    return module, {"params": keys.to_params(arrays, table(module), shapes, _NETWORK)}


def to_state_dict(module: DinoViT, variables: Mapping) -> dict[str, np.ndarray]:
    """Returns the official state dict, without `mask_token`, which we do not keep."""
    return keys.to_published(variables["params"], table(module))


def table(module: DinoViT) -> keys.Table:
    """Returns the conversion table."""
    entries = {
        "cls_token": ("cls_token", keys.SAME),
        "pos_embed": ("pos_embed", keys.SAME),
        **keys.weighted("patch_embed.proj", "patch_embed", keys.CONV),
        **keys.norm("norm", "norm"),
    }
    if module.registers:
        entries["register_tokens"] = ("register_tokens", keys.SAME)
    mlp = ("w12", "w3") if module.swiglu else ("fc1", "fc2")
    for index in range(module.depth):
        key, path = f"blocks.{index}", f"block_{index}"
        entries |= keys.norm(f"{key}.norm1", f"{path}/norm1")
        entries |= keys.norm(f"{key}.norm2", f"{path}/norm2")
        for name in ("qkv", "proj"):
            entries |= keys.weighted(f"{key}.attn.{name}", f"{path}/{name}", keys.LINEAR)
        for name in mlp:
            entries |= keys.weighted(f"{key}.mlp.{name}", f"{path}/{name}", keys.LINEAR)
        if module.layer_scale:
            for name in ("ls1", "ls2"):
                entries[f"{key}.{name}.gamma"] = (f"{path}/{name}", keys.SAME)
    return entries


def _official_arrays(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the arrays that are used; checks those that the architecture is inferred from."""
    used = {key: array for key, array in arrays.items() if not key.startswith(_UNUSED)}
    # In training checkpoints of DINOv2, the number of a chunk precedes that of the block.
    used = {re.sub(r"^blocks\.\d+\.(\d+)\.", r"blocks.\1.", k): a for k, a in used.items()}
    ranks = {"pos_embed": 3, "patch_embed.proj.weight": 4, "blocks.0.norm1.weight": 1}
    if "register_tokens" in used:
        ranks["register_tokens"] = 3
    keys.require(used, ranks, _NETWORK)
    patch_size = used["patch_embed.proj.weight"].shape[2]
    if patch_size > _LARGEST_PATCH:
        raise UserError(
            _NETWORK,
            f"patch_embed.proj.weight has patches of {patch_size} pixels",
            f"expected at most {_LARGEST_PATCH}",
        )
    return used


def _first_blocks(arrays: Mapping[str, np.ndarray], blocks: int) -> dict[str, np.ndarray]:
    depth = keys.count(arrays, "blocks.", _NETWORK)
    check_whole(blocks, 1, "blocks")
    if blocks > depth:
        raise UserError("blocks", f"{blocks} is more than the file has, {depth}")
    cut = tuple(f"blocks.{index}." for index in range(blocks, depth))
    return {key: array for key, array in arrays.items() if not key.startswith(cut)}


def _mlp_width(arrays: Mapping[str, np.ndarray], swiglu: bool) -> int:
    name = "blocks.0.mlp." + ("w12" if swiglu else "fc1") + ".bias"
    keys.require(arrays, {name: 1}, _NETWORK)
    return len(arrays[name]) // (2 if swiglu else 1)


def _grid(patches: int, patch_size: int, image_size) -> tuple[int, int]:
    """Returns the grid of a number of patch positions."""
    if image_size is None:
        grid = (math.isqrt(max(patches, 0)),) * 2
        given = "no square grid; pass image_size=(height, width)"
    else:
        height, width = (image_size,) * 2 if isinstance(image_size, int) else image_size
        grid = (height // patch_size, width // patch_size)
        given = f"not the {grid[0]}x{grid[1]} grid of image_size {image_size}"
    if patches < 1 or grid[0] * grid[1] != patches:
        raise UserError(_NETWORK, f"pos_embed has {patches} patch positions, {given}")
    return grid


# Patterns from Hugging Face's names, on disk and of newer models in memory, to official ones.
_HUGGING_FACE = (
    (r"^embeddings\.(cls_token|mask_token|register_tokens)$", r"\1"),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^layernorm\.", "norm."),
    (r"^(encoder\.)?layers?\.", "blocks."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.attention\.attention\.(query|key|value)\.", r".attn.\1."),
    (r"\.attention\.(q|k|v)_proj\.", r".attn.\1_proj."),
    (r"\.attention\.(output\.dense|o_proj)\.", ".attn.proj."),
    (r"\.layer_scale(1|2)\.lambda1$", r".ls\1.gamma"),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.output\.dense\.", ".mlp.fc2."),
    (r"\.mlp\.weights_in\.", ".mlp.w12."),
    (r"\.mlp\.(weights_out|down_proj)\.", ".mlp.w3."),
)
# Layers that are separate in Hugging Face's code and one in the official code.
_MERGED = (
    ("attn.qkv", ("attn.query", "attn.key", "attn.value")),
    ("attn.qkv", ("attn.q_proj", "attn.k_proj", "attn.v_proj")),
    ("mlp.w12", ("mlp.gate_proj", "mlp.up_proj")),
)


def _official_names(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    renamed = {}
    for key, array in arrays.items():
        for pattern, name in _HUGGING_FACE:
            key = re.sub(pattern, name, key)
        renamed[key] = array
    for whole, parts in _MERGED:
        for key in [key for key in renamed if f".{parts[0]}." in key]:
            pieces = [key.replace(parts[0], part) for part in parts]
            # If a piece is missing, all are left as they are and reported.
            if all(piece in renamed for piece in pieces):
                merged = [renamed.pop(piece) for piece in pieces]
                renamed[key.replace(parts[0], whole)] = np.concatenate(merged)
    return renamed
