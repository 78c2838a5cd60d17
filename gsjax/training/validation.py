"""Validation: metrics over fixed images and holes, and a grid of samples."""

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree
from ml_collections import ConfigDict

from gsjax.models import metrics
from gsjax.models.build import Networks
from gsjax.models.inpainter import Inpainting, composite
from gsjax.models.lpips import lpips_name
from gsjax.models.semantic import make_tokens
from gsjax.training.batch import Batch, unpack
from gsjax.training.dino_scores import make_dino_scores
from gsjax.training.grids import sample_grid


def make_validation_step(config: ConfigDict, networks: Networks) -> Callable:
    """Returns `step(generator_variables, frozen, batch) -> (pictures, values)`.

    To be jitted with replicated results. `pictures` are the four arguments of `sample_grid`,
    f32[S, H, W, ·] in [0, 1], for the first `validate.samples` images (all of them would not fit
    on every device). `values` has the metrics of each image by name, its `weight` and its `band`,
    each [B]. Metrics named `hole` are over the hole only, the others over the whole composite.
    `mean_fill` fills the hole with the mean color of the known pixels, a baseline to beat. With
    `validate.dino`, `values` has those of `make_dino_scores` too, and `frozen` has `dino_means`.
    """
    dino_scores = make_dino_scores(config, networks) if config.validate.dino else None
    tokens = make_tokens(config.dino, networks.branch_dino)

    def step(variables: PyTree, frozen: PyTree, batch: Batch):
        images, known = unpack(batch)
        hole = 1.0 - known
        token, _ = tokens(frozen["dino"], images * known, known)
        out = cast(Inpainting, networks.generator.apply(variables, images * known, token, known))
        filled = composite(images, out.image, known)
        distances = {}
        if networks.lpips is not None:
            distance = functools.partial(networks.lpips.apply, frozen["lpips"])
            distances[lpips_name(networks.lpips.backbone)] = distance
        values = metrics.measure(filled, images, hole, distances)
        mean_filled = metrics.mean_fill(images, known)
        values["psnr_hole_mean_fill"] = metrics.psnr(mean_filled, images, hole)
        if dino_scores is not None:
            values |= dino_scores(frozen, images, known, filled, token, out.token)
        values |= {"weight": batch["weight"], "band": batch["band"]}
        pictures = (images, known, jnp.clip(out.image, 0.0, 1.0), filled)
        return [array[: config.validate.samples] for array in pictures], values

    return step


def validate(
    step: Callable,
    variables: PyTree,
    frozen: PyTree,
    batches: Iterable[Batch],
    samples: int,
    bands: Sequence[str],
) -> tuple[dict[str, float], np.ndarray]:
    """Returns the means of the metrics and a grid of the first images.

    The means over all images are `val/NAME`; some are also given over the images of each
    band, as `val/BAND/NAME`. LPIPS has its backbone in its name, as in `lpips_squeeze`.

    Args:
      step: from `make_validation_step`, jitted.
      variables: of the generator.
      frozen: the variables of dino and lpips, and `dino_means` if the step takes them.
      batches: global arrays; images that pad the last batch have weight 0.
      samples: rows of the grid.
      bands: their names.
    """
    collected: list[dict[str, np.ndarray]] = []
    pictures: list[list[np.ndarray]] = []
    for batch in batches:
        shown, values = step(variables, frozen, batch)
        collected.append(jax.device_get(values))
        if sum(len(rows[0]) for rows in pictures) < samples:
            pictures.append(jax.device_get(shown))
    values = {name: np.concatenate([v[name] for v in collected]) for name in collected[0]}
    weight, band = values.pop("weight"), values.pop("band")
    means = {f"val/{name}": float(np.average(v, weights=weight)) for name, v in values.items()}
    for index, name in enumerate(bands):
        share = weight * (band == index)
        if share.any():  # fewer images than bands leave some without
            for metric in metrics.VALIDATED:
                if metric.banded and metric.name in values:
                    mean = float(np.average(values[metric.name], weights=share))
                    means[f"val/{name}/{metric.name}"] = mean

    images, known, prediction, filled = (
        np.concatenate(arrays)[:samples] for arrays in zip(*pictures, strict=True)
    )
    captions = [
        f"hole {100 * (1 - part):.0f} %, PSNR in it {psnr:.1f} dB"
        for part, psnr in zip(known.mean((1, 2, 3)), values["psnr_hole"], strict=False)
    ]
    return means, sample_grid(images, known, prediction, filled, captions)
