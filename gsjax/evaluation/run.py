"""An evaluation from its settings to its report."""

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
from gsjax.errors import UserError
from gsjax.evaluation import fid, methods, protocol, report, scores
from gsjax.evaluation.methods import Method
from gsjax.evaluation.protocol import Protocol
from gsjax.evaluation.report import Report, Worst
from gsjax.evaluation.scores import Scores
from gsjax.models.inception import FEATURES
from gsjax.record import progress_bar

_SHOWN = 2  # of the worst, in each band


@dataclasses.dataclass(frozen=True)
class Settings:
    """The flags of `python -m gsjax.evaluate`, by their names."""

    data: str
    checkpoint: str | None = None
    masks: str | None = None
    output: str | None = None
    baselines: Sequence[str] = tuple(methods.BASELINES)
    bands: Sequence[str] = ("5-20", "20-40", "40-60", "center")
    images: int | None = None
    size: int = 256
    seed: int = 0
    lpips: str | None = None
    fid: str | None = None


@dataclasses.dataclass
class _Found:
    """What is collected on the way."""

    rows: list[dict]
    features: dict[tuple[str, str], list]  # by band and method
    worst: dict[str, list[Worst]]  # by band, the worst first
    names: list[str]  # of the images
    digest: str = ""  # of the images


def evaluate(settings: Settings) -> Report:
    """Checks the settings, fills, measures, and writes to the output folder if there is one.

    Raises:
      UserError: a setting is wrong, or what it names cannot be had.
    """
    ways = methods.baselines(settings.baselines)
    plan = _make_protocol(settings)
    if settings.output is not None:
        report.check_writable(settings.output)
    if settings.checkpoint is not None:
        ways.insert(0, methods.trained(settings.checkpoint))
    if not ways:
        raise UserError("--baselines: none are named, and no --checkpoint; give one of them")
    measures = scores.load_scores(settings.lpips, settings.fid)
    found = _measure(plan, ways, measures)
    if not found.rows:
        raise UserError("--data: none of the images can be read any more")
    outcome = Report(
        _describe(settings, plan, ways, found),
        _notes(plan, measures, found),
        found.rows,
        report.summarize(found.rows, _distances(plan, measures, found)),
        [one for band in found.worst.values() for one in band],
    )
    if settings.output is not None:
        report.write(settings.output, outcome)
    return outcome


def _make_protocol(settings: Settings) -> Protocol:
    bands = protocol.parse_bands(settings.bands)
    source = open_source(settings.data, "validation", "--data")
    count = len(source) if settings.images is None else settings.images
    if count > len(source):
        raise UserError(f"--images: {count} asked for, but {settings.data} has {len(source)}")
    require_readable(source, "--data")
    indices, masks = range(count), []
    if settings.masks is not None:
        bands = [Band(protocol.FILES, (protocol.FILES,), 0.0, 1.0)]
        masks = protocol.match_masks(source, indices, settings.masks, settings.size)
    return Protocol(source, indices, settings.size, settings.seed, bands, masks)


def _measure(plan: Protocol, ways: Sequence[Method], measures: Scores) -> _Found:
    """Fills every hole of every image by every method, and measures."""
    found = _Found([], {}, {band.name: [] for band in plan.bands}, [])
    digest = hashlib.sha256()
    total = len(plan.indices) * len(plan.bands) * len(ways)
    with progress_bar(total, 0, "evaluating", unit=" fills") as bar:
        for index, image in plan.crops():
            digest.update(image)
            name = plan.source.short_name(index)
            holes = {band.name: plan.hole(index, band) for band in plan.bands}
            if not found.names:
                _warm_up(ways, image, holes.values())
            found.names.append(name)
            cases, filled = [], []
            for band, hole in holes.items():
                for way in ways:
                    start = time.perf_counter()
                    filled.append(way(image, hole))
                    cases.append((band, way.name, time.perf_counter() - start))
                    bar.update()
            _collect(found, name, image, holes, cases, np.stack(filled), measures)
    found.digest = digest.hexdigest()
    return found


def _warm_up(ways, image, holes) -> None:
    """Has compiled what is compiled, so that it is not timed."""
    for way in ways:
        for hole in holes:
            if way.compiles:
                way(image, hole)


def _collect(found, name, image, holes, cases, filled, measures) -> None:
    """Measures all fills of an image at once, and keeps what the report needs."""
    of_case = np.stack([holes[band] for band, _, _ in cases])
    values = jax.device_get(measures.measure(filled, image[None], of_case))
    if measures.extract is not None:
        for (band, way, _), features in zip(cases, measures.extract(filled), strict=True):
            found.features.setdefault((band, way), []).append(np.asarray(features))
    psnr: dict[str, dict[str, float]] = {}
    for place, (band, way, seconds) in enumerate(cases):
        row = {"image": name, "band": band, "method": way, "hole": float(holes[band].mean())}
        row |= {metric: float(value[place]) for metric, value in values.items()}
        found.rows.append(row | {"seconds": seconds})
        psnr.setdefault(band, {})[way] = row["psnr_hole"]
    for band, of_way in psnr.items():
        first = next(iter(of_way))  # the model's, if there is one
        pictures = {way: filled[i] for i, (own, way, _) in enumerate(cases) if own == band}
        values = ", ".join(f"{way} {value:.1f}" for way, value in of_way.items())
        part = f"{100 * holes[band].mean():.0f} %"
        caption = f"{band}: PSNR in the hole of {part}: {values} · {name}"
        worst = [*found.worst[band], Worst(of_way[first], caption, image, holes[band], pictures)]
        found.worst[band] = sorted(worst, key=lambda one: one.psnr)[:_SHOWN]


def _distances(plan: Protocol, measures: Scores, found: _Found) -> dict[tuple[str, str], float]:
    """Returns FID by band and method; none without weights or of a single image."""
    if measures.extract is None or len(found.names) < 2:
        return {}

    def images() -> Iterator[UInt8[np.ndarray, "s s 3"]]:
        return (image for _, image in plan.crops())

    originals = fid.cached_features(measures.extract, measures.weights, found.digest, images())
    return {
        case: fid.frechet_distance(np.stack(features), originals)
        for case, features in found.features.items()
    }


def _notes(plan: Protocol, measures: Scores, found: _Found) -> list[str]:
    notes = list(measures.notes)
    left_out = len(plan.indices) - len(found.names)
    if left_out:
        notes.append(f"{left_out} of {len(plan.indices)} images cannot be read and are left out")
    if measures.extract is not None and len(found.names) <= FEATURES:
        notes.append(
            f"FID over {len(found.names)} images, fewer than its {FEATURES} features: it is biased "
            "upwards and only to be compared with FID over the very same images and holes"
            if len(found.names) > 1
            else "no FID: it takes two images"
        )
    return notes


def _describe(settings, plan: Protocol, ways, found: _Found) -> dict:
    return {
        "data": settings.data,
        "images": len(found.names),
        "images_sha256": found.digest,
        "size": plan.size,
        "bands": [band.name for band in plan.bands],
        "seed": None if plan.masks else plan.seed,
        "masks": settings.masks,
        "checkpoint": settings.checkpoint,
        "methods": [way.name for way in ways],
        "device": _device(),
    }


def _device() -> str:
    device = jax.devices()[0]
    kind = f"{os.cpu_count()} CPU cores" if device.platform == "cpu" else device.device_kind
    return f"{kind}, JAX {jax.__version__}, Python {platform.python_version()}"
