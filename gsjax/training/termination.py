"""Handles requests to stop: SIGTERM (preemption) and Ctrl-C."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator

from gsjax import signals

_STOPS = (signal.SIGTERM, signal.SIGINT)


def exit_at_once_on_signals() -> None:
    """Makes SIGTERM and Ctrl-C exit this process with 0, except within `termination`.

    Call it from the main thread.
    """
    _listen(lambda: None, lambda: True)


@contextlib.contextmanager
def termination(nothing_to_save: Callable[[], bool]) -> Iterator[Callable[[], bool]]:
    """Yields a function that returns whether SIGTERM or Ctrl-C was received.

    Repeated SIGTERMs do not interrupt saving. A second Ctrl-C ends the process at once with
    130. Outside the main thread, signals cannot be handled, and the function returns False.

    Args:
      nothing_to_save: if it returns True, the first signal ends the process at once with 0.
        It is called in another thread.
    """
    requested = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield requested.is_set
        return
    restore = _listen(requested.set, nothing_to_save)
    try:
        yield requested.is_set
    finally:
        restore()


def _listen(note: Callable[[], None], nothing_to_save: Callable[[], bool]) -> Callable[[], None]:
    """Handles both signals as in `termination`; returns a function that restores the handlers."""
    interrupts = 0

    def at_once(number: int) -> None:
        nonlocal interrupts
        if nothing_to_save():
            print("stopped on request with nothing to save; the same command resumes")
            sys.stdout.flush()
            os._exit(0)
        if number != signal.SIGINT:
            return
        interrupts += 1
        if interrupts == 2:
            signals.end_interrupted()
        hint = "press Ctrl-C again to stop at once, without saving"
        print(f"saving and stopping; {hint}", file=sys.stderr, flush=True)

    return signals.listen(_STOPS, at_once, lambda *_: note())
