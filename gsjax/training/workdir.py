"""The workdir of a run: shared by its processes, and locked against other runs."""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from absl import logging

from gsjax import distributed
from gsjax.errors import UserError
from gsjax.files import explained

_PATIENCE = 5  # seconds to wait for a run that was killed or stopped to end
# When one of several processes dies, the others end within a minute, and NFS keeps the locks of a
# dead machine for 90 s.
_PATIENCE_FOR_MANY = 120


def check_shared(workdir: str | os.PathLike) -> None:
    """Creates the workdir of a run with several processes, and checks that all of them see it.

    Raises:
      UserError: a process does not see it, or it cannot be created.
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
    """Creates a workdir and locks it, since two runs would delete each other's files.

    Process 0 does so for all. It waits a few seconds for a run that is ending, longer with several
    processes. Between machines, this needs a file system with locks (NFS has them).

    Raises:
      UserError: another run has locked it, or it cannot be created.
    """
    import jax

    path = Path(workdir) / ".lock"
    with contextlib.ExitStack() as stack:
        with distributed.shared_errors(), explained(path.parent):
            if jax.process_index() == 0:
                path.parent.mkdir(parents=True, exist_ok=True)
                file = stack.enter_context(open(path, "ab"))
                if not _locked(file, _PATIENCE if jax.process_count() == 1 else _PATIENCE_FOR_MANY):
                    raise UserError(
                        "--workdir",
                        f"another process is training in {path.parent}",
                        "stop it, or choose another folder",
                    )
        yield


def _locked(file: BinaryIO, patience: float) -> bool:
    """Locks a file until it is closed or the process ends; returns whether that succeeded.

    Tries for `patience` seconds, and logs that it waits. filelock is no alternative: without
    file-system locks, it falls back to a file that outlives a killed run.
    """
    deadline = time.monotonic() + patience
    waiting = False
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            if not waiting:
                logging.info("waiting up to %d s for another run to leave the workdir", patience)
            waiting = True
            time.sleep(0.2)
        except OSError as error:
            logging.warning("%s cannot be locked: %s", file.name, error.strerror)
            return True
