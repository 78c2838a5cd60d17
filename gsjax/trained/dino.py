"""The frozen DINO of a run: from a converted folder, a file, a published name, or random."""

import dataclasses
import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict
from jaxtyping import PyTree
from ml_collections import ConfigDict

from gsjax import convert
from gsjax.convert.state_dicts import read_state_dict
from gsjax.errors import UserError, at, check_whole
from gsjax.fetch import REMOTE, cached_path, fetch
from gsjax.files import read_json
from gsjax.models.build import RUN_ONCE, Networks, build_dino, build_networks, set_architecture
from gsjax.models.dino import DinoViT
from gsjax.models.lpips import Lpips
from gsjax.trained import checkpoints, restore
from gsjax.trained.converted import DINO


def trains_with_dino(config: ConfigDict) -> bool:
    """Returns whether a run needs a DINO: for a semantic branch, the loss or validation.

    Fills need it only for the branch.
    """
    of_stages = flatten_dict(config.stages.to_dict(), sep=".")
    weights = [weight for name, weight in of_stages.items() if name.endswith(".loss.dino")]
    return config.model.semantic or config.validate.dino or any([config.loss.dino, *weights])


def check_dino(config: ConfigDict) -> None:
    """Raises UserError if `config.dino` cannot work; neither reads nor downloads weights."""
    if not trains_with_dino(config):
        return
    find_module(config.dino)
    weights = config.dino.weights
    if weights in REMOTE:
        if weights != _fitting_name(config.dino):
            raise UserError(
                "dino.weights",
                f"{weights} is not what dino.size={config.dino.size}, "
                f"dino.patch_size={config.dino.patch_size} and "
                f"dino.registers={config.dino.registers} describe. {_fetchable(config.dino)}",
            )
        weights = str(cached_path(weights))
    elif weights != "random" and not (weights and Path(weights).exists()):
        was = f"there is no file {weights!r}" if weights else "no weights are named"
        raise UserError(
            "dino.weights",
            f"{was}.",
            f"\n{_fetchable(config.dino)}Point to a file (.safetensors, .npz, or .pth, which needs "
            "PyTorch) with\n"
            "--config.dino.weights=FILE, or train with an untrained DINO, as a trial, with\n"
            "--config.dino.weights=random",
        )
    if weights.endswith((".pth", ".pt", ".bin")) and not importlib.util.find_spec("torch"):
        raise UserError(
            "dino.weights",
            f"reading {weights} needs PyTorch",
            "pip install torch, or give the same weights as .safetensors",
        )


def _fetchable(options: ConfigDict) -> str:
    """Returns a hint for errors: the name of the published weights that fit the config, or all."""
    name = _fitting_name(options)
    if name is None:
        return f"Those with a name are {', '.join(n for n in REMOTE if 'dino' in n)}.\n"
    return f"Download the published ones with\n--config.dino.weights={name}\n"


def _fitting_name(options: ConfigDict) -> str | None:
    registers = {0: "", 4: "_reg"}.get(options.registers, "?")
    name = f"dinov2_vit{options.size.lower()}{options.patch_size}{registers}"
    return name if name in REMOTE else None


def find_module(options: ConfigDict) -> DinoViT:
    """Returns the module that `config.dino` describes, or the one in the folder of its weights.

    Raises:
      UserError: there is none.
    """
    if _is_folder(options):
        with at("dino.weights"):
            return read_module(options.weights)
    return build_dino(options)


def describe_networks(
    config: ConfigDict, lpips: Lpips | None = None, training: bool = True
) -> Networks:
    """Returns the networks that `config` and the folder of its DINO describe, without weights.

    Args:
      config: of a run.
      lpips: of the loss and the metric, if there is one.
      training: whether they are trained, or fill.

    Raises:
      UserError: see `find_module`.
    """
    dino = find_module(config.dino) if _needs_dino(config, training) else None
    return build_networks(config, dino, lpips)


def complete_dino_config(config: ConfigDict) -> None:
    """Writes the architecture of a converted DINO to `config.dino`, if that names its folder.

    Raises:
      UserError: there is no DINO in the folder.
    """
    if trains_with_dino(config) and _is_folder(config.dino):
        set_architecture(config.dino, find_module(config.dino))


