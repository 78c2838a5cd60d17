"""Evaluates how well holes are filled, by a trained model and by baselines that need no training.

python -m gsjax.evaluate --checkpoint=runs/photos --data=folder:PHOTOS --output=RESULTS
python -m gsjax.evaluate --data=folder:PHOTOS --masks=MASKS --baselines=telea,mean

Every image is cropped to its central square and resized. Holes are drawn, the same in every run
with the same images, size and seed, or come from a folder of masks (anything but black is hole).
Prints a Markdown table; an output folder receives per_image.csv, summary.json, table.md and
worst.png.
"""

import os
from typing import Any

from absl import flags

from gsjax import cli
from gsjax.errors import UserError

CHECKPOINT = flags.DEFINE_string(
    "checkpoint",
    None,
    "a run's workdir, a checkpoint, a converted or packed folder, hf:OWNER/NAME[@REVISION], photos "
    "or photos-smooth; without it, only baselines are evaluated",
)
DATA = flags.DEFINE_string(
    "data", None, "the images: photos, folder:DIR, list:FILE, …", required=True
)
MASKS = flags.DEFINE_string(
    "masks",
    None,
    "a folder of masks, used instead of drawn holes: x.png or x_mask.png for x.jpg, or any names",
)
INVERT = flags.DEFINE_bool("invert", False, "masks are hole where they are black, as for MAT")
OUTPUT = flags.DEFINE_string(
    "output", None, "the folder to write; without it, only print the table"
)
DEEP = flags.DEFINE_list(
    "deep",
    None,
    "what fills deep holes, each as a separate method: network (the model alone) or exemplar "
    "(texture copied from the image); by default both",
)
BASELINES = flags.DEFINE_list(
    "baselines",
    None,
    "other methods, by default all: telea, navier_stokes, biharmonic, patchmatch, mean",
)
BANDS = flags.DEFINE_list(
    "bands",
    ["5-20", "20-40", "40-60", "center"],
    "ranges of the percentage of the image that is hole, or center: a square of half the side",
)
IMAGES = flags.DEFINE_integer("images", None, "use only this many first images", lower_bound=1)
SIZE = flags.DEFINE_integer("size", 256, "side that images are resized to, in pixels", 32, 2**13)
SEED = flags.DEFINE_integer("seed", 0, "of the drawn holes", 0, 2**32 - 1)
LPIPS = flags.DEFINE_string(
    "lpips",
    None,
    "alex, vgg or squeeze (downloaded once), a converted folder, a file, or none; by default alex, "
    "if available",
)
FID = flags.DEFINE_string(
    "fid",
    None,
    "inception (downloaded once), a converted folder, or none; by default inception, if available",
)
DINO = flags.DEFINE_string(
    "dino",
    None,
    "a name like dinov2_vits14 (downloaded once), a converted folder, a file, or none; by default "
    "dinov2_vits14, if available",
)


def main() -> None:
    """Checks, fills, measures, and prints the table."""
    if MASKS.value is not None and flags.FLAGS["bands"].present:
        raise UserError("--bands", "--masks already sets the holes", "give only one of the two")

    from gsjax.evaluation import report
    from gsjax.evaluation.measure import Settings, evaluate
    from gsjax.kernels.backends import (
        check_platform,  # only now: --help and mistyped flags need no JAX
    )

    check_platform()
    cli.enable_compilation_cache()
    paths: dict[str, Any] = {
        flag.name: flag.value and os.path.expanduser(flag.value)
        for flag in (CHECKPOINT, MASKS, OUTPUT, LPIPS, FID, DINO)
    }
    listed = (DATA, INVERT, DEEP, BASELINES, BANDS, IMAGES, SIZE, SEED)
    others: dict[str, Any] = {flag.name: flag.value for flag in listed}
    outcome = evaluate(Settings(**paths, **others))
    print(report.markdown(outcome), end="")
    if OUTPUT.value is not None:
        print(f"\nwrote {', '.join(report.FILES)} to {OUTPUT.value}")


if __name__ == "__main__":
    cli.run(main)
