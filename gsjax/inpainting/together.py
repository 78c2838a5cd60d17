"""Fills several pictures at a time; their crops share batches."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Integer

from gsjax.inpainting.crops import CropInput, CropRequests, Layout, fill
from gsjax.inpainting.exemplar import Deep, copy_deep
from gsjax.inpainting.geometry import Crop
from gsjax.inpainting.network import Network
from gsjax.models.gaussian_head import Gaussians

_MAX_PIXELS = 2**26  # maximum number of pixels of all active images together


class Task(NamedTuple):
    """An image to fill.

    Attributes:
      name: returned with the finished image.
      image: uint8 or uint16; its hole is overwritten.
      hole: True where to fill.
      avoid: True where texture must not be copied from, or None for nowhere.
      progress: called with the number of crops painted so far, and the total number.
      failed: called with an error of this image (including one that `progress` raises), which
        is then dropped; if None, the error is raised and stops all images.
    """

    name: Any
    image: Integer[np.ndarray, "h w 3"]
    hole: Bool[np.ndarray, "h w"]
    avoid: Bool[np.ndarray, "h w"] | None = None
    progress: Callable[[int, int], None] | None = None
    failed: Callable[[Exception], None] | None = None


@dataclasses.dataclass
class _Active:
    """An image that is being filled."""

    task: Task
    work: CropRequests
    pending: list[CropInput]  # the crops it waits for; empty when it is done


def paint_together(
    tasks: Iterable[Task | tuple | None],
    network: Network,
    layout: Layout,
    deep: Deep,
    batch_size: int,
    keep: Callable[[tuple[Crop, Gaussians]], None] | None = None,
) -> Iterator[tuple[Any, Integer[np.ndarray, "h w 3"]]]:
    """Fills images in place, and yields the name and image of each when it is done.

    Args:
      tasks: the images, started when there is room for them. None in place of a task means
        that there is none now, but may be later.
      network: paints the crops.
      layout: the layout of the crops.
      deep: "exemplar" or "network".
      batch_size: the maximum number of crops to paint at a time.
      keep: called with each crop and its Gaussians.
    """
    tasks, more = iter(tasks), True
    active: list[_Active] = []
    while more or active:
        while more and _has_room(active, batch_size):
            try:
                task = next(tasks)
            except StopIteration:
                more = False
                break
            if task is None:
                break
            if (one := _start(Task(*task), layout, deep, batch_size, keep)) is not None:
                active.append(one)
        for done in [one for one in active if not one.pending]:
            active.remove(done)
            yield done.task.name, done.task.image
        painted = iter(network.paint([crop for one in active for crop in one.pending], batch_size))
        active = [one for one in active if _advance(one, [next(painted) for _ in one.pending])]


def _start(task: Task, layout: Layout, deep: Deep, batch_size: int, keep) -> _Active | None:
    """Starts an image; returns None if that fails."""
    try:
        _, image, hole, avoid, progress, _ = task
        if deep == "exemplar":
            hole = hole & ~copy_deep(image, hole, avoid)
        work = fill(image, hole, layout, batch_size, keep, progress)
        return _Active(task, work, next(work, []))
    except Exception as error:
        _report(task, error)
        return None


def _advance(one: _Active, answers: list) -> bool:
    """Passes the painted crops to an image, and gets its next ones; returns False on failure."""
    try:
        one.pending = one.work.send(answers)
    except StopIteration:
        one.pending = []
    except Exception as error:
        _report(one.task, error)
        return False
    return True


def _report(task: Task, error: Exception) -> None:
    if task.failed is None:
        raise error
    task.failed(error)


def _has_room(active: list[_Active], batch_size: int) -> bool:
    """Returns whether to start another image; at least one is always active."""
    pending = sum(len(one.pending) for one in active)
    pixels = sum(one.task.image.shape[0] * one.task.image.shape[1] for one in active)
    return not active or (pending < batch_size and pixels < _MAX_PIXELS)