def load_dino(config: ConfigDict, training: bool = True) -> tuple[DinoViT | None, PyTree]:
    """Returns the module and its variables, from `config.dino.weights`.

    `random` draws them from `config.seed`, so they are the same in every run of a config. If no
    DINO is needed, returns None and no variables.

    Args:
      config: of a run.
      training: whether it is for training (see `trains_with_dino`), or for fills.

    Raises:
      UserError: the weights are unavailable, or their architecture is not the configured one.
    """
    weights = config.dino.weights
    if not _needs_dino(config, training):
        return None, {}
    if weights == "random":
        module = build_dino(config.dino)
        side = config.dino.image_size
        init = jax.jit(module.init, compiler_options=RUN_ONCE)
        return module, init(jax.random.key(config.seed), jnp.zeros((1, side, side, 3)))

    with at("dino.weights"):
        found, variables = read_dino(weights)
    if _is_folder(config.dino):
        return found, variables  # the folder describes the architecture in full
    wanted = build_dino(config.dino)
    for field in ("width", "depth", "heads", "patch_size", "registers", "swiglu", "layer_scale"):
        configured, actual = getattr(wanted, field), getattr(found, field)
        if configured != actual:
            raise UserError(
                "dino.weights",
                f"{weights} holds a DINO with {field}={actual}",
                f"dino.size={config.dino.size}, dino.patch_size={config.dino.patch_size} and "
                f"dino.registers={config.dino.registers} mean {field}={configured}. Make them "
                "match, or convert it, whatever it is, with\n"
                f"python -m gsjax.convert dino --input={weights} --output=FOLDER\n"
                "and use --config.dino.weights=FOLDER, which needs none of these fields",
            )
    return found, variables


def read_dino(weights: str) -> tuple[DinoViT, PyTree]:
    """Returns a DINO and its variables, from a name, a file or a converted folder.

    Args:
      weights: one of `gsjax.fetch.REMOTE`, which is downloaded, or a path.

    Raises:
      UserError: the weights are unavailable, or not a DINO.
    """
    if Path(weights).is_dir():
        return read_converted(weights)
    if weights not in REMOTE:
        arrays = read_state_dict(weights)
        with at(weights):
            return convert.dino(arrays)
    found, variables = convert.dino(read_state_dict(fetch(weights)))
    # Hugging Face's files hold the official weights, but its code resamples positions slightly
    # differently. The published names stand for the results of the official code.
    official = {"antialias": found.registers > 0, "offset": 0.0 if found.registers else 0.1}
    return dataclasses.replace(found, **official), variables


def read_converted(folder: str | Path) -> tuple[DinoViT, dict]:
    """Returns the module (see `read_module`) and variables of the DINO in a converted folder."""
    module = read_module(folder)
    variables = restore.restore_params(folder, "dino")
    depth, arrays = module.depth, len(jax.tree.leaves(variables))
    if depth > arrays:
        raise UserError(f"{folder}/{DINO}", f"depth is {depth}, but there are {arrays} arrays")
    wanted = jax.eval_shape(
        lambda: module.init(jax.random.key(0), jnp.zeros((1, *module.learned_size, 3)))
    )
    checkpoints.check_same_shapes(
        folder, variables, wanted, f"its {DINO} must be the one written with it"
    )
    return module, variables


def read_module(folder: str | Path) -> DinoViT:
    """Returns the module of the DINO in a converted folder.

    Args:
      folder: written by `converted.write`.

    Raises:
      UserError: there is no DINO in it, or its description is invalid.
    """
    path = Path(folder) / DINO
    try:
        fields = read_json(path)
        module = DinoViT(**fields | {"grid": tuple(fields["grid"])})
    except (OSError, ValueError, TypeError, KeyError):
        raise UserError(
            folder,
            "it holds no DINO",
            "expected what `python -m gsjax.convert` has written from a DINO, or from an "
            "inpainter with one inside",
        ) from None
    with at(path):
        _check_module(module)
    return module


# Valid ranges of the integer fields.
_RANGES = {
    "width": (1, 2**14),
    "depth": (1, 256),
    "heads": (1, 2**10),
    "mlp_width": (1, 2**16),
    "patch_size": (1, 64),
    "registers": (0, 64),
}
_MOST_PATCHES = 2**10  # maximum per side of the grid


def _check_module(module: DinoViT) -> None:
    for name, (least, most) in _RANGES.items():
        value = getattr(module, name)
        check_whole(value, least, name)
        if value > most:
            raise UserError(name, f"{value} is more than {most}")
    for side in module.grid:
        check_whole(side, 1, "grid")
    if len(module.grid) != 2 or max(module.grid) > _MOST_PATCHES:
        raise UserError("grid", f"it must be two numbers of at most {_MOST_PATCHES}")
    if module.width % module.heads:
        raise UserError("heads", f"{module.heads} must divide width, {module.width}")
    for name in ("swiglu", "layer_scale", "antialias"):
        if not isinstance(getattr(module, name), bool):
            raise UserError(name, "it must be true or false")
    for name in ("offset", "epsilon"):
        value = getattr(module, name)
        if not isinstance(value, float | int) or not 0 <= value <= 1:
            raise UserError(name, "it must be a number from 0 to 1")


def _needs_dino(config: ConfigDict, training: bool) -> bool:
    return trains_with_dino(config) if training else config.model.semantic


def _is_folder(options: ConfigDict) -> bool:
    return bool(options.weights) and Path(options.weights).is_dir()
