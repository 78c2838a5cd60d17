"""Data pipeline: training images per second and core, by source, and cores needed to feed a chip.

python -m benchmarks.pipeline --sources=folder:DIR,array_record:DIR

An image is read, decoded, cropped and resized, and gets a hole. The times are CPU times, which a
busy machine affects less than wall-clock times; they exclude waiting for a disk. The sources take
turns, and the first round, which fills the caches, is not counted. --processes also measures the
actual training batches, in wall-clock time, as made by that many worker processes, including the
cost of passing batches between processes.
"""

import json
import math
import time
from collections.abc import Callable, Sequence

import cv2
import ml_collections
import numpy as np
from absl import flags

from benchmarks import measure
from gsjax import cli
from gsjax import config as configs
from gsjax.data import examples, pipeline
from gsjax.data.images import ImageSource, decode_image
from gsjax.data.masks import check_kinds, draw_hole
from gsjax.data.sources import FileSource, open_source, require_readable
from gsjax.errors import UserError, at

SOURCES = flags.DEFINE_list("sources", ["photos"], "datasets, such as folder:DIR,array_record:DIR")
SIDE = flags.DEFINE_integer("side", 256, "side of the examples in pixels", lower_bound=8)
CROPS = flags.DEFINE_list(
    "crops",
    ["resize", "random"],
    "kinds of crops, see config.data.crop; zoom: random, mirrored, with a log-uniform scale from "
    "native pixels to the whole image",
)
KINDS = flags.DEFINE_list("kinds", ["irregular", "free_form"], "holes, see config.masks.kinds")
RATIO = flags.DEFINE_list("ratio", ["0.2", "0.6"], "smallest and largest hole, as a fraction")
PROCESSES = flags.DEFINE_integer("processes", 0, "workers that make batches", lower_bound=0)
BATCH = flags.DEFINE_integer("batch", 64, "batch size with --processes", lower_bound=1)
IMAGES = flags.DEFINE_integer("images", 200, "images per round", lower_bound=1)
CHIP = flags.DEFINE_float(
    "images_per_second_chip",
    140.0,
    "images per second that a chip trains on; the default is 40 % of the bfloat16 peak of a v5e, "
    "197e12 FLOP/s, divided by the 0.56e12 FLOP per image of configs/celeba.py at 256²",
    lower_bound=0.0,
)
for name in ("rounds", "output"):
    flags.declare_key_flag(name)


def main() -> None:
    """Measures and prints."""
    with at("--kinds"):
        check_kinds(KINDS.value)
    for crop in CROPS.value:
        if crop not in ("resize", "random", "zoom"):
            raise UserError("--crops", f"'{crop}' is none of resize, random, zoom")
    cv2.setNumThreads(0)
    ways = {}
    for spec in SOURCES.value:
        source = open_source(spec, "train", "--sources")
        if spec == "photos":  # kept decoded in memory otherwise
            source = FileSource([source.name(i) for i in range(len(source))])
        with at("--sources"):
            require_readable(source)
        ways |= {(spec, crop): parts(source, crop) for crop in CROPS.value}
    fed = {way: [] for way in ways}
    times = {way: {part: [] for part in ways[way]} for way in ways}
    for counted in range(measure.ROUNDS.value + 1):
        for way, programs in ways.items():
            for part, program in programs.items():
                times[way][part] += [milliseconds(program)] if counted else []
            if PROCESSES.value and counted:
                fed[way].append(batches_per_second(*way) * BATCH.value)
    rows = []
    for (spec, crop), parts_times in times.items():
        medians = {part: float(np.median(of_part)) for part, of_part in parts_times.items()}
        each = medians.pop("all")
        rest = each - sum(medians.values())
        row = {"source": spec.partition(":")[0], "crop": crop}
        row |= {f"{part} ms": value for part, value in medians.items()} | {"resize ms": rest}
        row |= {"images/s per core": 1000 / each, "cores per chip": CHIP.value * each / 1000}
        if PROCESSES.value:
            row["images/s of batches"] = float(np.median(fed[spec, crop]))
        rows.append(row)
    print(
        f"{measure.cpu_name()}, one core; {SIDE.value}², holes: {', '.join(KINDS.value)}; "
        f"a chip that takes {CHIP.value:g} images/s"
    )
    print(measure.table(rows))
    if measure.OUTPUT.value:
        common = {"op": "pipeline", "side": SIDE.value, "images_per_second_chip": CHIP.value}
        common |= {"device": measure.cpu_name(), "date": time.strftime("%Y-%m-%d")}
        with open(measure.OUTPUT.value, "a") as file:
            file.writelines(json.dumps(common | row) + "\n" for row in rows)


def parts(source: ImageSource, crop: str) -> dict[str, Callable[[int], object]]:
    """Returns the functions to time by name, each of an image's number; "all" does everything."""
    config = config_for(crop)
    recipe = examples.training_recipe(config)
    contents = [source.encoded(i) for i in chosen(len(source))]
    rng = np.random.default_rng(0)

    def hole(k: int) -> np.ndarray:
        kind = recipe.kinds[k % len(recipe.kinds)]
        return draw_hole(rng, kind, recipe.image_size, rng.uniform(*config.masks.curriculum[0][1:]))

    images = chosen(len(source))
    return {
        "read": lambda k: source.encoded(images[k]),
        "decode": lambda k: decode_image(contents[k], source.name),
        "hole": hole,
        "all": lambda k: examples.make_example(k, images[k], source, recipe),
    }


def config_for(crop: str) -> ml_collections.ConfigDict:
    """Returns the config that the flags describe."""
    config = configs.default()
    config.data.image_size = (SIDE.value, SIDE.value)
    config.data.crop = "random" if crop == "zoom" else crop
    if crop == "zoom":
        config.data.crop_scale, config.data.crop_distribution = (0.0, 1.0), "log"
        config.data.flip = True
    config.data.workers = PROCESSES.value
    config.train.batch_size = BATCH.value
    config.masks.kinds = tuple(KINDS.value)
    config.masks.curriculum = ((0, *map(float, RATIO.value)),)
    return config


def batches_per_second(spec: str, crop: str) -> float:
    """Returns the training batches per second that the workers make once they are running."""
    config = config_for(crop)
    config.data.train = spec
    batches = pipeline.training_batches(config)
    for _ in range(config.data.prefetch + PROCESSES.value):  # made during startup
        next(batches)
    count = max(1, 4 * IMAGES.value // BATCH.value)
    start = time.perf_counter()
    for _ in range(count):
        next(batches)
    seconds = time.perf_counter() - start
    batches.close()
    return count / seconds


def chosen(length: int) -> Sequence[int]:
    """Returns the indices of the images to use: evenly spaced, repeated if there are too few."""
    step = max(1, math.floor(length / IMAGES.value))
    return [k * step % length for k in range(IMAGES.value)]


def milliseconds(program: Callable[[int], object]) -> float:
    """Returns the mean CPU time per image."""
    start = time.process_time()
    for k in range(IMAGES.value):
        program(k)
    return (time.process_time() - start) / IMAGES.value * 1e3


if __name__ == "__main__":
    cli.run(main)
