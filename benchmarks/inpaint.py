"""Inpainting: a large photograph against a part of it, seams, batch sizes, and specks.

python -m benchmarks.inpaint --checkpoint=runs/photos [--photos=folder:DIR]

Large: three small holes in a photograph of 6,000×4,000 pixels, and in the 1,000×700 around them,
filled by the command: time, peak memory, and whether the known pixels have the same hash.
Seams: the mean step across the border of a hole, against the same places in the original.
Batches: crops per second by batch size.
Specks: holes of 2 to 6 pixels all over a large picture: number of crops and seconds, and the time
of the network for one full crop and for as many pixels in small ones.
"""

import hashlib
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from absl import flags
from PIL import Image

from gsjax import cli
from gsjax.data.sources import open_source
from gsjax.inpainting.painter import Inpainter

CHECKPOINT = flags.DEFINE_string("checkpoint", None, "a run's workdir or a checkpoint")
PHOTOS = flags.DEFINE_string("photos", "photos", "the photographs: photos, folder:DIR or list:FILE")
ROUNDS = flags.DEFINE_integer("rounds", 5, "timed runs of each program", lower_bound=1)
flags.mark_flag_as_required("checkpoint")

# Runs Python with arguments; prints seconds, CPU seconds, peak MB and exit status. This must be a
# separate process, because a program's peak starts at the memory of the process that started it.
_TIMER = """
import os, subprocess, sys, time
start = time.perf_counter()
process = subprocess.Popen([sys.executable, *sys.argv[1:]], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
cpu = usage.ru_utime + usage.ru_stime
print(time.perf_counter() - start, cpu, usage.ru_maxrss / 1024, status)
"""
_HOLES = ((2300, 1500, 30, 40), (2700, 1700, 24, 24), (2500, 2000, 36, 30))  # x, y, width, height
_PART = (2100, 1400, 3100, 2100)  # left, top, right, bottom in the large photograph


def main() -> None:
    """Measures and prints."""
    source = open_source(PHOTOS.value, "validation", "--photos")
    photos = [source[i] for i in range(min(len(source), 40))]
    painter = Inpainter.load(CHECKPOINT.value)
    _large(painter, photos[0])
    _seams(painter, photos)
    _batches(painter)
    _specks(painter)


def _large(painter: Inpainter, photo: np.ndarray) -> None:
    mirrored = np.concatenate([photo, photo[:, ::-1]], axis=1)
    mirrored = np.concatenate([mirrored, mirrored[::-1]], axis=0)
    image = np.asarray(Image.fromarray(mirrored).resize((6000, 4000), Image.Resampling.BICUBIC))
    hole = np.zeros(image.shape[:2], bool)
    for x, y, width, height in _HOLES:
        hole[y : y + height, x : x + width] = True
    left, top, right, bottom = _PART
    part = np.s_[top:bottom, left:right]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sizes = {"6000x4000": (image, hole), "1000x700": (image[part], hole[part])}
        for size, (pixels, holes) in sizes.items():
            Image.fromarray(np.ascontiguousarray(pixels)).save(folder / f"{size}.png")
            Image.fromarray(np.ascontiguousarray(holes)).save(folder / f"{size}_mask.png")
        figures = {size: _figures(painter, folder, size, *sizes[size]) for size in sizes}
    print("| image | painting s | CPU s | command s | CPU s | peak MB | known pixels unchanged |")
    print("|---|---|---|---|---|---|---|")
    for size, (*seconds, peak, same) in figures.items():
        listed = " | ".join(f"{value:.3f}" for value in seconds)
        print(f"| {size} | {listed} | {peak:.0f} | {same} |")
    large, small = figures.values()
    ratios = [f"{one / other:.2f}" for one, other in zip(large[:5], small[:5], strict=True)]
    print(f"| ratio | {' | '.join(ratios)} | |")


def _figures(painter: Inpainter, folder: Path, size: str, image, hole):
    """Returns medians for one image size.

    They are seconds and CPU seconds of painting, the same of the command, peak MB, and whether
    the known pixels are unchanged.
    """
    paintings, commands, peaks = [], [], []
    output = folder / f"{size}_out.png"
    arguments = [
        f"--checkpoint={CHECKPOINT.value}", f"--image={folder / size}.png",
        f"--mask={folder / size}_mask.png", f"--output={output}", "--overwrite",
    ]  # fmt: skip
    for _ in range(ROUNDS.value + 1):
        copy = image.copy()
        start = (time.perf_counter(), time.process_time())
        for _ in painter.paint([(None, copy, hole)]):
            pass
        paintings.append((time.perf_counter() - start[0], time.process_time() - start[1]))
        command = [sys.executable, "-c", _TIMER, "-m", "gsjax.inpaint", *arguments]
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        measured = subprocess.run(command, text=True, **streams)
        *seconds, peak, status = map(float, measured.stdout.split())
        if status:
            raise RuntimeError(f"{' '.join(command)} failed")
        commands.append(seconds)
        peaks.append(peak)
    known = [
        hashlib.sha256(np.asarray(Image.open(path))[~hole].tobytes()).hexdigest()
        for path in (folder / f"{size}.png", output)
    ]
    # The first round includes compilation.
    seconds = [*np.median(paintings[1:], axis=0), *np.median(commands[1:], axis=0)]
    return (*seconds, max(peaks[1:]), known[0] == known[1])


