"""The worker processes that make shards: they shrink and write images, one shard at a time."""

import contextlib
import dataclasses
import hashlib
import io
import json
import os
import signal
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from gsjax.data import records, remote
from gsjax.data.images import ImageSource, UnreadableImage, decode_image
from gsjax.errors import UserError

VERSION = 1  # of the index
PART = ".part"  # suffix of unfinished shards
RESUMES = "what is finished stays, and the same command resumes there"


@dataclasses.dataclass(frozen=True)
class Settings:
    """The settings that determine the bytes of the shards.

    Attributes:
      source: the spec of the source.
      identity: of the source, see `ImageSource.identity`.
      images: number of images in the source.
      size: the short side of larger images is reduced to this many pixels; 0 to reduce none.
      quality: of the JPEGs made from reduced images.
      lossless: whether reduced images become PNGs instead.
      reencode: whether images that are not reduced become JPEGs (or PNGs), too.
      seed: of the order of the images.
      shards: number of files.
    """

    source: str
    identity: str
    images: int
    size: int = 256
    quality: int = 95
    lossless: bool = False
    seed: int = 0
    shards: int = 1
    reencode: bool = False
    version: int = VERSION


class _Worker(NamedTuple):
    """The state of a worker process."""

    source: ImageSource
    settings: Settings
    output: str
    counter: Synchronized  # number of images done by all workers
    stop: Event  # makes workers stop


_worker: _Worker | None = None


def make_shards_in_processes(source, settings, output, shards, workers, bar) -> Iterator[dict]:
    """Makes shards, and yields the note of each when it is done."""
    if not shards:
        return
    # Forked processes would inherit locks held by threads of the libraries.
    context = get_context("spawn")
    worker = _Worker(source, settings, output, context.Value("q", 0), context.Event())
    pool = ProcessPoolExecutor(min(workers, len(shards)), context, _start, (worker,))
    with pool:
        try:
            with _without_interrupts():
                pending = {pool.submit(_make_shard, shard) for shard in shards}
            while pending:
                finished, pending = wait(pending, 0.5, FIRST_COMPLETED)
                bar.update(bar.initial + worker.counter.value - bar.n)
                for future in finished:
                    yield future.result()
        except BrokenProcessPool as e:
            raise UserError(
                "--workers",
                "a worker process was killed, perhaps for lack of memory",
                f"use fewer; {RESUMES}",
            ) from e
        finally:
            worker.stop.set()
            pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _without_interrupts() -> Iterator[None]:
    """Hides Ctrl-C from processes that are started in the block; their parent stops them.

    The parent itself handles Ctrl-C after the block: a process whose start is interrupted finds
    half of what it was sent. The mask alone would not do, since another thread can receive it.
    """
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    received: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, frame: received.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if received:
            signal.raise_signal(signal.SIGINT)


def _start(worker: _Worker) -> None:
    global _worker
    _worker = worker

    def exit_with_parent():
        if (parent := parent_process()) is not None:
            parent.join()
        os._exit(1)  # the parent was killed, and nothing else would end this process

    threading.Thread(target=exit_with_parent, daemon=True).start()


def _make_shard(shard: int) -> dict:
    """Makes one shard and returns its note."""
    assert _worker is not None  # `_start` has been called
    source, settings, output, counter, stop = _worker
    order = np.random.default_rng(settings.seed).permutation(settings.images)
    file = f"images-{shard:05d}-of-{settings.shards:05d}{records.SUFFIX}"
    with contextlib.ExitStack() as stack:
        if remote.is_remote(output):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        else:
            folder = Path(output, records.PROGRESS)
        path = folder / f"{shard:05d}.{os.getpid()}{PART}"
        stack.callback(path.unlink, missing_ok=True)
        skipped = []

        def contents() -> Iterator[bytes]:
            for index in order[shard :: settings.shards].tolist():
                if stop.is_set():
                    raise InterruptedError
                try:
                    content = shrink(source.encoded(index), settings)
                    yield records.pack(source.short_name(index), content)
                except UnreadableImage as e:
                    name = source.name(index)
                    skipped.append({"name": name, "reason": e.reason, "shard": shard})
                with counter.get_lock():
                    counter.value += 1

        written = _write_records(path, contents())
        note = {"shard": shard, "file": file, "records": written} | _digest(path)
        note["skipped"] = skipped
        with writing(remote.join(output, file)):
            remote.move(path, remote.join(output, file))
            write_json(output, f"{records.PROGRESS}/{shard:05d}.json", note)
    return note


def _write_records(path: Path, contents: Iterator[bytes]) -> int:
    """Writes an ArrayRecord file, syncs it to disk, and returns its number of records."""
    from array_record.python.array_record_module import ArrayRecordWriter

    # One record per group: otherwise, reading one would decode its neighbors. Uncompressed, since
    # images are compressed already.
    writer = ArrayRecordWriter(str(path), "group_size:1,uncompressed")
    written = 0
    for content in contents:
        with writing(str(path)):
            writer.write(content)
        written += 1
    with writing(str(path)):
        writer.close()
        with open(path, "rb+") as file:
            os.fsync(file.fileno())
        if records.count(str(path)) != written:
            raise OSError("it does not hold what was written")
    return written


def _digest(path: Path) -> dict:
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": path.stat().st_size, "sha256": digest}


def shrink(data: bytes, settings: Settings) -> bytes:
    """Returns the content of an image file, shrunk if its short side is longer than the size.

    Images are never enlarged. Smaller ones are returned unchanged, or reencoded with `reencode`.

    Raises:
      UnreadableImage: it cannot be decoded.
    """
    # Decoding at twice the size leaves enough for the filter below.
    pixels = decode_image(data, "", side=2 * settings.size)
    height, width = pixels.shape[:2]
    large = 0 < settings.size < min(height, width)
    start = b"\x89PNG" if settings.lossless else b"\xff\xd8"
    if not large and (data.startswith(start) or not settings.reencode):
        return data
    image = Image.fromarray(pixels)
    if large:
        scale = settings.size / min(height, width)
        shape = round(width * scale), round(height * scale)
        image = image.resize(shape, Image.Resampling.LANCZOS)
    content = io.BytesIO()
    if settings.lossless:
        image.save(content, "PNG")
    else:
        image.save(content, "JPEG", quality=settings.quality, subsampling=0)
    return content.getvalue()


@contextlib.contextmanager
def writing(path: str) -> Iterator[None]:
    """Turns errors of the disk or bucket into UserErrors."""
    try:
        yield
    except UserError:
        raise
    except Exception as e:  # ArrayRecord raises RuntimeError, and buckets anything
        reason = getattr(e, "strerror", None) or str(e).partition(";")[0]
        raise UserError("--output", f"'{path}' cannot be written: {reason}", RESUMES) from e


def write_json(folder: str, name: str, value) -> None:
    """Writes a value as JSON to a path in a folder."""
    path = remote.join(folder, name)
    if not remote.is_remote(path):
        os.makedirs(os.path.dirname(path), exist_ok=True)
    remote.write(path, json.dumps(value, indent=1, ensure_ascii=False).encode())
