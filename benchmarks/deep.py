"""Deep holes: how deep the network should paint, how far PatchMatch should search, and run times.

python -m benchmarks.deep --photos=folder:DIR --lpips=squeeze --dino=dinov2_vits14
python -m benchmarks.deep --times

Depth: PSNR, SSIM, LPIPS and the distance of DINO's class token for the network alone, PatchMatch
alone, and both combined, with PatchMatch from a given depth on. Holes are central squares of half
the shorter side, and ellipses with four strokes.
Reach: the same metrics for the copied part alone, by `SEARCH_MARGIN`; ellipses of 96×88 pixels.
Times (--times): seconds and peak memory of the command, for a 170-pixel hole in 512×512 pixels
and a 700-pixel hole in 6,000×4,000, without and with copied texture.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
from absl import flags
from PIL import Image
from skimage import data

from gsjax import cli
from gsjax.data.sources import open_source
from gsjax.evaluation import semantics
from gsjax.evaluation.scores import load_scores
from gsjax.inpainting import exemplar
from gsjax.inpainting.painter import Inpainter
from gsjax.inpainting.patchmatch import patchmatch

CHECKPOINT = flags.DEFINE_string("checkpoint", "photos", "a run's workdir or a checkpoint")
PHOTOS = flags.DEFINE_string("photos", "photos", "the photographs: photos, folder:DIR or list:FILE")
COUNT = flags.DEFINE_integer("count", 12, "number of photographs to use, evenly spaced")
LPIPS = flags.DEFINE_string("lpips", None, "as for gsjax.evaluate")
DINO = flags.DEFINE_string("dino", "none", "as for gsjax.evaluate")
TIMES = flags.DEFINE_bool("times", False, "measure times instead of quality")

_LIMITS = (12, 16, 20, 24, 32)
_REACHES = (0.125, 0.25, 0.5, 1, 2, 8)
_TIMER = """
import os, subprocess, sys, time
start = time.perf_counter()
process = subprocess.Popen([sys.executable, *sys.argv[1:]], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
print(time.perf_counter() - start, usage.ru_maxrss / 1024, status)
"""


def main() -> None:
    """Measures and prints."""
    if TIMES.value:
        _times()
        return
    source = open_source(PHOTOS.value, "validation", "--photos")
    photos = [source[i] for i in range(0, len(source), max(1, len(source) // COUNT.value))]
    measure = _measure(photos[: COUNT.value])
    painter = Inpainter.load(CHECKPOINT.value)
    for kind in ("square", "strokes"):
        rows: dict[str, list] = {}
        for number, photo in enumerate(photos[: COUNT.value]):
            hole = _hole(kind, *photo.shape[:2], np.random.default_rng(number))
            for name, fill in _fills(painter, photo, hole):
                rows.setdefault(name, []).append(measure(fill, photo, hole))
        _print(kind, rows)
    rows = {}
    for number, photo in enumerate(photos[: COUNT.value]):
        hole = _hole("ellipse", *photo.shape[:2], np.random.default_rng(number))
        for reach in _REACHES:
            exemplar.SEARCH_MARGIN, copy = reach, photo.copy()
            exemplar.copy_deep(copy, hole)
            rows.setdefault(f"reach {reach}", []).append(measure(copy, photo, hole))
    _print("ellipse, the copied part", rows)


def _hole(kind: str, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    hole = np.zeros((height, width), np.uint8)
    if kind == "square":
        side = min(height, width) // 4
        hole[height // 2 - side : height // 2 + side, width // 2 - side : width // 2 + side] = 1
    elif kind == "ellipse":
        center = (int(width * rng.uniform(0.3, 0.7)), int(height * rng.uniform(0.35, 0.65)))
        cv2.ellipse(hole, center, (48, 44), int(rng.integers(180)), 0, 360, 1, -1)
    else:
        axes = (int(width * 0.16), int(height * 0.22))
        angle = int(rng.integers(180))
        cv2.ellipse(hole, (width // 2, height // 2), axes, angle, 0, 360, 1, -1)
        for _ in range(4):
            start, end = rng.integers(0, [width, height], (2, 2))
            cv2.line(hole, tuple(map(int, start)), tuple(map(int, end)), 1, 7)
    return hole > 0


def _fills(painter: Inpainter, photo: np.ndarray, hole: np.ndarray):
    yield "network", painter(photo, hole, deep="network").image
    copied = patchmatch(photo, hole)
    yield "PatchMatch", copied
    depth = cv2.distanceTransform(hole.view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    for limit in _LIMITS:
        partial = np.where((depth > limit)[..., None], copied, photo)
        yield f"both, {limit} px", painter(partial, hole & (depth <= limit), deep="network").image


def _measure(photos: list[np.ndarray]):
    """Returns a function that maps fill, photograph and hole to metrics by name."""
    scores = load_scores(LPIPS.value, "none", "none").measure
    originals = None
    if DINO.value != "none":
        originals = semantics.embed_originals(
            *semantics.load_dino(DINO.value), map(_square, photos)
        )

    def measure(fill: np.ndarray, photo: np.ndarray, hole: np.ndarray) -> dict[str, float]:
        values = dict(scores(fill[None], photo[None], hole[None]))
        if originals is not None:
            small = _square(hole.astype(np.uint8)) > 0
            distances = semantics.compare(
                originals, _square(fill)[None], _square(photo), small[None]
            )
            values["class token"] = distances.class_token
        return {name: float(np.asarray(value)[0]) for name, value in values.items()}

    return measure


def _square(image: np.ndarray) -> np.ndarray:
    return cv2.resize(image, (224, 224), interpolation=cv2.INTER_AREA)


def _print(kind: str, rows: dict[str, list]) -> None:
    names = [name for name in next(iter(rows.values()))[0] if not name.endswith("_hole")]
    print(f"\n| {kind} | {' | '.join(names)} |\n|{'---|' * (len(names) + 1)}")
    for row, scores in rows.items():
        means = (np.mean([score[name] for score in scores]) for name in names)
        print(f"| {row} | {' | '.join(f'{mean:.4f}' for mean in means)} |", flush=True)


def _times() -> None:
    photo = Image.fromarray(data.coffee())
    print("| picture | deep holes | s | peak MB |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        for width, height, side in ((512, 512, 170), (6000, 4000, 700)):
            file = Path(name) / f"{width}.png"
            pixels = np.asarray(photo.resize((width, height), Image.Resampling.BICUBIC)).astype(int)
            noise = np.random.default_rng(0).normal(scale=6, size=(height, width, 1))
            Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8)).save(file)
            mask = np.zeros((height, width), np.uint8)
            center = (width // 2, height // 2)
            cv2.ellipse(mask, center, (side // 2, side // 2), 0, 0, 360, 255, -1)
            Image.fromarray(mask).save(file.with_suffix(".tif"))
            for deep in ("network", "exemplar"):
                command = [
                    sys.executable, "-c", _TIMER, "-m", "gsjax.inpaint", f"--image={file}",
                    f"--mask={file.with_suffix('.tif')}", f"--output={name}/filled.png",
                    f"--checkpoint={CHECKPOINT.value}", f"--deep={deep}", "--overwrite",
                ]  # fmt: skip
                measured = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
                seconds, peak, status = map(float, measured.stdout.split())
                if status:
                    raise RuntimeError(f"{' '.join(command)} failed")
                print(f"| {width}×{height} | {deep} | {seconds:.1f} | {peak:.0f} |", flush=True)


if __name__ == "__main__":
    cli.run(main)
