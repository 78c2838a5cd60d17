"""The metrics of filled images, and the networks that two of them need."""

import functools
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
from absl import logging
from jaxtyping import PyTree

from gsjax.errors import UserError, at
from gsjax.evaluation.semantics import load_dino
from gsjax.models import metrics
from gsjax.models.dino import DinoViT
from gsjax.models.lpips import lpips_name
from gsjax.trained.lpips import check_weights, read_lpips

LPIPS, INCEPTION, DINO, NONE = "alex", "inception", "dinov2_vits14", "none"


class Scores(NamedTuple):
    """Compiled metrics.

    Attributes:
      measure: maps filled uint8 [B, S, S, 3], original uint8 [1, S, S, 3] and holes bool
        [B, S, S] to each metric's values by name, [B].
      extract: maps images uint8 [B, S, S, 3] to features for FID, [B, 2048]; None without weights.
      weights: of `extract`.
      dino: a DINO and its variables, whose tokens are compared; None without weights.
      notes: what cannot be measured, and why.
    """

    measure: Callable
    extract: Callable | None
    weights: PyTree
    dino: tuple[DinoViT, PyTree] | None
    notes: list[str]


def load_scores(lpips: str | None, fid: str | None, dino: str | None) -> Scores:
    """Compiles the metrics, with LPIPS, FID and DINO if their weights are available.

    Args:
      lpips: alex, vgg or squeeze (downloaded once), a converted folder, a file, or "none"; None
        for alex if available.
      fid: inception (downloaded once), a converted folder, or "none"; None for inception if
        available.
      dino: a published name such as dinov2_vits14 (downloaded once), a converted folder, a file, or
        "none"; None for dinov2_vits14 if available.

    Raises:
      UserError: requested weights are unavailable.
    """
    notes: list[str] = []
    module, variables = _optional("--lpips", lpips, LPIPS, _read_lpips, "LPIPS", notes)
    inception, weights = _optional("--fid", fid, INCEPTION, _read_inception, "FID", notes)
    vit, tokens = _optional("--dino", dino, DINO, load_dino, "distances on DINO", notes)
    measure = functools.partial(jax.jit(functools.partial(_measure, module)), variables)
    extract = None
    if inception is not None:
        features = jax.jit(lambda weights, images: inception.apply(weights, images / 255.0))
        extract = functools.partial(features, weights)
    return Scores(measure, extract, weights, vit and (vit, tokens), notes)


def _measure(lpips, variables, filled, original, hole):
    filled, original = (jnp.float32(images) / 255 for images in (filled, original))
    original = jnp.broadcast_to(original, filled.shape)
    where = jnp.float32(hole[..., None])
    distances = {}
    if lpips is not None:
        distances[lpips_name(lpips.backbone)] = functools.partial(lpips.apply, variables)
    return metrics.measure(filled, original, where, distances)


def _optional(flag, requested, default, read, metric, notes):
    """Reads weights; if they were not requested they may be missing, which is noted."""
    if requested == NONE:
        return None, {}
    if requested:
        with at(flag):
            return read(requested)
    try:
        return read(default)
    except UserError as error:
        notes.append(f"no {metric}: {' '.join(str(error).split())}")
        logging.warning("%s", notes[-1])
        return None, {}


def _read_lpips(weights):
    check_weights(weights, otherwise=NONE)
    return read_lpips(weights)


def _read_inception(weights):
    from gsjax.convert.fid import fetch_inception
    from gsjax.models.inception import SIDE, Inception
    from gsjax.trained.checkpoints import check_same_shapes
    from gsjax.trained.restore import restore_params

    if weights == INCEPTION:
        _need_torch("inception")
        return fetch_inception()
    if not Path(weights).expanduser().is_dir():
        raise UserError(
            "",
            f"{weights!r} is neither {INCEPTION}, which is downloaded, nor a folder that "
            f"`python -m gsjax.convert inception` has written, nor {NONE}",
        )
    module, variables = Inception(), restore_params(weights, "inception")
    image = jnp.zeros((1, SIDE, SIDE, 3))
    wanted = jax.eval_shape(lambda: module.init(jax.random.key(0), image))
    check_same_shapes(weights, variables, wanted, "convert the file again")
    return module, variables


def _need_torch(network):
    """Raises UserError if PyTorch is missing, before weights are downloaded in vain."""
    if not importlib.util.find_spec("torch"):
        raise UserError(
            "",
            "these weights are published in PyTorch's format",
            "pip install torch, or convert them where that is installed with `python -m "
            f"gsjax.convert {network}`",
        )
