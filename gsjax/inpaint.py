"""Fills holes in pictures of any size with a trained model.

python -m gsjax.inpaint --image=x.png --mask=x_mask.png --output=y.png
python -m gsjax.inpaint --checkpoint=runs/mine --image=PHOTOS --mask=MASKS --output=FILLED

A mask has the size of its picture and is not black where the picture should be filled. In folders,
the mask of x.jpg is x.png, x_mask.png or x_mask001.png; a single mask file applies to all pictures.
Without --mask, the transparent parts of the picture are filled. --extend=LEFT,TOP,RIGHT,BOTTOM adds
pixels and fills them, with or without a mask.

Known pixels are bit-identical (except in JPEG outputs and with --feather); size, alpha, color
profile and metadata are kept.

Running the same command again resumes a folder. Exit codes: 0 for success, 1 if some pictures of a
folder failed, 2 for a usage error.
"""

import os
import re
import sys
from pathlib import Path

from absl import flags

from gsjax import cli
from gsjax.errors import UserError
from gsjax.inpainting.ranges import RANGES

CHECKPOINT = flags.DEFINE_string(
    "checkpoint",
    "photos",
    "a run's workdir, a checkpoint, a converted or packed folder, hf:OWNER/NAME[@REVISION], or "
    "bundled weights: photos, which look best, or photos-smooth, with the highest PSNR",
)
IMAGE = flags.DEFINE_string("image", None, "the picture, or a folder of pictures", required=True)
MASK = flags.DEFINE_string(
    "mask", None, "its mask, or a folder of masks; without it, the alpha channel is the mask"
)
OUTPUT = flags.DEFINE_string("output", None, "the file, or the folder, to write", required=True)
FORMAT = flags.DEFINE_string(
    "format", None, "format of the outputs, if not that of the inputs: png, jpg, webp or tif"
)
THRESHOLD = flags.DEFINE_integer(
    "threshold",
    None,
    "0 to 254: masks are hole where they are brighter; by default 0, or 127 for lossy files, such "
    "as JPEG",
)
INVERT = flags.DEFINE_bool("invert", False, "masks are hole where they are black, as for MAT")
GROW = flags.DEFINE_float("grow", 0, "pixels by which to enlarge holes before filling")
FEATHER = flags.DEFINE_float(
    "feather", 0, "pixels around holes over which the fill blends in; these known pixels change"
)
EXTEND = flags.DEFINE_list(
    "extend",
    None,
    "LEFT,TOP,RIGHT,BOTTOM: pixels to add on each side and to fill; the mask and --avoid have the "
    "size of the picture, and are not needed",
)
MAX_PIXELS = flags.DEFINE_integer(
    "max_pixels", None, "refuse larger pictures; by default 268,435,456", lower_bound=1
)
QUALITY = flags.DEFINE_integer(
    "quality", None, "1 to 100, of JPEG outputs; by default that of the input, else 95"
)
BATCH_SIZE = flags.DEFINE_integer(
    "batch_size", None, "crops painted at a time; by default 8, or 1 on a CPU"
)
DEEP = flags.DEFINE_enum(
    "deep",
    "exemplar",
    ["exemplar", "network"],
    "what fills holes deeper than 20 pixels: texture copied from the picture, or the network",
)
AVOID = flags.DEFINE_string(
    "avoid",
    None,
    "a mask of what must not be copied, such as a second, similar object; for a folder of "
    "pictures, one mask for all, or a folder of masks",
)
SHARD = flags.DEFINE_string(
    "shard", None, "I/N: fill only part I of N of a folder, from 0; by default that of the process"
)
OVERWRITE = flags.DEFINE_bool("overwrite", False, "replace existing outputs")


