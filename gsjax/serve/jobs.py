"""What is asked for, filled in the background: reading, painting and writing overlap.

A few threads read pictures and copy texture, one for each checkpoint paints, and a few write the
files. What is painted at the same time shares batches of crops.
"""

import contextlib
import dataclasses
import queue
import threading
from collections.abc import Iterator
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from absl import logging
from jaxtyping import Bool

from gsjax.errors import UserError
from gsjax.inpainting import pictures
from gsjax.inpainting.encode import encode
from gsjax.inpainting.exemplar import copy_deep
from gsjax.inpainting.metadata import Metadata
from gsjax.inpainting.opened import Opened, Options, check_output, encode_filled, open_picture
from gsjax.inpainting.painter import Inpainter, Task, check_sizes, default_batch_size

_THREADS = 2  # that read, and that write
_AT_WORK = 2**27  # pixels of the pictures between reading and writing; one may have more
SUFFIXES = {kind: suffix for suffix, kind in reversed(pictures.FORMATS.items())}


class Asked(NamedTuple):
    """What a client asks for.

    Attributes:
      image: the content of its file.
      mask: likewise; None: the image's alpha channel is the mask.
      avoid: likewise; None: texture may be copied from anywhere.
      options: see `Options`.
      checkpoint: the name of one that the server has.
      suffix: of the format of the answer; None: that of the image.
    """

    image: bytes
    mask: bytes | None
    avoid: bytes | None
    options: Options
    checkpoint: str
    suffix: str | None


class Filled(NamedTuple):
    """An answer: the content of the file, its format, and what there is to warn of."""

    content: bytes
    kind: str
    warnings: list[str]


class Canceled(Exception):
    """Nobody waits for this job any more."""


class Job:
    """One picture on its way.

    Attributes:
      asked: what is to be done.
      answer: a future of a `Filled`.
      state: "queued", "reading", "painting" or "writing".
      progress: crops that are painted, and all of them.
    """

    def __init__(self, asked: Asked):
        self.asked, self.state, self.progress = asked, "queued", (0, 0)
        self.answer: Future[Filled] = Future()
        self.opened: Opened | None = None
        self.hole: np.ndarray | None = None  # what is left for the network
        self.suffix, self.pixels = "", 0
        self._canceled = threading.Event()

    def cancel(self) -> None:
        """Has the job end at its next step."""
        self._canceled.set()

    def check(self) -> None:
        """Raises Canceled if it is."""
        if self._canceled.is_set():
            raise Canceled

    def note(self, done: int, total: int) -> None:
        """Notes how far painting is."""
        self.check()
        self.progress = (done, total)


class Room:
    """Bounds the pixels that are at work at a time, whatever the number of pictures."""

    def __init__(self, pixels: int):
        self._most, self._used, self._changed = pixels, 0, threading.Condition()

    def take(self, job: Job, pixels: int) -> None:
        """Waits until there is room for a picture; one is always let in."""
        with self._changed:
            while self._used and self._used + pixels > self._most:
                self._changed.wait(1)
                job.check()
            self._used += pixels
        job.pixels = pixels

    def leave(self, job: Job) -> None:
        """Gives back what a job has taken, if it has."""
        with self._changed:
            self._used, job.pixels = self._used - job.pixels, 0
            self._changed.notify_all()


