"""The semantic branch: a frozen DINO whose class token says what an image is of."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
from absl import logging
from jaxtyping import PyTree
from ml_collections import ConfigDict

from gsjax.errors import UserError
from gsjax.models.dino import DinoViT, dino, preprocess

OFFICIAL = "https://dl.fbaipublicfiles.com/dinov2/dinov2_vit{0}14/dinov2_vit{0}14{1}_pretrain.pth"

# For programs that run once: on CPU, compiling is three times as fast without LLVM's
# optimizations.
RUN_ONCE = {"xla_backend_optimization_level": 0}


def check_dino(config: ConfigDict) -> None:
    """Raises UserError where `config.dino` cannot work; reads no weights."""
    if config.dino.patch_size < 1 or config.dino.registers < 0:
        raise UserError(
            f"dino.patch_size: {config.dino.patch_size} and dino.registers: "
            f"{config.dino.registers} must be at least 1 and 0"
        )
    build_dino(config)
    weights = config.dino.weights
    if weights != "random" and not (weights and Path(weights).is_file()):
        was = f"the file {weights!r} does not exist" if weights else "no weights are named"
        url = OFFICIAL.format(config.dino.size.lower(), "_reg4" if config.dino.registers else "")
        official = config.dino.patch_size == 14 and config.dino.registers in (0, 4)
        official = official and config.dino.size != "ti"
        download = f"Download {url}\n" if official else ""
        raise UserError(
            f"dino.weights: {was}.\n{download}"
            "Point to a file (.safetensors, .npz, or .pth, which needs PyTorch) with\n"
            "--config.dino.weights=FILE, or train with an untrained DINO, for a trial, with\n"
            "--config.dino.weights=random"
        )
    if weights.endswith((".pth", ".pt", ".bin")) and not importlib.util.find_spec("torch"):
        raise UserError(
            f"dino.weights: reading {weights} needs PyTorch: pip install torch, "
            "or give the same weights as .safetensors"
        )


def build_dino(config: ConfigDict) -> DinoViT:
    """Returns the module that `config.dino` describes."""
    return dino(config.dino.size, config.dino.patch_size, config.dino.registers)


def load_dino(config: ConfigDict) -> tuple[DinoViT, PyTree]:
    """Returns the module and its variables, from `config.dino.weights`.

    `random` draws them from `config.seed`: the same in every run of a config.

    Raises:
      UserError: the file is unreadable, or holds another architecture than configured.
    """
    weights = config.dino.weights
    if weights == "random":
        module = build_dino(config)
        logging.warning(
            "dino.weights is 'random': the semantic branch runs on an UNTRAINED DINO %s; "
            "its loss means little. Give a file of weights for real training.",
            config.dino.size,
        )
        side = config.dino.image_size
        init = jax.jit(module.init, compiler_options=RUN_ONCE)
        return module, init(jax.random.key(config.seed), jnp.zeros((1, side, side, 3)))

    from gsjax.convert import dino as convert
    from gsjax.convert.files import read_state_dict

    found, variables = convert(read_state_dict(weights, "dino.weights"))
    wanted = build_dino(config)
    for field in ("width", "depth", "heads", "patch_size", "registers", "swiglu", "layer_scale"):
        here, there = getattr(wanted, field), getattr(found, field)
        if here != there:
            raise UserError(
                f"dino.weights: {weights} holds a DINO with {field}={there}; "
                f"dino.size={config.dino.size}, dino.patch_size={config.dino.patch_size} and "
                f"dino.registers={config.dino.registers} mean {field}={here}"
            )
    return found, variables


def make_tokens(config: ConfigDict, module: DinoViT) -> Callable:
    """Returns `tokens(variables, *images)`: DINO's class token of each batch of images.

    Images are f32[B, H, W, 3] in [0, 1], tokens f32[B, D].
    """

    def tokens(variables: PyTree, *images: jax.Array) -> list[jax.Array]:
        # All in one batch, interleaved so that no image changes its device.
        together = jnp.stack(images, axis=1).reshape(-1, *images[0].shape[1:])
        seen = preprocess(together, config.dino.image_size, config.dino.normalize)
        found = module.apply(variables, seen).cls_token
        found = found.reshape(-1, len(images), found.shape[-1])
        return [found[:, i] for i in range(len(images))]

    return tokens
