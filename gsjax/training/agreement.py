"""How the processes of a run agree on whether it continues.

A signal, or bad data, may reach only one process. But all processes must run the same steps and
validation batches; otherwise they would wait for each other forever.
"""

import enum
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from gsjax import distributed

_Batch = TypeVar("_Batch")


class Vote(enum.IntEnum):
    """What a process votes for before a step. All processes follow the highest vote."""

    CONTINUE = 0
    STOP = 1  # save and end, because of a signal
    FAIL = 2  # save and end with an error, because there is no batch


class StopRequested(Exception):
    """Ends a validation before its last batch, on all processes."""


def start_vote(stop_requested: bool, failed: bool) -> Callable[[], Vote]:
    """Starts a vote, queued behind the running step; returns a function that awaits its result."""
    # A stop takes precedence: it also stops the readers, which may look like failing data.
    vote = Vote.STOP if stop_requested else Vote.FAIL if failed else Vote.CONTINUE
    highest = distributed.start_max(vote)
    return lambda: Vote(highest())


def until_stop(batches: Iterable[_Batch], stop_requested: Callable[[], bool]) -> Iterator[_Batch]:
    """Yields the batches until any process is requested to stop.

    Raises:
      StopRequested: a stop was requested.
    """
    for batch in batches:
        if distributed.max_over_processes(stop_requested()):
            raise StopRequested
        yield batch
