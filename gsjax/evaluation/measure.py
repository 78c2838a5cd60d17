"""Runs an evaluation, from its settings to its report."""

import dataclasses
import hashlib
import os
import platform
import time
from collections.abc import Iterator, Sequence

import jax
import numpy as np
from jaxtyping import UInt8

from gsjax.data.examples import Band
from gsjax.data.sources import open_source, require_readable
from gsjax.errors import UserError, at
from gsjax.evaluation import fid, methods, protocol, report, scores, semantics
from gsjax.evaluation.methods import Method
from gsjax.evaluation.protocol import Protocol
from gsjax.evaluation.report import Report, Worst
from gsjax.evaluation.scores import Scores
from gsjax.evaluation.semantics import Semantics
from gsjax.models.inception import FEATURES
from gsjax.progress import progress_bar

_SHOWN = 2  # worst cases shown per band


@dataclasses.dataclass(frozen=True)
class Settings:
    """The flags of `python -m gsjax.evaluate`, by their names."""

    data: str
    checkpoint: str | None = None
    masks: str | None = None
    invert: bool = False
    output: str | None = None
    deep: Sequence[str] | None = None
    baselines: Sequence[str] | None = None
    bands: Sequence[str] = ("5-20", "20-40", "40-60", "center")
    images: int | None = None
    size: int = 256
    seed: int = 0
    lpips: str | None = None
    fid: str | None = None
    dino: str | None = None


@dataclasses.dataclass
class _Collected:
    """The results collected during an evaluation."""

    rows: list[dict]
    features: dict[str, dict[tuple[str, str], list]]  # by metric, then by (band, method)
    worst: dict[str, list[Worst]]  # by band, worst first
    names: list[str]  # of the images
    semantics: Semantics | None = None
    digest: str = ""  # of the images


def evaluate(settings: Settings) -> Report:
    """Checks the settings, fills, measures, and writes to the output folder if there is one.

    Raises:
      UserError: a setting is wrong, or names something unavailable.
    """
    notes: list[str] = []
    with at("--deep"):
        deep = methods.choose(settings.deep, list(methods.OURS), notes)
    with at("--baselines"):
        names = methods.choose(settings.baselines, list(methods.BASELINES), notes)
    compared = [Method(name, methods.BASELINES[name]) for name in names]
    if settings.deep is not None and settings.checkpoint is None:
        raise UserError("--deep", "it needs a --checkpoint", "name one")
    plan = _make_protocol(settings)
    if settings.output is not None:
        report.check_writable(settings.output)
    if settings.checkpoint is not None:
        compared = methods.trained(settings.checkpoint, deep) + compared
    if not compared:
        raise UserError("--baselines", "neither baselines nor a --checkpoint are named", "name one")
    measures = scores.load_scores(settings.lpips, settings.fid, settings.dino)
    collected = _measure(plan, compared, measures)
    if not collected.rows:
        raise UserError("--data", "none of the images can be read any more")
    outcome = Report(
        _describe(settings, plan, compared, measures, collected),
        notes + _notes(plan, measures, collected),
        collected.rows,
        report.summarize(collected.rows, _distances(plan, measures, collected)),
        [one for band in collected.worst.values() for one in band],
    )
    if settings.output is not None:
        report.write(settings.output, outcome)
    return outcome


def _make_protocol(settings: Settings) -> Protocol:
    bands = protocol.parse_bands(settings.bands)
    source = open_source(settings.data, "validation", "--data")
    count = len(source) if settings.images is None else settings.images
    if count > len(source):
        raise UserError("--images", f"{count} is more than {settings.data} has, {len(source)}")
    with at("--data"):
        require_readable(source)
    indices, masks = range(count), []
    if settings.masks is not None:
        bands = [Band(protocol.FILES, (protocol.FILES,), 0.0, 1.0)]
        masks = protocol.match_masks(
            source, indices, settings.masks, settings.size, settings.invert
        )
    return Protocol(source, indices, settings.size, settings.seed, bands, masks, settings.invert)


def _measure(plan: Protocol, compared: Sequence[Method], measures: Scores) -> _Collected:
    """Fills every hole of every image with every method, and measures the results."""
    collected = _Collected([], {}, {band.name: [] for band in plan.bands}, [])
    digest = hashlib.sha256()
    total = len(plan.indices) * len(plan.bands) * len(compared)
    with progress_bar(total, 0, "evaluating", unit=" fills") as bar:
        for index, image in plan.crops():
            digest.update(image.data)
            name = plan.source.short_name(index)
            holes = {band.name: plan.hole(index, band) for band in plan.bands}
            if not collected.names:
                if measures.dino is not None:
                    images = (image for _, image in plan.crops())
                    collected.semantics = semantics.embed_originals(*measures.dino, images)
                _warm_up(compared, image, holes.values())
            collected.names.append(name)
            cases, filled = [], []
            for band, hole in holes.items():
                for method in compared:
                    start = time.perf_counter()
                    filled.append(method(image, hole))
                    cases.append((band, method.name, time.perf_counter() - start))
                    bar.update()
            _collect(collected, name, image, holes, cases, np.stack(filled), measures)
    collected.digest = digest.hexdigest()
    return collected


