"""Makes ArrayRecord shards of a source's images in several processes; resumes after a kill.

The images are shuffled with a seed and dealt out to the shards, so that every shard is a fair
sample. The settings alone determine which image goes to which shard. A finished shard is moved out
of the folder PROGRESS, which then gets a note about it; a shard with a note is never made again. In
the end, the notes become the index.
"""

import contextlib
import dataclasses
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path

from gsjax.data import records, remote
from gsjax.data.images import ImageSource
from gsjax.data.shard_workers import PART, Settings, make_shards_in_processes, write_json, writing
from gsjax.errors import UserError, first_line


def default_shards(images: int) -> int:
    """Returns the number of shards: 4,096 images each (about 200 MB at 256²), or fewer."""
    return max(math.ceil(images / 4096), min(16, math.ceil(images / 64)))


def make_shards(
    source: ImageSource, settings: Settings, output: str, workers: int, active: bool = True
) -> dict:
    """Makes the missing shards, and the index.

    Args:
      source: of the images.
      settings: see `Settings`.
      output: a folder, local or remote; it is created.
      workers: number of processes.
      active: whether to show a progress bar.

    Returns:
      The index: `settings`; `records` and `bytes` over all; `shards`, a list of `file`,
      `records`, `bytes`, `sha256`; `skipped`, a list of `name` and `reason`.

    Raises:
      UserError: the folder has other contents, cannot be written, or is being written by another
        process.
    """
    from gsjax.progress import progress_bar  # only here: workers need none

    with writing(output):
        _check_folder(output, settings)
        write_json(output, f"{records.PROGRESS}/settings.json", dataclasses.asdict(settings))
    with _lock(output):
        _remove_parts(output)
        notes = _notes(output)
        left = [shard for shard in range(settings.shards) if shard not in notes]
        done = sum(note["records"] + len(note["skipped"]) for note in notes.values())
        with progress_bar(settings.images, done, "preparing", active, " images") as bar:
            for note in make_shards_in_processes(source, settings, output, left, workers, bar):
                notes[note["shard"]] = note
        ordered = [notes[shard] for shard in range(settings.shards)]
        index = {
            "settings": dataclasses.asdict(settings),
            "records": sum(note["records"] for note in ordered),
            "bytes": sum(note["bytes"] for note in ordered),
            "shards": [{key: note[key] for key in note if key != "skipped"} for note in ordered],
            "skipped": [skipped for note in ordered for skipped in note["skipped"]],
        }
        with writing(output):
            write_json(output, records.INDEX, index)
            remote.remove_folder(remote.join(output, records.PROGRESS))
    return index


def _check_folder(output: str, settings: Settings) -> None:
    """Raises UserError unless the folder is new, empty, or was made with the same settings."""
    if not remote.is_remote(output) and os.path.exists(output) and not os.path.isdir(output):
        raise UserError("--output", f"'{output}' is a file, not a folder")
    index = _read_json(output, records.INDEX)
    made = _read_json(output, f"{records.PROGRESS}/settings.json")
    if index is not None:
        made = index.get("settings") if isinstance(index, dict) else index
        if not isinstance(made, dict) or "identity" not in made:
            path = remote.join(output, records.INDEX)
            raise UserError("--output", f"'{path}' was not written by this command")
    if made is None:
        names = sorted(remote.sizes(output))
        if names:
            raise UserError(
                "--output",
                f"the folder '{output}' holds other files ({names[0]}, …)",
                "name a new or empty one",
            )
        return
    wanted = dataclasses.asdict(settings)
    made = {"reencode": False} | made  # missing in older versions
    changed = [
        f"{name} {made.get(name)!r}, now {value!r}"
        for name, value in wanted.items()
        if made.get(name) != value and name != "identity"
    ]
    if not changed and made["identity"] != wanted["identity"]:
        changed = ["other images of the same number or in another order"]
    if changed:
        raise UserError(
            "--output",
            f"'{output}' was made with other settings: {'; '.join(changed)}.",
            "\nName another folder, or give the same settings to resume.",
        )


def _notes(output: str) -> dict[int, dict]:
    """Returns the notes of complete shards, by the number of the shard.

    Raises:
      UserError: the notes were not written by `prepare`.
    """
    try:
        return _notes_in(output)
    except (AttributeError, IndexError, KeyError, TypeError):
        raise UserError(
            "--output",
            f"the notes in '{output}' were not written by this command",
            "choose another",
        ) from None


def _notes_in(output: str) -> dict[int, dict]:
    index = _read_json(output, records.INDEX)
    if index is not None:
        notes = [dict(note, skipped=[]) for note in index["shards"]]
        for skipped in index["skipped"]:
            notes[skipped["shard"]]["skipped"].append(skipped)
    else:
        folder = remote.join(output, records.PROGRESS)
        names = [name for name in remote.sizes(folder) if name.removesuffix(".json").isdigit()]
        notes = [_read_json(folder, name) for name in sorted(names)]
    sizes = remote.sizes(output)
    return {note["shard"]: note for note in notes if sizes.get(note["file"]) == note["bytes"]}


def _remove_parts(output: str) -> None:
    """Removes unfinished shards of killed processes."""
    if not remote.is_remote(output):
        for part in Path(output, records.PROGRESS).glob(f"*{PART}"):
            part.unlink(missing_ok=True)


@contextlib.contextmanager
def _lock(output: str) -> Iterator[None]:
    """Locks a local folder against other processes of this machine; buckets have no locks."""
    import filelock

    if remote.is_remote(output):
        yield
        return
    try:
        with filelock.FileLock(Path(output, records.PROGRESS, "lock"), timeout=0):
            yield
    except filelock.Timeout:
        raise UserError("--output", f"another process is writing '{output}'") from None


def _read_json(folder: str, name: str):
    """Returns the contents of a JSON file, or None if there is no such file."""
    path = remote.join(folder, name)
    try:
        return json.loads(remote.read(path))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, RecursionError) as e:
        reason = first_line(e)
        raise UserError("--output", f"'{path}' was not written by this command: {reason}") from e
