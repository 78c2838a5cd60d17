"""Filling files: one, or a folder whose failures are told and passed over."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from absl import logging
from jaxtyping import Bool

from gsjax.data.mask_files import odd_hole
from gsjax.data.reader import MAX_PIXELS
from gsjax.errors import UserError
from gsjax.files import write_atomically
from gsjax.inpainting import pictures
from gsjax.inpainting.borders import Prepared, finish, prepare
from gsjax.inpainting.encode import check_alpha, encode, lossy_warning, metadata_warning
from gsjax.inpainting.exemplar import Deep
from gsjax.inpainting.painter import Inpainter, Task, check_sizes
from gsjax.inpainting.pairing import Job, remove_leftovers
from gsjax.progress import progress_bar


class Options(NamedTuple):
    """What holds for all files of a run; see the flags of gsjax.inpaint."""

    threshold: int | None = None
    quality: int | None = None
    batch_size: int | None = None
    overwrite: bool = False
    deep: Deep = "exemplar"
    invert: bool = False
    grow: float = 0
    feather: float = 0
    max_pixels: int = MAX_PIXELS


class Summary(NamedTuple):
    """How a run over a folder went.

    Attributes:
      painted: files written.
      skipped: files that were there already.
      failed: reasons by file.
    """

    painted: int
    skipped: int
    failed: dict[str, str]


class _Opened(NamedTuple):
    job: Job
    picture: pictures.Picture
    prepared: Prepared
    alpha: np.ndarray | None
    avoid: Bool[np.ndarray, "h w"] | None


def run_one(load: Callable[[], Inpainter], job: Job, options: Options) -> None:
    """Fills one file.

    Args:
      load: called once the inputs are known to be good.
      job: the file.
      options: for all files.

    Raises:
      UserError: an input cannot be used, or the output exists or cannot be written.
    """
    if job.output.exists() and not options.overwrite:
        raise UserError(f"--output: {job.output} exists; choose another, or give --overwrite")
    opened = _open(job, options)
    _check_output(opened, set())
    image, painted = opened.prepared.image, opened.prepared.painted
    if painted.any():
        remove_leftovers([job])
        task = Task(None, image, painted, opened.avoid)
        with progress_bar(0, 0, "inpainting", unit=" crops") as bar:

            def show(done: int, total: int) -> None:
                bar.total = total
                bar.update(done - bar.n)

            told = {"deep": options.deep, "progress": show}
            ((_, image),) = load().paint([task], options.batch_size, **told)
    _write(opened, image, options)


def run_folder(load: Callable[[], Inpainter], jobs: list[Job], options: Options) -> Summary:
    """Fills files, batch by batch over all of them; what fails is reported and passed over.

    Outputs that are there are not made again: they are whole, since files are written whole
    or not at all.

    Args:
      load: called once something is to be painted.
      jobs: the files.
      options: for all of them.
    """
    failed: dict[str, str] = {}
    remove_leftovers(jobs)
    todo = [job for job in jobs if options.overwrite or not job.output.exists()]
    skipped, painted = len(jobs) - len(todo), 0
    with progress_bar(len(jobs), skipped, "inpainting", unit=" images") as bar:

        def fail(job: Job, error: Exception) -> None:
            reason = str(error).removeprefix(f"{job.image}: ") or type(error).__name__
            failed[str(job.image)] = reason
            logging.error("%s: %s", job.image, reason)
            bar.update()

        def write(opened: _Opened, image: np.ndarray) -> int:
            try:
                _write(opened, image, options)
            except UserError as error:
                fail(opened.job, error)
                return 0
            bar.update()
            return 1

        def to_paint() -> Iterator[tuple]:
            for job in todo:
                try:
                    if job.problem:
                        raise UserError(job.problem)
                    opened = _open(job, options)
                    _check_output(opened, told)
                except UserError as error:
                    fail(job, error)
                    continue
                image, painted = opened.prepared.image, opened.prepared.painted
                if painted.any():
                    yield Task(opened, image, painted, opened.avoid)
                else:
                    unchanged.append(write(opened, image))

        unchanged: list[int] = []
        told: set[str] = set()
        work = to_paint()
        first = next(work, None)
        if first is not None:
            tasks = itertools.chain([first], work)
            for opened, image in load().paint(tasks, options.batch_size, deep=options.deep):
                painted += write(opened, image)
        painted += sum(unchanged)
    return Summary(painted, skipped, failed)


def _open(job: Job, options: Options) -> _Opened:
    """Reads a picture and its mask, and warns of what is odd about them."""
    picture = pictures.read_picture(job.image, options.max_pixels)
    alpha = picture.alpha
    visible = None if alpha is None else alpha > 0
    if job.mask is not None:
        hole = _read_mask(job.mask, options, picture, options.invert)
        what = str(job.mask)
    else:
        if alpha is None:
            raise UserError(f"{job.image}: it has no alpha channel to be its mask; give a --mask")
        top = np.iinfo(alpha.dtype).max
        hole = ((top - alpha) > (options.threshold or 0) * (top // 255)) ^ options.invert
        what = f"{job.image}, its alpha channel"
        alpha = np.where(hole, np.array(top, alpha.dtype), alpha)
        if (alpha == top).all():
            alpha = None
    avoid = None
    if job.avoid is not None:
        avoid = _read_mask(job.avoid, options, picture)
    prepared = prepare(picture.pixels, hole, visible, options.grow, options.feather)
    if warning := odd_hole(prepared.hole):
        if job.mask is not None and hole.all():
            warning += ". If its black is not quite black, raise --threshold above it"
        logging.warning("%s: %s", what, warning)
    for warning in picture.warnings:
        logging.warning("%s: %s", job.image, warning)
    return _Opened(job, picture, prepared, alpha, prepared.avoided(avoid))


def _read_mask(
    path: Path, options: Options, picture: pictures.Picture, invert: bool = False
) -> Bool[np.ndarray, "h w"]:
    mask = pictures.read_mask(path, options.threshold, invert, options.max_pixels)
    try:
        check_sizes(picture.pixels.shape[:2], mask.shape)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return mask


def _check_output(opened: _Opened, told: set[str]) -> None:
    """Refuses before painting what could not be written after it; warns once of what is lost."""
    suffix = opened.job.output.suffix.lower()
    if opened.alpha is not None:
        check_alpha(opened.picture, suffix)
    warnings = [metadata_warning(opened.picture, suffix)]
    if opened.prepared.painted.any():
        warnings.append(lossy_warning(opened.picture, suffix))
    for warning in warnings:
        if warning and warning not in told:
            told.add(warning)
            logging.warning("%s: %s", opened.job.output, warning)


def _write(opened: _Opened, image: np.ndarray, options: Options) -> None:
    job, picture = opened.job, opened.picture
    suffix = job.output.suffix.lower()
    same_kind = pictures.FORMATS[suffix] == picture.kind and options.quality is None
    try:
        job.output.parent.mkdir(parents=True, exist_ok=True)
        if same_kind and not opened.prepared.painted.any() and not picture.turned:
            content = job.image.read_bytes()  # nothing to fill: the file as it is
        else:
            image = finish(opened.prepared, image)
            content = encode(picture, image, opened.alpha, suffix, options.quality)
        write_atomically(job.output, content)
    except OSError as error:
        raise UserError(f"{job.output}: cannot write: {error.strerror or error}") from error
