"""The folder of a run: whose it is, and what the system says when it cannot be written."""

import contextlib
import fcntl
import itertools
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from absl import logging

from gsjax import distributed
from gsjax.errors import UserError
from gsjax.files import explained

_ENDS = 5  # seconds that a run may take to end after it was killed or stopped
# One of several processes lives on for a minute when another is gone, and NFS keeps what a machine
# that is gone has locked for 90 s.
_ALL_END = 120


def check_shared(workdir: str | os.PathLike) -> None:
    """Makes the workdir of a run of several processes and checks that they all see it.

    Raises:
      UserError: they do not, or it cannot be made.
    """
    import jax

    if jax.process_count() == 1:
        return
    path, first = Path(workdir) / f".shared_by_{jax.process_count()}", jax.process_index() == 0
    with distributed.shared_errors(), explained(path.parent):
        if first:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    with distributed.shared_errors():
        if not path.exists():
            raise UserError(
                "--workdir",
                f"{path.parent} is not the folder that process 0 sees",
                "it must be on a file system that all processes share",
            )
    if first:
        path.unlink()


@contextlib.contextmanager
def lock_workdir(workdir: str | os.PathLike) -> Iterator[None]:
    """Keeps other runs out of a workdir, which would delete each other's files; makes it.

    Process 0 does so for all. It waits a little for a run that is ending, longer if there are
    several processes. Between machines it works as far as their file system has locks (NFS does).

    Raises:
      UserError: another run has it, or it cannot be made.
    """
    import jax

    path = Path(workdir) / ".lock"
    with contextlib.ExitStack() as stack:
        with distributed.shared_errors(), explained(path.parent):
            if jax.process_index() == 0:
                path.parent.mkdir(parents=True, exist_ok=True)
                file = stack.enter_context(open(path, "ab"))
                if not _locked(file, _ENDS if jax.process_count() == 1 else _ALL_END):
                    raise UserError(
                        "--workdir",
                        f"another process is training in {path.parent}",
                        "stop it, or choose another folder",
                    )
        yield


def _locked(file: BinaryIO, patience: float) -> bool:
    """Locks a file until it is closed, by us or by our end; returns whether that was possible.

    It tries for `patience` seconds, and says so.

    Not by filelock: where there are no locks it makes do with a file that outlives a killed run.
    """
    deadline = time.monotonic() + patience
    for attempt in itertools.count():
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            if attempt == 0:
                logging.info("waiting up to %d s for another run to leave the workdir", patience)
            time.sleep(0.2)
        except OSError as error:
            logging.warning("%s cannot be locked: %s", file.name, error.strerror)
            return True
