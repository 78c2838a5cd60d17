"""What keeps a run from losing work: termination on request, steps that had to be skipped."""

import contextlib
import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import jax
import numpy as np
from absl import logging

from gsjax.errors import UserError
from gsjax.files import write_atomically

# SIGTERM, by which machines are taken back, and Ctrl-C.
_STOPS = (signal.SIGTERM, signal.SIGINT)


def end_at_once() -> None:
    """Lets SIGTERM and Ctrl-C end this process with 0 from now on.

    Except where `termination` says otherwise. Only for the main thread.
    """
    _listen(lambda: None, lambda: True)


@contextlib.contextmanager
def termination(nothing_to_save: Callable[[], bool]) -> Iterator[Callable[[], bool]]:
    """Turns SIGTERM and Ctrl-C into a question: was one sent?

    However often SIGTERM is sent, what is being saved meanwhile is saved. A second Ctrl-C ends
    the process with 130, at once. Outside the main thread, where signals cannot be handled, the
    answer is always no.

    Args:
      nothing_to_save: where that is so, the first signal ends the process with 0 at once,
        whatever it is doing. It is asked in a thread of its own.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return
    restore = _listen(asked.set, nothing_to_save)
    try:
        yield asked.is_set
    finally:
        restore()


def _listen(note: Callable[[], None], nothing_to_save: Callable[[], bool]) -> Callable[[], None]:
    """Handles both signals as `termination` says, until what is returned is called."""

    def watch():
        # The main thread hears of signals only between two lines of Python, and compiling,
        # which takes minutes, is one line. The pipe is written to at once.
        interrupts = 0
        with open(received, "rb", buffering=0) as signals:
            while number := signals.read(1):
                if number[0] not in _STOPS:
                    continue
                if nothing_to_save():
                    print("stopped on request with nothing to save; the same command resumes")
                    sys.stdout.flush()
                    os._exit(0)
                interrupts += number[0] == signal.SIGINT
                if interrupts == 2:
                    print("interrupted", file=sys.stderr, flush=True)
                    os._exit(130)
                if interrupts == 1:
                    told = "saving and stopping; Ctrl-C again stops at once, without saving"
                    print(told, file=sys.stderr, flush=True)

    def restore():
        signal.set_wakeup_fd(wakeup)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        os.close(sent)  # which ends the thread

    received, sent = os.pipe()
    os.set_blocking(sent, False)
    threading.Thread(target=watch, daemon=True).start()
    # A shell lets what it runs in the background ignore Ctrl-C, and it should go on to.
    listened = [number for number in _STOPS if signal.getsignal(number) != signal.SIG_IGN]
    handlers = {number: signal.signal(number, lambda *_: note()) for number in listened}
    wakeup = signal.set_wakeup_fd(sent)
    return restore


class Skips:
    """Watches for steps that were skipped because a loss or gradient was no finite number."""

    def __init__(self, workdir: Path, allowed: int, skipped: int):
        """Starts to watch.

        Args:
          workdir: the run's folder; the batch of the first step of a row goes to its `skipped/`.
          allowed: so many steps in a row end the run.
          skipped: the state's count so far.
        """
        self._folder, self._allowed, self._skipped = workdir / "skipped", allowed, skipped
        self._row = 0

    def check(self, step: int, metrics: Mapping, batch: Mapping[str, np.ndarray]) -> None:
        """Looks at what a step returned.

        Args:
          step: its number.
          metrics: from the train step.
          batch: what this process gave to it; each process keeps its own part.

        Raises:
          UserError: it was the last of too many in a row.
        """
        before, self._skipped = self._skipped, int(metrics["skipped"])
        if self._skipped == before:
            self._row = 0
            return
        self._row += 1
        if self._row == 1:
            process = jax.process_index()
            part = f"_process_{process}" if process else ""
            path = self._folder / f"step_{step:08d}{part}.npz"
            logging.warning(
                "step %d was skipped: loss %s, gradient norm %s; its batch is in %s",
                step, float(metrics["loss/total"]), float(metrics["gradient_norm"]), path,
            )  # fmt: skip
            content = io.BytesIO()
            np.savez(content, **batch)
            try:
                path.parent.mkdir(exist_ok=True)
                write_atomically(path, content.getvalue())
            except OSError as error:  # a look at it is not worth a run
                logging.warning("the batch could not be kept: %s", error)
        if self._row >= self._allowed:
            raise UserError(
                f"training has diverged: {self._row} steps in a row, up to step {step}, had a loss "
                "or gradient that is no finite number and were skipped. Their first batch is in "
                f"{self._folder}; all checkpoints are intact. Lower optimizer.learning_rate or "
                "optimizer.clip_norm, or look for broken images; train.max_skipped allows more"
            )
