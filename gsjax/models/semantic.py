"""The semantic branch: a frozen DINO, whose class token describes what an image shows."""

import dataclasses
import importlib.util
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
from jaxtyping import PyTree
from ml_collections import ConfigDict

from gsjax.errors import UserError, check_whole
from gsjax.fetch import REMOTE, cached_path, fetch
from gsjax.models.dino import SIZES, DinoViT, dino, preprocess, size_of

# For programs that run once: on CPU, compiling without LLVM's optimizations is three times as fast.
RUN_ONCE = {"xla_backend_optimization_level": 0}


def check_dino(config: ConfigDict) -> None:
    """Raises UserError if `config.dino` cannot work; neither reads nor downloads weights."""
    if not config.model.semantic:
        return
    build_dino(config)
    weights = config.dino.weights
    if weights in REMOTE:
        if weights != _fitting_name(config):
            raise UserError(
                f"dino.weights: {weights} is not what dino.size={config.dino.size}, "
                f"dino.patch_size={config.dino.patch_size} and "
                f"dino.registers={config.dino.registers} describe. {_fetchable(config)}"
            )
        weights = str(cached_path(weights))
    elif weights != "random" and not (weights and Path(weights).exists()):
        was = f"there is no file {weights!r}" if weights else "no weights are named"
        raise UserError(
            f"dino.weights: {was}.\n{_fetchable(config)}"
            "Point to a file (.safetensors, .npz, or .pth, which needs PyTorch) with\n"
            "--config.dino.weights=FILE, or train with an untrained DINO, for a trial, with\n"
            "--config.dino.weights=random"
        )
    if weights.endswith((".pth", ".pt", ".bin")) and not importlib.util.find_spec("torch"):
        raise UserError(
            f"dino.weights: reading {weights} needs PyTorch: pip install torch, "
            "or give the same weights as .safetensors"
        )


def _fetchable(config: ConfigDict) -> str:
    """Returns a hint for errors: the name of the published weights that fit the config, or all."""
    name = _fitting_name(config)
    if name is None:
        return f"Those with a name are {', '.join(n for n in REMOTE if 'dino' in n)}.\n"
    return f"Have the published ones fetched with\n--config.dino.weights={name}\n"


def _fitting_name(config: ConfigDict) -> str | None:
    registers = {0: "", 4: "_reg"}.get(config.dino.registers, "?")
    name = f"dinov2_vit{config.dino.size.lower()}{config.dino.patch_size}{registers}"
    return name if name in REMOTE else None


def build_dino(config: ConfigDict) -> DinoViT:
    """Returns the module that `config.dino` describes, or that its folder contains.

    Raises:
      UserError: the description is invalid.
    """
    if _is_folder(config):
        from gsjax.trained.folder import read_module  # only now, as in `read_weights`

        return read_module(config.dino.weights, "dino.weights")
    if not config.dino.size:
        raise UserError(
            f"dino.weights: there is no folder {config.dino.weights!r}, and without one dino.size "
            f"must be one of {', '.join(SIZES)}"
        )
    check_whole(config.dino.patch_size, 1, "dino.patch_size")
    check_whole(config.dino.registers, 0, "dino.registers")
    return dino(config.dino.size, config.dino.patch_size, config.dino.registers)


def describe_dino(config: ConfigDict) -> None:
    """Sets `config.dino` to the architecture in its folder, if it names a folder.

    Raises:
      UserError: there is no DINO in the folder.
    """
    if config.model.semantic and _is_folder(config):
        set_architecture(config, build_dino(config))


def set_architecture(config: ConfigDict, module: DinoViT) -> None:
    """Writes a module's architecture to `config.dino`; `size` is "" if `SIZES` does not have it."""
    config.dino.size = size_of(module)
    config.dino.patch_size, config.dino.registers = module.patch_size, module.registers


def _is_folder(config: ConfigDict) -> bool:
    return bool(config.dino.weights) and Path(config.dino.weights).is_dir()


def load_dino(config: ConfigDict) -> tuple[DinoViT | None, PyTree]:
    """Returns the module and its variables, from `config.dino.weights`.

    `random` draws them from `config.seed`, so they are the same in every run of a config. Without
    a semantic branch, returns None and no variables.

    Raises:
      UserError: the weights are unavailable, or their architecture is not the configured one.
    """
    weights = config.dino.weights
    if not config.model.semantic:
        return None, {}
    if weights == "random":
        module = build_dino(config)
        side = config.dino.image_size
        init = jax.jit(module.init, compiler_options=RUN_ONCE)
        return module, init(jax.random.key(config.seed), jnp.zeros((1, side, side, 3)))

    found, variables = read_weights(weights, "dino.weights")
    if _is_folder(config):
        return found, variables  # the folder describes the architecture in full
    wanted = build_dino(config)
    for field in ("width", "depth", "heads", "patch_size", "registers", "swiglu", "layer_scale"):
        here, there = getattr(wanted, field), getattr(found, field)
        if here != there:
            raise UserError(
                f"dino.weights: {weights} holds a DINO with {field}={there}; "
                f"dino.size={config.dino.size}, dino.patch_size={config.dino.patch_size} and "
                f"dino.registers={config.dino.registers} mean {field}={here}. Make them match, "
                "or convert it, whatever it is, with\n"
                f"python -m gsjax.convert dino --input={weights} --output=FOLDER\n"
                "and use --config.dino.weights=FOLDER, which needs none of these fields"
            )
    return found, variables


def read_weights(weights: str, field: str) -> tuple[DinoViT, PyTree]:
    """Returns a DINO and its variables, from a name, a file or a converted folder.

    Args:
      weights: one of `gsjax.fetch.REMOTE`, which is downloaded, or a path.
      field: the flag or config field that named it, for errors.

    Raises:
      UserError: the weights are unavailable, or not a DINO.
    """
    # Imported here, since most runs of small models need none of this.
    from gsjax.convert import dino as convert
    from gsjax.convert.state_dicts import read_state_dict
    from gsjax.trained.folder import read_dino

    if Path(weights).is_dir():
        return read_dino(weights, field)
    if weights not in REMOTE:
        arrays = read_state_dict(weights, field)
        try:
            return convert(arrays)
        except UserError as error:
            raise UserError(f"{field}: {weights}: {error}") from None
    found, variables = convert(read_state_dict(fetch(weights, field), field))
    # Hugging Face's files hold the official weights, but its code resamples positions slightly
    # differently. The published names stand for the results of the official code.
    official = {"antialias": found.registers > 0, "offset": 0.0 if found.registers else 0.1}
    return dataclasses.replace(found, **official), variables


def make_tokens(config: ConfigDict, module: DinoViT | None) -> Callable:
    """Returns `tokens(variables, *images)`: DINO's class token of each batch of images.

    Images are f32[B, H, W, 3] in [0, 1], tokens f32[B, D], or None without a semantic branch.
    """
    if module is None:
        return lambda variables, *images: [None] * len(images)

    def tokens(variables: PyTree, *images: jax.Array) -> list[jax.Array]:
        # One batch, interleaved so that no image moves to another device.
        batch = jnp.stack(images, axis=1).reshape(-1, *images[0].shape[1:])
        inputs = preprocess(batch, config.dino.image_size, config.dino.normalize)
        cls_tokens = module.apply(variables, inputs).cls_token
        cls_tokens = cls_tokens.reshape(-1, len(images), cls_tokens.shape[-1])
        return [cls_tokens[:, i] for i in range(len(images))]

    return tokens
