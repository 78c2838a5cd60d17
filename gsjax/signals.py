"""Handles signals without delay, and ends a process on Ctrl-C."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from typing import NoReturn

_ending = threading.Lock()


def listen(
    numbers: Iterable[int], at_once: Callable[[int], None], handler: Callable
) -> Callable[[], None]:
    """Handles signals in two ways: at once in another thread, and as usual in the main thread.

    Python calls a handler in the main thread, between two bytecode instructions. Compiling, which
    takes minutes, is one instruction. Also, an exception of a handler is lost if Python is running
    a callback, such as that of its garbage collector.

    Call it from the main thread. A signal that is ignored stays ignored, such as Ctrl-C in a
    background job of a shell. If other code takes over a signal, `at_once` is not called for it.

    Args:
      numbers: the signals.
      at_once: called in the other thread with the number of the signal.
      handler: as for `signal.signal`.

    Returns:
      A function that stops this and restores the previous handlers.
    """

    def watch() -> None:
        with open(received, "rb", buffering=0) as pipe:
            while number := pipe.read(1):
                if signal.getsignal(number[0]) is handler:
                    at_once(number[0])

    def restore() -> None:
        signal.set_wakeup_fd(wakeup)
        for number, previous in handlers.items():
            signal.signal(number, previous)
        os.close(sent)  # which ends the thread

    received, sent = os.pipe()
    os.set_blocking(sent, False)
    threading.Thread(target=watch, daemon=True).start()
    heard = [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]
    handlers = {number: signal.signal(number, handler) for number in heard}
    wakeup = signal.set_wakeup_fd(sent)
    return restore


def end_interrupted() -> NoReturn:
    """Ends the process with 130, from any thread, without waiting for others."""
    if not _ending.acquire(blocking=False):
        threading.Event().wait()  # another thread is ending the process
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        print("interrupted", file=sys.stderr, flush=True)
    os._exit(130)