def _seams(painter: Inpainter, photos: list[np.ndarray]) -> None:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:288, :288][..., None]
    gradients = [
        (128 + (x - 144) * rng.uniform(-0.4, 0.4, 3) + (y - 144) * rng.uniform(-0.4, 0.4, 3))
        for _ in range(10)
    ]
    kinds = {
        "gradients": [np.rint(np.clip(image, 0, 255)).astype(np.uint8) for image in gradients],
        "photographs": photos,
    }
    print("\n| images | hole, px | step at the border | in the original | ratio | worst image |")
    print("|---|---|---|---|---|---|")
    for kind, images in kinds.items():
        for side in (24, 60, 140):
            steps = []
            for image in images:
                height, width = image.shape[:2]
                hole = np.zeros((height, width), bool)
                top, left = (int(rng.integers(8, n - side - 8)) for n in (height, width))
                hole[top : top + side, left : left + side] = True
                filled = painter(image, hole).image
                steps.append([_step(array, hole) for array in (filled, image)])
            ours, original = np.mean(steps, axis=0)
            worst = max(one / max(other, 0.1) for one, other in steps)
            figures = (ours, original, ours / original, worst)
            print(f"| {kind} | {side} | " + " | ".join(f"{f:.2f}" for f in figures) + " |")


def _step(image: np.ndarray, hole: np.ndarray) -> float:
    """Returns the mean difference between neighbors, one of which is hole and one known."""
    steps = []
    for axis in (0, 1):
        border = np.diff(hole.astype(np.int8), axis=axis) != 0
        steps.append(np.abs(np.diff(image.astype(np.float64), axis=axis))[border])
    return float(np.concatenate(steps).mean())


def _batches(painter: Inpainter) -> None:
    height, width = painter.size
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    hole = np.zeros((height, width), bool)
    hole[height // 3 : height // 2, width // 3 : width // 2] = True
    print("\n| batch size | images/s |\n|---|---|")
    for size in (1, 8, 32):
        rates = []
        for _ in range(ROUNDS.value + 1):
            start = time.perf_counter()
            for _ in painter.paint(((i, image.copy(), hole) for i in range(64)), size):
                pass
            rates.append(64 / (time.perf_counter() - start))
        print(f"| {size} | {np.median(rates[1:]):.1f} |")


def _specks(painter: Inpainter) -> None:
    rng = np.random.default_rng(0)
    print("\n| image | specks | crops | s |\n|---|---|---|---|")
    for scale, count in ((1, 375), (2, 1500)):
        height, width = 1000 * scale, 1500 * scale
        image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        hole = np.zeros((height, width), np.uint8)
        for x, y, radius in rng.integers((0, 0, 1), (width, height, 4), (count, 3)).tolist():
            cv2.circle(hole, (x, y), radius, 1, -1)
        seconds = []
        for _ in range(ROUNDS.value + 1):
            crops: list = []
            task = [(None, image.copy(), hole > 0)]
            start = time.perf_counter()
            for _ in painter.paint(task, deep="network", keep=crops.append):
                pass
            seconds.append(time.perf_counter() - start)
        print(f"| {width}×{height} | {count} | {len(crops)} | {np.median(seconds[1:]):.2f} |")
    network = painter._network
    print("\n| crops at a time | network, ms |\n|---|---|")
    for size in filter(None, (network.size, network.small)):
        count = math.prod(network.size) // math.prod(size)
        crop = np.zeros((*size, 3), np.float32), np.ones((*size, 1), np.float32)
        seconds = []
        for _ in range(2 * ROUNDS.value + 1):
            start = time.perf_counter()
            network.paint([crop] * count, 1)
            seconds.append(time.perf_counter() - start)
        print(f"| {count} of {size[1]}×{size[0]} | {1e3 * np.median(seconds[1:]):.0f} |")


if __name__ == "__main__":
    cli.run(main)
