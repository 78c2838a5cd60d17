"""Termination on request, and steps that had to be skipped."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from gsjax.errors import UserError
from gsjax.training import guards

BATCH = {"image": np.zeros((2, 4, 4, 3), np.uint8)}


def metrics(skipped):
    return {"skipped": skipped, "loss/total": float("nan"), "gradient_norm": 1.0}


@pytest.mark.parametrize(
    "sent", [[signal.SIGTERM] * 3, [signal.SIGINT], [signal.SIGINT, signal.SIGTERM]], ids=str
)
def test_a_request_to_stop_is_noticed_and_nothing_ends(sent):
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with guards.termination(lambda: False) as asked:
        assert not asked()
        for number in sent:
            os.kill(os.getpid(), number)
        assert asked()
    assert before == [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]


COMPUTES = """if True:
    import hashlib, signal
    signal.signal(signal.SIGINT, signal.default_int_handler)  # as in a terminal
    from gsjax.training import guards
    with guards.termination(lambda: NOTHING_TO_SAVE):
        print("computing", flush=True)
        hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)  # minutes, outside of Python
"""


def computing(nothing_to_save):
    program = COMPUTES.replace("NOTHING_TO_SAVE", str(nothing_to_save))
    command = [sys.executable, "-c", program]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, **streams)
    assert process.stdout.readline() == "computing\n"
    time.sleep(0.2)
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_with_nothing_to_save_a_process_ends_within_whatever_it_computes(number):
    process = computing(nothing_to_save=True)
    process.send_signal(number)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert output.startswith("stopped on request with nothing to save")


def test_a_second_interrupt_ends_a_process_within_whatever_it_computes():
    process = computing(nothing_to_save=False)
    process.send_signal(signal.SIGINT)
    assert process.stderr.readline().startswith("saving and stopping; Ctrl-C again stops at once")
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (130, "interrupted\n")


def test_a_skipped_step_leaves_its_batch_and_training_goes_on(tmp_path, caplog):
    skips = guards.Skips(tmp_path, allowed=3, skipped=5)
    skips.check(11, metrics(5), BATCH)
    assert list(tmp_path.iterdir()) == []
    skips.check(12, metrics(6), BATCH)
    assert "step 12 was skipped: loss nan" in caplog.text
    with np.load(tmp_path / "skipped" / "step_00000012.npz") as saved:
        np.testing.assert_array_equal(saved["image"], BATCH["image"])


def test_too_many_in_a_row_end_the_run(tmp_path):
    skips = guards.Skips(tmp_path, allowed=3, skipped=0)
    for step, count in enumerate([1, 2, 2, 3, 4], start=1):  # the third step was good
        skips.check(step, metrics(count), BATCH)
    with pytest.raises(UserError, match=r"3 steps in a row, up to step 6, .*max_skipped"):
        skips.check(6, metrics(5), BATCH)
    saved = sorted(path.name for path in (tmp_path / "skipped").iterdir())
    assert saved == ["step_00000001.npz", "step_00000004.npz"]
