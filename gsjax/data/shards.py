"""Makes ArrayRecord shards of a source's images, in several processes, and goes on after a kill.

The images are shuffled by a seed and dealt out to the shards, so that every shard is a fair
sample. Which image is in which shard follows from the settings alone. A shard is made whole
in the folder PROGRESS, moved to its place, and then has a note there; what has a note is
never made again. In the end the notes become the index.
"""

import contextlib
import dataclasses
import hashlib
import io
import json
import math
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
_PART = ".part"  # ends the names of shards that are being made
_GOES_ON = "what is finished stays, and the same command goes on from there"


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
    version: int = VERSION


def default_shards(images: int) -> int:
    """Returns a number of shards: 2,048 images each (80 MB at 256²), but some for few cores."""
    return max(math.ceil(images / 2048), min(16, math.ceil(images / 64)))


def make_shards(
    source: ImageSource, settings: Settings, output: str, workers: int, active: bool = True
) -> dict:
    """Makes the shards that are not there yet, and the index.

    Args:
      source: where the images come from.
      settings: see there.
      output: a folder, on the disk or with a scheme; it is made.
      workers: processes.
      active: whether to show a progress bar.

    Returns:
      The index: `settings`; `records` and `bytes` over all; `shards`, a list of `file`,
      `records`, `bytes`, `sha256`; `skipped`, a list of `name` and `reason`.

    Raises:
      UserError: the folder holds something else, cannot be written, or is being written by
        another process.
    """
    from gsjax.record import progress_bar  # only here: workers need none

    _check_folder(output, settings)
    with _writing(output):
        _write_json(output, f"{records.PROGRESS}/settings.json", dataclasses.asdict(settings))
    with _lock(output):
        _remove_parts(output)
        notes = _notes(output)
        left = [shard for shard in range(settings.shards) if shard not in notes]
        done = sum(note["records"] + len(note["skipped"]) for note in notes.values())
        with progress_bar(settings.images, done, "preparing", active, " images") as bar:
            for note in _in_processes(source, settings, output, left, workers, bar):
                notes[note["shard"]] = note
        notes = [notes[shard] for shard in range(settings.shards)]
        index = {
            "settings": dataclasses.asdict(settings),
            "records": sum(note["records"] for note in notes),
            "bytes": sum(note["bytes"] for note in notes),
            "shards": [{key: note[key] for key in note if key != "skipped"} for note in notes],
            "skipped": [skipped for note in notes for skipped in note["skipped"]],
        }
        with _writing(output):
            _write_json(output, records.INDEX, index)
            remote.remove_folder(remote.join(output, records.PROGRESS))
    return index


def shrink(data: bytes, settings: Settings) -> bytes:
    """Returns the content of an image file, reduced if its short side is longer than the size.

    It is never enlarged: smaller ones stay the same file.

    Raises:
      UnreadableImage: it cannot be decoded.
    """
    # Twice the size leaves enough for the filter below.
    image = decode_image(data, "", side=2 * settings.size)
    height, width = image.shape[:2]
    if not settings.size or min(height, width) <= settings.size:
        return data
    scale = settings.size / min(height, width)
    shape = round(width * scale), round(height * scale)
    image = Image.fromarray(image).resize(shape, Image.Resampling.LANCZOS)
    content = io.BytesIO()
    if settings.lossless:
        image.save(content, "PNG")
    else:
        image.save(content, "JPEG", quality=settings.quality, subsampling=0)  # color at full size
    return content.getvalue()


# The folder.


def _check_folder(output: str, settings: Settings) -> None:
    """Raises UserError unless the folder is new, empty, or of the same settings."""
    if not remote.is_remote(output) and os.path.exists(output) and not os.path.isdir(output):
        raise UserError(f"--output: '{output}' is a file, not a folder")
    made = (_read_json(output, records.INDEX) or {}).get("settings")
    made = made or _read_json(output, f"{records.PROGRESS}/settings.json")
    if made is None:
        names = sorted(remote.sizes(output))
        if names:
            raise UserError(
                f"--output: the folder '{output}' holds other files ({names[0]}, …); "
                "name a new or empty one"
            )
        return
    wanted = dataclasses.asdict(settings)
    changed = [
        f"{name} {made.get(name)!r}, now {value!r}"
        for name, value in wanted.items()
        if made.get(name) != value and name != "identity"
    ]
    if not changed and made["identity"] != wanted["identity"]:
        changed = ["other images of the same number or in another order"]
    if changed:
        raise UserError(
            f"--output: '{output}' was made with other settings: {'; '.join(changed)}.\n"
            "Name another folder, or give the same settings to go on."
        )