def main() -> None:
    """Checks the inputs, loads the model, fills, and prints a summary."""
    suffix, shard = _check_flags()
    image, output = (Path(flag.value).expanduser() for flag in (IMAGE, OUTPUT))
    mask = Path(MASK.value).expanduser() if MASK.value is not None else None
    if not image.exists():
        raise UserError(f"--image: {image}", "it does not exist")

    from gsjax.inpainting import pairing  # imported here, since --help needs no decoders

    if image.is_dir():
        jobs = pairing.folder_jobs(image, mask, output, suffix)
    else:
        jobs = [pairing.single_job(image, mask, output, suffix)]
        if shard:
            raise UserError("--shard", "one image cannot be split", "it is for a folder")
    _check_writable(output)
    if AVOID.value is not None:
        jobs = pairing.add_avoid_masks(jobs, image, Path(AVOID.value).expanduser())
    checkpoint = os.path.expanduser(CHECKPOINT.value)

    from gsjax.inpainting import batch, extend, opened
    from gsjax.inpainting.exemplar import check_deep
    from gsjax.inpainting.painter import Inpainter
    from gsjax.kernels.backends import check_platform  # JAX from here on
    from gsjax.trained.place import check_path

    check_path(checkpoint)
    check_platform()
    cli.enable_compilation_cache()
    options = opened.Options(
        THRESHOLD.value, QUALITY.value, BATCH_SIZE.value, OVERWRITE.value, check_deep(DEEP.value),
        INVERT.value, GROW.value, FEATHER.value, MAX_PIXELS.value or opened.MAX_PIXELS,
        extend.check_extend(_widths(), "--extend"),
    )  # fmt: skip

    def load() -> Inpainter:
        return Inpainter.load(checkpoint)

    if not image.is_dir():
        batch.fill_file(load, jobs[0], options)
        print(f"wrote {jobs[0].output}")
        return
    if shard is None:
        import jax

        shard = (jax.process_index(), jax.process_count())
    if shard[0] == 0:
        _warn_of_unused_files(image, mask, jobs)
    summary = batch.fill_folder(load, jobs[shard[0] :: shard[1]], options)
    skipped = f", {summary.skipped} existed already" if summary.skipped else ""
    failed = f", {len(summary.failed)} failed" if summary.failed else ""
    print(f"{output}: {summary.written} written{skipped}{failed}")
    if summary.failed:
        for file, reason in summary.failed.items():
            print(f"failed: {file}: {reason}", file=sys.stderr)
        sys.exit(1)


def _check_flags() -> tuple[str | None, tuple[int, int] | None]:
    """Returns the suffix of outputs and the shard, or None for each that is not given."""
    for flag in (CHECKPOINT, IMAGE, OUTPUT, MASK, AVOID):
        if flag.value is not None and not flag.value.strip():
            raise UserError(f"--{flag.name}", "it is empty", "name a file or a folder")
    suffix = None
    if FORMAT.value is not None:
        suffix = "." + FORMAT.value.lower().removeprefix(".")
        if suffix not in (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff"):
            raise UserError("--format", f"{FORMAT.value!r} is not one of png, jpg, webp, tif")
    numbers: tuple[flags.FlagHolder, ...] = (THRESHOLD, QUALITY, BATCH_SIZE, GROW, FEATHER)
    for number in numbers:
        low, high = RANGES.get(number.name, (1, 4096))
        if number.value is not None and not low <= number.value <= high:
            raise UserError(f"--{number.name}", f"{number.value} is not from {low} to {high}")
    if SHARD.value is None:
        return suffix, None
    match = re.fullmatch(r"(\d+)/(\d+)", SHARD.value)
    if not match or not int(match[1]) < int(match[2]):
        raise UserError("--shard", f"{SHARD.value!r} is not I/N with I from 0 to N-1, such as 0/4")
    return suffix, (int(match[1]), int(match[2]))


def _widths() -> list | None:
    """Returns the values of --extend as whole numbers, where they are."""
    if EXTEND.value is None:
        return None
    return [int(width) if re.fullmatch(r"\d{1,9}", width) else width for width in EXTEND.value]


def _check_writable(output: Path) -> None:
    folder = output
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if folder.is_file() and folder != output:
        raise UserError("--output", f"{output} is below {folder}, which is a file")
    if not os.access(folder, os.W_OK):
        raise UserError("--output", f"{output} cannot be written: {folder} is read-only")


def _warn_of_unused_files(image: Path, mask: Path | None, jobs: list) -> None:
    """Warns of files in the folders that are not used."""
    from absl import logging

    from gsjax.data.sources import unlisted_files
    from gsjax.inpainting import pairing

    if unread := unlisted_files(image):
        logging.warning("--image: %s", unread)
    if mask is not None and mask.is_dir() and (masks := pairing.unmatched_masks(jobs, mask)):
        logging.warning("--mask: %d masks are no image's, the first %s", len(masks), masks[0])


if __name__ == "__main__":
    cli.run(main)
