"""Signals, heard as soon as they are sent, and the end of a process that Ctrl-C interrupts."""

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
    """Handles signals in two ways: at once in a thread of its own, and as Python does.

    Python calls a handler in the main thread, between two of its instructions. Compiling, which
    takes minutes, is one instruction. And what a handler raises is lost where Python runs a
    callback, such as that of its garbage collector.

    Only for the main thread. A signal that is ignored stays ignored: so is Ctrl-C in what a shell
    runs in the background. Where other code takes over a signal, `at_once` is not called for it.

    Args:
      numbers: the signals.
      at_once: is called with the number.
      handler: as for `signal.signal`.

    Returns:
      A function that ends this and restores the handlers that were there before.
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
        threading.Event().wait()  # until another thread, which does the same, has done it
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        print("interrupted", file=sys.stderr, flush=True)
    os._exit(130)
