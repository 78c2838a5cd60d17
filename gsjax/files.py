"""Writing files so that a reader, or a run that is killed, never leaves or sees half of one."""

import contextlib
import os
from pathlib import Path


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
