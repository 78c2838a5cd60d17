"""Writes files atomically, and reads only regular ones of limited size."""

import contextlib
import errno
import itertools
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from gsjax.errors import UserError


def write_atomically(path: str | os.PathLike, content: bytes) -> None:
    """Writes a file, or leaves the previous one unchanged.

    Raises:
      OSError: the folder is missing, full or read-only. No temporary file remains.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            # Otherwise a power cut may keep the new name and lose the content.
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def read_regular(path: str | os.PathLike, most: int | None = None) -> bytes:
    """Returns the content of a regular file, and refuses a FIFO or device, which may never end.

    Args:
      path: of the file.
      most: the maximum size in bytes, or None for no limit.

    Raises:
      OSError: it cannot be read, is no regular file, or is larger.
    """
    # Opening a FIFO would wait for a writer.
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        status = os.fstat(file.fileno())
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))
        if most is not None and status.st_size > most:
            raise OSError(errno.EFBIG, f"{status.st_size} bytes, more than {most}", os.fspath(path))
        return file.read()


_DEEPEST = 32  # nesting levels that any of our JSON files needs


def read_json(path: str | os.PathLike, most: int = 2**20) -> Any:
    """Returns the content of a JSON file.

    Args:
      path: of the file.
      most: the maximum size in bytes.

    Raises:
      OSError: as in `read_regular`.
      ValueError: it is not JSON, or is nested deeper than any of our files.
    """
    too_deep = f"it is nested more than {_DEEPEST} levels deep"
    try:
        content = json.loads(read_regular(path, most))
    except RecursionError:
        raise ValueError(too_deep) from None
    level = [content]
    for _ in range(_DEEPEST):
        level = [item for value in level for item in _inside(value)]
    if level:
        raise ValueError(too_deep)
    return content


def _inside(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def absolute(path: str | os.PathLike) -> Path:
    """Returns an absolute path without `..`; what precedes a `..` has its links resolved."""
    parts = Path(path).absolute().parts
    known = 1 + max((i for i, part in enumerate(parts) if part == ".."), default=-1)
    return Path(os.path.realpath(os.path.join("/", *parts[:known])), *parts[known:])


def check_new_folder(folder: str | os.PathLike) -> None:
    """Checks that a folder does not exist or is empty.

    Raises:
      UserError: otherwise; about --output.
    """
    if not os.fspath(folder).strip():
        raise UserError("--output", "it is empty", "name a folder")
    folder = Path(folder)
    try:
        free = not os.path.lexists(folder) or (folder.is_dir() and not any(folder.iterdir()))
    except OSError as error:
        raise UserError("--output", f"cannot read {folder}: {error.strerror}") from error
    if not free:
        raise UserError("--output", f"{folder} exists; nothing is overwritten", "choose another")


@contextlib.contextmanager
def new_folder(folder: str | os.PathLike) -> Iterator[Path]:
    """Yields a temporary folder that is renamed to `folder` at the end, or removed on an error.

    If `folder` exists, it may be a mount or a link, so the files are moved into it instead.

    Raises:
      UserError: `folder` is not empty or cannot be written; about --output.
    """
    check_new_folder(folder)
    folder, unfinished = Path(folder), None
    try:
        exists = folder.is_dir()
        folder.parent.mkdir(parents=True, exist_ok=True)
        where = folder if exists else folder.parent
        unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=where))
        yield unfinished
        if exists:
            for path in sorted(unfinished.iterdir()):
                path.rename(folder / path.name)
        else:
            unfinished.chmod(0o755)  # mkdtemp keeps others out
            unfinished.rename(folder)
    except OSError as error:
        raise UserError("--output", f"cannot write {folder}: {error.strerror or error}") from error
    finally:
        if unfinished is not None:
            shutil.rmtree(unfinished, ignore_errors=True)


def set_aside(path: Path) -> Path:
    """Renames a file of another run to STEM.1.SUFFIX, or the next free number."""
    others = (path.with_name(f"{path.stem}.{i}{path.suffix}") for i in itertools.count(1))
    return path.rename(next(other for other in others if not other.exists()))


@contextlib.contextmanager
def explained(workdir: Path) -> Iterator[None]:
    """Raises an OSError of the block as a UserError about the workdir."""
    try:
        yield
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        remedy = (
            "make room, and the same command resumes from the last checkpoint"
            if full
            else "point it to a folder that can be written to"
        )
        raise UserError(
            "--workdir", f"cannot write to {workdir}: {error.strerror}{where}", remedy
        ) from error
