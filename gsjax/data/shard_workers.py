"""The processes that make shards: images reduced and written, one shard after the other."""

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
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from gsjax.data import records, remote
from gsjax.data.images import ImageSource, UnreadableImage, decode_image
from gsjax.errors import UserError

VERSION = 1  # of the index
PART = ".part"  # ends the names of shards that are being made
RESUMES = "what is finished stays, and the same command resumes there"


@dataclasses.dataclass(frozen=True)
class Settings:
    """What decides which bytes the shards hold.

    Attributes:
      source: the spec of the source.
      identity: of the source, see `ImageSource.identity`.
      images: how many it has.
      size: pixels that an image's short side is reduced to; 0: none is reduced.
      quality: of the JPEGs that reduced images become.
      lossless: whether they become PNGs instead.
      reencode: whether images that are not reduced become JPEGs (or PNGs) too, if they are none.
      seed: of the order of the images.
      shards: how many files.
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
    """What all shards of a worker process share."""

    source: ImageSource
    settings: Settings
    output: str
    counter: object  # of images done by all workers
    stop: object  # an event: give up


_worker: _Worker | None = None


def make_shards_in_processes(source, settings, output, shards, workers, bar) -> Iterator[dict]:
    """Yields the notes of these shards as they are made."""
    if not shards:
        return
    # Forked processes would share the locks of whatever threads the libraries have.
    context = get_context("spawn")
    worker = _Worker(source, settings, output, context.Value("q", 0), context.Event())
    pool = ProcessPoolExecutor(min(workers, len(shards)), context, _start, (worker,))
    with pool:
        try:
            pending = {pool.submit(_make_shard, shard) for shard in shards}
            while pending:
                finished, pending = wait(pending, 0.5, FIRST_COMPLETED)
                bar.update(bar.initial + worker.counter.value - bar.n)
                for future in finished:
                    yield future.result()
        except BrokenProcessPool as e:
            raise UserError(
                "a worker process was killed, perhaps for lack of memory: give fewer --workers; "
                + RESUMES
            ) from e
        finally:
            worker.stop.set()
            pool.shutdown(cancel_futures=True)


def _start(worker: _Worker) -> None:
    global _worker
    _worker = worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process tells us to stop

    def end_with_parent():
        parent_process().join()
        os._exit(1)  # it was killed; nobody else would end this process

    threading.Thread(target=end_with_parent, daemon=True).start()


def _make_shard(shard: int) -> dict:
    """Makes one shard; returns its note."""
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
    """Writes an ArrayRecord file and makes sure that it is on the disk; returns its records."""
    from array_record.python.array_record_module import ArrayRecordWriter

    # One record a group, or reading one would decode its neighbors; images are compressed.
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
    """Returns the content of an image file, reduced if its short side is longer than the size.

    It is never enlarged: smaller ones stay the same file, but for those to be encoded anew.

    Raises:
      UnreadableImage: it cannot be decoded.
    """
    # Twice the size leaves enough for the filter below.
    image = decode_image(data, "", side=2 * settings.size)
    height, width = image.shape[:2]
    large = 0 < settings.size < min(height, width)
    start = b"\x89PNG" if settings.lossless else b"\xff\xd8"
    if not large and (data.startswith(start) or not settings.reencode):
        return data
    image = Image.fromarray(image)
    if large:
        scale = settings.size / min(height, width)
        shape = round(width * scale), round(height * scale)
        image = image.resize(shape, Image.Resampling.LANCZOS)
    content = io.BytesIO()
    if settings.lossless:
        image.save(content, "PNG")
    else:
        image.save(content, "JPEG", quality=settings.quality, subsampling=0)  # color at full size
    return content.getvalue()


@contextlib.contextmanager
def writing(path: str) -> Iterator[None]:
    """Turns what goes wrong with the disk or bucket into a UserError."""
    try:
        yield
    except UserError:
        raise
    except Exception as e:  # ArrayRecord raises RuntimeError, buckets anything
        reason = getattr(e, "strerror", None) or str(e).partition(";")[0]
        raise UserError(f"--output: '{path}' cannot be written: {reason}; {RESUMES}") from e


def write_json(folder: str, name: str, value) -> None:
    """Puts a value at a path in a folder, as JSON."""
    path = remote.join(folder, name)
    if not remote.is_remote(path):
        os.makedirs(os.path.dirname(path), exist_ok=True)
    remote.write(path, json.dumps(value, indent=1, ensure_ascii=False).encode())