def _warm_up(compared, image, holes) -> None:
    """Runs compiled methods once, so that compilation is not timed."""
    for method in compared:
        for hole in holes:
            if method.compiles:
                method(image, hole)


def _collect(collected, name, image, holes, cases, filled, measures) -> None:
    """Measures all fills of an image, and keeps what the report needs."""
    of_case = np.stack([holes[band] for band, _, _ in cases])
    values = jax.device_get(measures.measure(filled, image[None], of_case))
    features: dict[str, np.ndarray] = {}
    if measures.extract is not None:
        features["fid"] = np.asarray(measures.extract(filled))
    if collected.semantics is not None:
        distances = semantics.compare(collected.semantics, filled, image, of_case)
        values |= {"dino_class": distances.class_token, "dino_patches": distances.patch_tokens}
        features["fd_dino"] = np.asarray(distances.features)
    for metric, rows in features.items():
        kept = collected.features.setdefault(metric, {})
        for (band, method, _), row in zip(cases, rows, strict=True):
            kept.setdefault((band, method), []).append(row)
    psnr: dict[str, dict[str, float]] = {}
    for place, (band, method, seconds) in enumerate(cases):
        row = {"image": name, "band": band, "method": method, "hole": float(holes[band].mean())}
        row |= {metric: float(value[place]) for metric, value in values.items()}
        collected.rows.append(row | {"seconds": seconds})
        psnr.setdefault(band, {})[method] = row["psnr_hole"]
    for band, by_method in psnr.items():
        first = next(iter(by_method))  # the model, if there is one
        pictures = {method: filled[i] for i, (own, method, _) in enumerate(cases) if own == band}
        values = ", ".join(f"{method} {value:.1f}" for method, value in by_method.items())
        part = f"{100 * holes[band].mean():.0f} %"
        caption = f"{band}: PSNR in the hole of {part}: {values} · {name}"
        worst = [
            *collected.worst[band],
            Worst(by_method[first], caption, image, holes[band], pictures),
        ]
        collected.worst[band] = sorted(worst, key=lambda one: one.psnr)[:_SHOWN]


def _distances(
    plan: Protocol, measures: Scores, collected: _Collected
) -> dict[str, dict[tuple[str, str], float]]:
    """Returns Fréchet distances by metric, then by (band, method); none for a single image."""
    if len(collected.names) < 2:
        return {}

    def images() -> Iterator[UInt8[np.ndarray, "s s 3"]]:
        return (image for _, image in plan.crops())

    originals = {}
    if measures.extract is not None:
        originals["fid"] = fid.cached_features(
            measures.extract, measures.weights, collected.digest, images()
        )
    if collected.semantics is not None:
        originals["fd_dino"] = collected.semantics.originals
    return {
        metric: {
            case: fid.frechet_distance(np.stack(features), originals[metric])
            for case, features in by_case.items()
        }
        for metric, by_case in collected.features.items()
    }


def _notes(plan: Protocol, measures: Scores, collected: _Collected) -> list[str]:
    notes = list(measures.notes)
    left_out = len(plan.indices) - len(collected.names)
    if left_out:
        notes.append(f"{left_out} of {len(plan.indices)} images cannot be read and are left out")
    sizes = {"FID": FEATURES} if measures.extract is not None else {}
    if measures.dino is not None:
        sizes["Fréchet distance on DINO"] = measures.dino[0].width
    for name, features in sizes.items():
        if len(collected.names) < 2:
            notes.append(f"no {name}: it needs at least two images")
        elif len(collected.names) <= features:
            notes.append(
                f"{name} over {len(collected.names)} images, fewer than its {features} features: "
                "it is biased upward; compare it only over the same images and holes"
            )
    return notes


def _describe(settings, plan: Protocol, compared, measures: Scores, collected: _Collected) -> dict:
    return {
        "data": settings.data,
        "images": len(collected.names),
        "images_sha256": collected.digest,
        "size": plan.size,
        "bands": [band.name for band in plan.bands],
        "seed": None if plan.masks else plan.seed,
        "masks": settings.masks,
        "checkpoint": settings.checkpoint,
        "methods": [method.name for method in compared],
        "dino": measures.dino and semantics.describe(measures.dino[0]),
        "device": _device(),
    }


def _device() -> str:
    device = jax.devices()[0]
    kind = f"{os.cpu_count()} CPU cores" if device.platform == "cpu" else device.device_kind
    return f"{kind}, JAX {jax.__version__}, Python {platform.python_version()}"
