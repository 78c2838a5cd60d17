"""What the processes of a run agree on: whether it continues.

A signal reaches one process, and bad data may too. But all processes must take the same steps and
validation batches, or they wait for each other forever.
"""

import enum
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from gsjax import distributed

_Batch = TypeVar("_Batch")


class Vote(enum.IntEnum):
    """What a process asks for before a step. All of them do what the highest vote says."""

    CONTINUE = 0
    STOP = 1  # save and end: a signal asks for it
    FAIL = 2  # save and end with an error: there is no batch


class StopRequested(Exception):
    """A validation ends before its last batch, on all processes."""


def start_vote(stop_requested: bool, failed: bool) -> Callable[[], Vote]:
    """Votes, behind what the devices compute; the result is called for what all are to do."""
    # A stop may be what made the data fail: the readers are asked to stop as well.
    vote = Vote.STOP if stop_requested else Vote.FAIL if failed else Vote.CONTINUE
    highest = distributed.start_max(vote)
    return lambda: Vote(highest())


def until_stop(batches: Iterable[_Batch], stop_requested: Callable[[], bool]) -> Iterator[_Batch]:
    """Yields the batches until a stop is requested of any process.

    Raises:
      StopRequested: it was.
    """
    for batch in batches:
        if distributed.max_over_processes(stop_requested()):
            raise StopRequested
        yield batch