def _notes(output: str) -> dict[int, dict]:
    """Returns the notes of the shards that are there in full, by the number of the shard."""
    index = _read_json(output, records.INDEX)
    if index is not None:
        notes = [dict(note, skipped=[]) for note in index["shards"]]
        for skipped in index["skipped"]:
            notes[skipped["shard"]]["skipped"].append(skipped)
    else:
        folder = remote.join(output, records.PROGRESS)
        names = [name for name in remote.sizes(folder) if name.removesuffix(".json").isdigit()]
        notes = [_read_json(folder, name) for name in sorted(names)]
    found = remote.sizes(output)
    return {note["shard"]: note for note in notes if found.get(note["file"]) == note["bytes"]}


def _remove_parts(output: str) -> None:
    """Removes the shards that killed processes left half made."""
    if not remote.is_remote(output):
        for part in Path(output, records.PROGRESS).glob(f"*{_PART}"):
            part.unlink(missing_ok=True)


@contextlib.contextmanager
def _lock(output: str) -> Iterator[None]:
    """Keeps other processes of this machine off the folder. Buckets have no locks."""
    import filelock

    if remote.is_remote(output):
        yield
        return
    try:
        with filelock.FileLock(Path(output, records.PROGRESS, "lock"), timeout=0):
            yield
    except filelock.Timeout:
        raise UserError(f"--output: another process is writing '{output}'") from None


@contextlib.contextmanager
def _writing(path: str) -> Iterator[None]:
    """Turns what goes wrong with the disk or bucket into a UserError."""
    try:
        yield
    except Exception as e:  # ArrayRecord raises RuntimeError, buckets anything
        reason = getattr(e, "strerror", None) or str(e).partition(";")[0]
        raise UserError(f"--output: '{path}' cannot be written: {reason}; {_GOES_ON}") from e


def _read_json(folder: str, name: str):
    """Returns what a JSON file of ours holds; None if there is no such file."""
    path = remote.join(folder, name)
    try:
        return json.loads(remote.read(path))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as e:
        raise UserError(f"--output: '{path}' was not written by this command: {e}") from e


def _write_json(folder: str, name: str, value) -> None:
    path = remote.join(folder, name)
    if not remote.is_remote(path):
        os.makedirs(os.path.dirname(path), exist_ok=True)
    remote.write(path, json.dumps(value, indent=1, ensure_ascii=False).encode())


# The processes.


class _Worker(NamedTuple):
    """What all shards of a worker process share."""

    source: ImageSource
    settings: Settings
    output: str
    counter: object  # of images done by all workers
    stop: object  # an event: give up


_worker: _Worker | None = None


def _in_processes(source, settings, output, shards, workers, bar) -> Iterator[dict]:
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
                "a worker process was killed, perhaps for want of memory: give fewer --workers; "
                + _GOES_ON
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
        path = folder / f"{shard:05d}.{os.getpid()}{_PART}"
        stack.callback(path.unlink, missing_ok=True)
        skipped = []

        def contents() -> Iterator[bytes]:
            for index in order[shard :: settings.shards].tolist():
                if stop.is_set():
                    raise InterruptedError
                try:
                    content = shrink(source.encoded(index), settings)
                    yield records.pack(_short_name(source.name(index), settings.source), content)
                except UnreadableImage as e:
                    name = source.name(index)
                    skipped.append({"name": name, "reason": e.reason, "shard": shard})
                with counter.get_lock():
                    counter.value += 1

        written = _write_records(path, contents())
        note = {"shard": shard, "file": file, "records": written} | _digest(path)
        note["skipped"] = skipped
        with _writing(remote.join(output, file)):
            remote.move(path, remote.join(output, file))
            _write_json(output, f"{records.PROGRESS}/{shard:05d}.json", note)
    return note


def _write_records(path: Path, contents: Iterator[bytes]) -> int:
    """Writes an ArrayRecord file and makes sure that it is on the disk; returns its records."""
    from array_record.python.array_record_module import ArrayRecordWriter

    # One record a group, or reading one would decode its neighbors; images are compressed.
    writer = ArrayRecordWriter(str(path), "group_size:1,uncompressed")
    written = 0
    for content in contents:
        with _writing(str(path)):
            writer.write(content)
        written += 1
    with _writing(str(path)):
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


def _short_name(name: str, spec: str) -> str:
    """Returns the path of a file in its folder, or the name as it is."""
    scheme, _, folder = spec.partition(":")
    if scheme == "folder":
        return name.removeprefix(os.path.expanduser(folder).rstrip("/") + "/")
    return name
