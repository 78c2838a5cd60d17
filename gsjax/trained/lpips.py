"""Frozen LPIPS networks, for the loss and the metric: their weights by name, folder or file."""

import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
from jaxtyping import PyTree
from ml_collections import ConfigDict

from gsjax.convert.perceptual import backbone_of_params, fetch_lpips, from_state_dicts
from gsjax.convert.state_dicts import read_state_dict
from gsjax.errors import UserError, at
from gsjax.models.lpips import BACKBONES, MIN_SIDE, Lpips
from gsjax.trained.checkpoints import check_same_shapes
from gsjax.trained.restore import restore_params


def check_lpips(config: ConfigDict) -> None:
    """Raises UserError if `config.lpips` cannot work; neither reads nor downloads weights."""
    weights, size = config.lpips.weights, config.data.image_size
    if not weights:
        if config.loss.lpips > 0:
            raise UserError(
                "lpips.weights",
                f"none are named, but loss.lpips is {config.loss.lpips}.",
                "\nDownload the published ones with\n"
                "--config.lpips.weights=alex, or train without with --config.loss.lpips=0",
            )
        return
    with at("lpips.weights"):
        check_weights(weights)
    least = MIN_SIDE.get(weights, max(MIN_SIDE.values()))
    if min(size) < least:
        raise UserError(
            "data.image_size",
            f"{tuple(size)} is too small for LPIPS, which needs {least} pixels a side",
            "use larger images, or none of it with --config.loss.lpips=0 --config.lpips.weights=",
        )


def check_weights(weights: str, otherwise: str = "") -> None:
    """Checks that `read_lpips` has something to read; neither reads nor downloads weights.

    Args:
      weights: see `read_lpips`.
      otherwise: what else the field may be, for errors.

    Raises:
      UserError: there is nothing to read.
    """
    if weights not in BACKBONES and not Path(weights).exists():
        raise UserError(
            "",
            f"{weights!r} is none of {', '.join(BACKBONES)}, which are downloaded, nor a folder "
            "that `python -m gsjax.convert lpips` has written, nor a file of such weights"
            + (otherwise and f", nor {otherwise}"),
        )
    if weights in BACKBONES and not importlib.util.find_spec("torch"):
        raise UserError(
            "",
            f"{weights} is published in PyTorch's format",
            "pip install torch, or convert it where that is installed with `python -m "
            "gsjax.convert lpips`",
        )


def load_lpips(options: ConfigDict) -> tuple[Lpips | None, PyTree]:
    """Returns the module and its variables, from `config.lpips.weights`.

    If no weights are named, returns None and no variables.

    Raises:
      UserError: the weights are unavailable.
    """
    if not options.weights:
        return None, {}
    with at("lpips.weights"):
        module, variables = read_lpips(options.weights)
    return module.clone(normalize=options.normalize), variables


def read_lpips(weights: str) -> tuple[Lpips, PyTree]:
    """Returns the module and its variables.

    Args:
      weights: alex, vgg or squeeze, which are downloaded, a converted folder, or a file with a
        backbone and its heads that `gsjax.convert.lpips` reads.

    Raises:
      UserError: the weights are unavailable.
    """
    if weights in BACKBONES:
        return fetch_lpips(weights)
    if Path(weights).is_file():
        arrays = read_state_dict(weights)
        with at(weights):
            return from_state_dicts(arrays)
    variables = restore_params(weights, "lpips")
    try:
        module = Lpips(backbone_of_params(variables["params"]))
    except (KeyError, TypeError, AttributeError):
        raise UserError(
            weights, "it holds no LPIPS", "expected what `python -m gsjax.convert lpips` writes"
        ) from None
    image = jnp.zeros((1, *[MIN_SIDE[module.backbone]] * 2, 3))
    wanted = jax.eval_shape(lambda: module.init(jax.random.key(0), image, image))
    check_same_shapes(weights, variables, wanted, "convert the file again")
    return module, variables
