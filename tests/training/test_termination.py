"""Termination on request."""

import os
import signal
import subprocess
import sys
import time

import pytest

from gsjax.training.termination import termination


@pytest.mark.parametrize(
    "sent", [[signal.SIGTERM] * 3, [signal.SIGINT], [signal.SIGINT, signal.SIGTERM]], ids=str
)
def test_a_request_to_stop_is_noticed_and_nothing_ends(sent):
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with termination(lambda: False) as asked:
        assert not asked()
        for number in sent:
            os.kill(os.getpid(), number)
        assert asked()
    assert before == [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]


COMPUTES = """if True:
    import hashlib, signal
    signal.signal(signal.SIGINT, signal.default_int_handler)  # as in a terminal
    from gsjax.training.termination import termination
    with termination(lambda: NOTHING_TO_SAVE):
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
    assert process.stderr.readline().startswith("saving and stopping; press Ctrl-C again")
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (130, "interrupted\n")
