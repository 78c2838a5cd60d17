"""Writing files so that a reader, or a run that is killed, never leaves or sees half of one."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from gsjax.errors import UserError


def write_atomically(path: str | os.PathLike, content: bytes) -> None:
    """Puts `content` at `path`: all of it, or what was there before stays.

    Raises:
      OSError: if the folder is missing, full or read-only; nothing is left behind.
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


def check_new_folder(folder: str | os.PathLike) -> None:
    """Checks that a folder may be written as a new one: nothing is there, or it is empty.

    Raises:
      UserError: otherwise; about --output.
    """
    if not os.fspath(folder).strip():
        raise UserError("--output: it is empty; name a folder")
    folder = Path(folder)
    try:
        free = not os.path.lexists(folder) or (folder.is_dir() and not any(folder.iterdir()))
    except OSError as error:
        raise UserError(f"--output: cannot read {folder}: {error.strerror}") from error
    if not free:
        raise UserError(f"--output: {folder} exists; nothing is overwritten, choose another")


@contextlib.contextmanager
def new_folder(folder: str | os.PathLike) -> Iterator[Path]:
    """Yields a folder to fill that becomes `folder` at the end: all of it, or nothing is left.

    If `folder` exists, what is in the other is moved into it: it may be a mount or a link.

    Raises:
      UserError: `folder` holds something, or it cannot be written; about --output.
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
        raise UserError(f"--output: cannot write {folder}: {error.strerror or error}") from error
    finally:
        if unfinished is not None:
            shutil.rmtree(unfinished, ignore_errors=True)
