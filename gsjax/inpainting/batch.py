"""Fills files: a single one, or a folder, whose failures are logged and skipped."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from absl import logging
from jaxtyping import Bool

from gsjax.errors import UserError, at
from gsjax.files import write_atomically
from gsjax.inpainting import pictures
from gsjax.inpainting.opened import Opened, Options, check_output, encode_filled, open_picture
from gsjax.inpainting.painter import Inpainter, Task, check_sizes
from gsjax.inpainting.pairing import Job, remove_leftovers
from gsjax.progress import progress_bar


class Summary(NamedTuple):
    """The outcome of filling a folder.

    Attributes:
      written: number of files written.
      skipped: number of files that existed already.
      failed: reasons by file.
    """

    written: int
    skipped: int
    failed: dict[str, str]


def fill_file(load: Callable[[], Inpainter], job: Job, options: Options) -> None:
    """Fills one file.

    Args:
      load: returns the inpainter; called only after the inputs have been checked.
      job: the file.
      options: for all files.

    Raises:
      UserError: an input is unusable, or the output exists or cannot be written.
    """
    if job.output.exists() and not options.overwrite:
        raise UserError("--output", f"{job.output} exists", "choose another, or give --overwrite")
    opened = _open(job, options)
    _check_output(job, opened, set())
    image, to_paint = opened.prepared.image, opened.prepared.to_paint
    if to_paint.any():
        remove_leftovers([job])
        with progress_bar(0, 0, "inpainting", unit=" crops") as bar:

            def show(done: int, total: int) -> None:
                bar.total = total
                bar.update(done - bar.n)

            task = Task(None, image, to_paint, opened.avoid, show)
            ((_, image),) = load().paint([task], options.batch_size, deep=options.deep)
    _write(job, opened, image, options)


def fill_folder(load: Callable[[], Inpainter], jobs: list[Job], options: Options) -> Summary:
    """Fills files, in batches across files; failures are logged and skipped.

    Existing outputs are skipped: files are written atomically, so they are complete.

    Args:
      load: returns the inpainter; called only if there is something to paint.
      jobs: the files.
      options: for all files.
    """
    failed: dict[str, str] = {}
    remove_leftovers(jobs)
    todo = [job for job in jobs if options.overwrite or not job.output.exists()]
    skipped, written = len(jobs) - len(todo), 0
    with progress_bar(len(jobs), skipped, "inpainting", unit=" images") as bar:

        def fail(job: Job, error: Exception) -> None:
            reason = str(error).removeprefix(f"{job.image}: ") or type(error).__name__
            failed[str(job.image)] = reason
            logging.error("%s: %s", job.image, reason)
            bar.update()

        def write(job: Job, opened: Opened, image: np.ndarray) -> int:
            try:
                _write(job, opened, image, options)
            except UserError as error:
                fail(job, error)
                return 0
            bar.update()
            return 1

        def tasks() -> Iterator[Task]:
            for job in todo:
                try:
                    if job.problem:
                        raise UserError(job.image, job.problem)
                    opened = _open(job, options)
                    _check_output(job, opened, logged)
                except UserError as error:
                    fail(job, error)
                    continue
                image, to_paint = opened.prepared.image, opened.prepared.to_paint
                if to_paint.any():
                    yield Task((job, opened), image, to_paint, opened.avoid)
                else:
                    unchanged.append(write(job, opened, image))

        unchanged: list[int] = []
        logged: set[str] = set()
        work = tasks()
        first = next(work, None)
        if first is not None:
            work = itertools.chain([first], work)
            for (job, opened), image in load().paint(work, options.batch_size, deep=options.deep):
                written += write(job, opened, image)
        written += sum(unchanged)
    return Summary(written, skipped, failed)


def _open(job: Job, options: Options) -> Opened:
    """Reads a picture and its masks, and logs their warnings."""
    picture = pictures.read_picture(job.image, options.max_pixels)
    mask = avoid = None
    if job.mask is not None:
        mask = (str(job.mask), _read_mask(job.mask, options, picture, options.invert))
    if job.avoid is not None:
        avoid = _read_mask(job.avoid, options, picture)
    opened = open_picture(picture, mask, avoid, options)
    for warning in opened.warnings:
        logging.warning("%s", warning)
    return opened


def _read_mask(
    path: Path, options: Options, picture: pictures.Picture, invert: bool = False
) -> Bool[np.ndarray, "h w"]:
    mask = pictures.read_mask(path, options.threshold, invert, options.max_pixels)
    with at(path):
        check_sizes(picture.pixels.shape[:2], mask.shape)
    return mask


def _check_output(job: Job, opened: Opened, logged: set[str]) -> None:
    """Checks before painting that the output can be written; logs each kind of loss once."""
    for warning in check_output(opened, job.output.suffix.lower()):
        if warning not in logged:
            logged.add(warning)
            logging.warning("%s: %s", job.output, warning)


def _write(job: Job, opened: Opened, image: np.ndarray, options: Options) -> None:
    content = encode_filled(opened, image, job.output.suffix.lower(), options.quality)
    try:
        job.output.parent.mkdir(parents=True, exist_ok=True)
        # If there is nothing to fill, copy the file.
        write_atomically(job.output, job.image.read_bytes() if content is None else content)
    except OSError as error:
        raise UserError(job.output, f"cannot write: {error.strerror or error}") from error