class Jobs:
    """Fills what is submitted with one of several painters."""

    def __init__(self, painters: dict[str, Inpainter], batch_size: int | None = None):
        self._painters = painters
        self._batch_size = default_batch_size() if batch_size is None else batch_size
        self._room = Room(_AT_WORK)
        self._readers = ThreadPoolExecutor(_THREADS, "read")
        self._writers = ThreadPoolExecutor(_THREADS, "write")
        self._ready: dict[str, queue.SimpleQueue[Job | None]] = {}
        self._threads: list[threading.Thread] = []
        for name, painter in painters.items():
            self._ready[name] = queue.SimpleQueue()
            arguments = (painter, self._ready[name])
            thread = threading.Thread(target=self._paint, args=arguments, daemon=True)
            self._threads.append(thread)
            thread.start()

    def submit(self, asked: Asked) -> Job:
        """Starts a job as soon as its turn comes."""
        job = Job(asked)
        self._readers.submit(self._read, job)
        return job

    def preview(self, image: bytes, max_pixels: int) -> Future[bytes]:
        """Returns a PNG of 8 bits of a picture whose format a browser may not know."""
        return self._readers.submit(_preview, image, max_pixels)

    def close(self) -> None:
        """Finishes what has been submitted."""
        self._readers.shutdown()
        for ready in self._ready.values():
            ready.put(None)
        for thread in self._threads:
            thread.join()
        self._writers.shutdown()

    def warm_up(self) -> None:
        """Compiles what most pictures need, so that the first one does not wait for it."""
        for painter in self._painters.values():
            hole = np.zeros(painter.size, bool)
            hole[tuple(slice(side // 4, side // 2) for side in painter.size)] = True
            tasks = [
                (None, np.zeros((*hole.shape, 3), np.uint8), hole) for _ in range(self._batch_size)
            ]
            for _ in painter.paint(tasks, self._batch_size, deep="network"):
                pass

    def _release(self, job: Job) -> None:
        job.opened = job.hole = None
        self._room.leave(job)

    def _end(self, job: Job, error: BaseException) -> None:
        self._release(job)
        if not isinstance(error, Canceled | UserError):
            logging.error("a picture failed", exc_info=error)
        _set(job.answer.set_exception, error)

    def _read(self, job: Job) -> None:
        """Reads a picture and its masks, and copies the texture deep in its holes."""
        try:
            job.check()
            job.state = "reading"
            asked = job.asked
            picture = pictures.decode_picture(asked.image, "image", asked.options.max_pixels)
            self._room.take(job, picture.pixels.shape[0] * picture.pixels.shape[1])
            opened = _open(picture, asked)
            job.suffix = asked.suffix or SUFFIXES.get(picture.kind, ".png")
            job.opened = opened._replace(
                warnings=opened.warnings + check_output(opened, job.suffix)
            )
            image, hole, avoid = opened.prepared.image, opened.prepared.to_paint, opened.avoid
            if not hole.any():
                self._writers.submit(self._write, job, image)
                return
            if asked.options.deep == "exemplar":
                hole = hole & ~copy_deep(image, hole, avoid)
            job.check()
            job.state = "painting"
            job.hole = hole
            self._ready[asked.checkpoint].put(job)
        except BaseException as error:
            self._end(job, error)

    def _paint(self, painter: Inpainter, ready: "queue.SimpleQueue[Job | None]") -> None:
        """Paints what is ready, until there is None."""
        in_work: set[Job] = set()

        def tasks() -> Iterator[Task | None]:
            while True:
                try:
                    job = ready.get(block=not in_work)
                except queue.Empty:
                    yield None
                    continue
                if job is None:
                    return
                in_work.add(job)

                def failed(error: Exception, job: Job = job) -> None:
                    in_work.discard(job)
                    self._end(job, error)

                assert job.opened is not None  # `_read` has set both
                assert job.hole is not None
                yield Task(job, job.opened.prepared.image, job.hole, None, job.note, failed)

        while True:
            try:
                for job, image in painter.paint(tasks(), self._batch_size, deep="network"):
                    in_work.discard(job)
                    self._writers.submit(self._write, job, image)
                return
            except Exception as error:  # of a whole batch, such as one that finds no memory
                for job in in_work:
                    self._end(job, error)
                in_work.clear()

    def _write(self, job: Job, image: np.ndarray) -> None:
        try:
            job.check()
            job.state = "writing"
            asked, opened = job.asked, job.opened
            assert opened is not None
            content = encode_filled(opened, image, job.suffix, asked.options.quality)
            content = asked.image if content is None else content
            filled = Filled(content, pictures.FORMATS[job.suffix], opened.warnings)
            self._release(job)
            _set(job.answer.set_result, filled)
        except BaseException as error:
            self._end(job, error)


def _open(picture: pictures.Picture, asked: Asked) -> Opened:
    mask = None
    if asked.mask is not None:
        mask = ("mask", _mask(asked.mask, "mask", picture, asked.options, asked.options.invert))
    avoid = None
    if asked.avoid is not None:
        avoid = _mask(asked.avoid, "avoid", picture, asked.options, False)
    return open_picture(picture, mask, avoid, asked.options)


def _mask(
    content: bytes, name: str, picture: pictures.Picture, options: Options, invert: bool
) -> Bool[np.ndarray, "h w"]:
    mask = pictures.decode_mask(content, name, options.threshold, invert, options.max_pixels)
    check_sizes(picture.pixels.shape[:2], mask.shape, name)
    return mask


def _preview(image: bytes, max_pixels: int) -> bytes:
    picture = pictures.decode_picture(image, "image", max_pixels)
    alpha = None if picture.alpha is None else _with_8_bits(picture.alpha)
    bare = dataclasses.replace(picture, metadata=Metadata(icc=picture.metadata.icc))
    return encode(bare, _with_8_bits(picture.pixels), alpha, ".png")


def _with_8_bits(plane: np.ndarray) -> np.ndarray:
    return plane if plane.dtype == np.uint8 else np.rint(plane / 257).astype(np.uint8)


def _set(function, value) -> None:
    """Sets a future, unless whoever waited for it has given up."""
    with contextlib.suppress(InvalidStateError):
        function(value)
