"""The perceptual loss: a frozen LPIPS, as loss and as metric."""

import importlib.util
from pathlib import Path

from jaxtyping import PyTree
from ml_collections import ConfigDict

from gsjax.errors import UserError
from gsjax.models.lpips import BACKBONES, LEAST_SIDE, Lpips


def check_lpips(config: ConfigDict) -> None:
    """Raises UserError where `config.lpips` cannot work; reads and fetches no weights."""
    weights, size = config.lpips.weights, config.data.image_size
    if not weights:
        if config.loss.lpips > 0:
            raise UserError(
                "lpips.weights: none are named, but loss.lpips is "
                f"{config.loss.lpips}. Have the published ones fetched with\n"
                "--config.lpips.weights=alex, or do without with --config.loss.lpips=0"
            )
        return
    if weights not in BACKBONES and not Path(weights).is_dir():
        raise UserError(
            f"lpips.weights: {weights!r} is neither {' nor '.join(BACKBONES)}, which are fetched, "
            "nor a folder that `python -m gsjax.convert lpips` has written"
        )
    if weights in BACKBONES and not importlib.util.find_spec("torch"):
        raise UserError(
            f"lpips.weights: {weights} is published in PyTorch's format: pip install torch, or "
            "convert it where that is installed with `python -m gsjax.convert lpips`"
        )
    least = LEAST_SIDE.get(weights, max(LEAST_SIDE.values()))
    if min(size) < least:
        raise UserError(
            f"data.image_size: {tuple(size)} is too small for LPIPS, which needs {least} pixels a "
            "side; use larger images, or none of it with --config.loss.lpips=0 "
            "--config.lpips.weights="
        )


def load_lpips(config: ConfigDict) -> tuple[Lpips | None, PyTree]:
    """Returns the module and its variables, from `config.lpips.weights`.

    Without weights there is no module and nothing in the variables.

    Raises:
      UserError: the weights cannot be had.
    """
    if not config.lpips.weights:
        return None, {}
    module, variables = read_lpips(config.lpips.weights, "lpips.weights")
    return module.clone(normalize=config.lpips.normalize), variables


def read_lpips(weights: str, field: str) -> tuple[Lpips, PyTree]:
    """Returns the module and its variables.

    Args:
      weights: alex or vgg, which are fetched, or a converted folder.
      field: what named it, for errors.

    Raises:
      UserError: the weights cannot be had.
    """
    # Only now: most runs of small models need none of this.
    from gsjax.checkpoints import restore_params
    from gsjax.convert.perceptual import fetch_lpips

    if weights in BACKBONES:
        return fetch_lpips(weights, field)
    variables = restore_params(weights, "lpips")
    return Lpips("vgg" if "conv_5" in variables["params"] else "alex"), variables
