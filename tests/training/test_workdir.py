"""The folder of a run belongs to one run at a time."""

import signal
import subprocess
import sys
import threading

import pytest

from gsjax.errors import UserError
from gsjax.training import workdir
from gsjax.training.workdir import lock_workdir


def test_two_runs_do_not_share_a_workdir(tmp_path, monkeypatch):
    monkeypatch.setattr(workdir, "_PATIENCE", 0.3)
    with (
        lock_workdir(tmp_path / "run"),
        pytest.raises(UserError, match=r"^--workdir: another process is training in .*run; "),
        lock_workdir(tmp_path / "run"),
    ):
        pass
    with lock_workdir(tmp_path / "run"):
        pass


def test_a_run_waits_for_one_that_is_ending(tmp_path):
    program = f"import time; file = open({str(tmp_path / '.lock')!r}, 'ab'); import fcntl; "
    program += "fcntl.flock(file, fcntl.LOCK_EX); print('locked', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"locked\n"
        killer = threading.Timer(0.5, other.kill)
        killer.start()
        with lock_workdir(tmp_path):
            assert other.wait() == -signal.SIGKILL
