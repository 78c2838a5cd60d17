"""Files on remote file systems, such as gs://bucket/folder, through fsspec, and on the local disk.

fsspec, because etils.epath would import TensorFlow if it is installed. Each scheme needs its own
package: gcsfs for gs://, s3fs for s3://.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from gsjax.data.images import MissingData
from gsjax.errors import UserError
from gsjax.files import read_regular, write_atomically

Listing = TypeVar("Listing")


def is_remote(path: str | os.PathLike) -> bool:
    """Returns whether the path has a scheme."""
    return "://" in os.fspath(path)


def join(folder: str, name: str) -> str:
    """Returns the path of `name` relative to a folder; `name` may also be an absolute path."""
    if is_remote(name):
        return name
    if is_remote(folder):
        return f"{folder.rstrip('/')}/{name}"
    return os.path.join(folder, name)


def check_scheme(path: str) -> None:
    """Raises UserError if fsspec cannot open paths of this scheme, and says what to install."""
    if not is_remote(path):
        return
    try:
        _filesystem(path)
    except (ImportError, ValueError) as error:
        raise UserError(path, f"it cannot be opened: {error}") from error


def read(path: str) -> bytes:
    """Returns the content of a file.

    Raises:
      FileNotFoundError: there is no such file.
      Exception: any kind that the file system raises.
    """
    if is_remote(path):
        filesystem, inside = _filesystem(path)
        return filesystem.cat_file(inside)
    return read_regular(path)


def exists(path: str) -> bool:
    """Returns whether there is a file or folder at a path."""
    filesystem, inside = _filesystem(path)
    return filesystem.exists(inside)


def write(path: str, content: bytes) -> None:
    """Writes a file atomically. Raises the same as `read`."""
    if is_remote(path):
        filesystem, inside = _filesystem(path)
        filesystem.makedirs(inside.rpartition("/")[0], exist_ok=True)
        filesystem.pipe_file(inside, content)
    else:
        write_atomically(path, content)


def move(local: Path, path: str) -> None:
    """Moves a local file to `path`, which is remote or on the same disk."""
    if is_remote(path):
        filesystem, inside = _filesystem(path)
        filesystem.put_file(str(local), inside)
        local.unlink()
    else:
        os.replace(local, path)


def remove_folder(path: str) -> None:
    """Removes a folder and its files, if it exists."""
    filesystem, inside = _filesystem(path)
    if filesystem.exists(inside):
        filesystem.rm(inside, recursive=True)


def sizes(folder: str) -> dict[str, int]:
    """Returns the size in bytes of each file directly in a folder; empty if it does not exist."""
    filesystem, inside = _filesystem(folder)
    filesystem.invalidate_cache()
    try:
        entries = filesystem.ls(inside, detail=True)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    files = [entry for entry in entries if entry["type"] != "directory"]  # links are "other"
    return {entry["name"].rpartition("/")[2]: entry["size"] for entry in files}


def listing(path: str, list_files: Callable[[str], Listing]) -> Listing:
    """Returns `list_files(path)`, for `walk` or `glob`.

    Raises:
      MissingData: the file system cannot be reached, or denies access.
    """
    try:
        return list_files(path)
    except Exception as error:  # file systems may raise anything
        raise MissingData(f"'{path}' cannot be listed: {error or type(error).__name__}") from error


def walk(folder: str) -> list[str]:
    """Lists all files under a remote folder, at any depth."""
    filesystem, inside = _filesystem(folder)
    return [filesystem.unstrip_protocol(name) for name in filesystem.find(inside)]


def glob(pattern: str) -> list[str]:
    """Lists the matches of a pattern, sorted; `**` matches any depth."""
    filesystem, inside = _filesystem(pattern)
    names = sorted(filesystem.glob(inside))
    return [filesystem.unstrip_protocol(name) if is_remote(pattern) else name for name in names]


def raise_open_file_limit(count: int) -> None:
    """Raises the limit on open files if it may be too low; worker processes inherit it."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + 1024
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _filesystem(path: str):
    import fsspec

    # fsspec caches one file system of each kind per thread and process.
    return fsspec.core.url_to_fs(os.fspath(path))
