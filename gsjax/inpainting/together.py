"""Pictures that are filled together: their crops share batches."""

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

_AT_WORK = 2**26  # pixels of the images that are worked on at a time, in all


class Task(NamedTuple):
    """An image to be filled.

    Attributes:
      name: returned with the image when it is done.
      image: uint8 or uint16; its hole is written to.
      hole: True where it is to be filled.
      avoid: True where nothing is to be copied from; None: nowhere.
      progress: called with the number of crops painted so far, and that of all.
      failed: called with what went wrong with this image, which is then dropped, as it is if
        `progress` raises; None: the error ends the work on all images.
    """

    name: Any
    image: Integer[np.ndarray, "h w 3"]
    hole: Bool[np.ndarray, "h w"]
    avoid: Bool[np.ndarray, "h w"] | None = None
    progress: Callable[[int, int], None] | None = None
    failed: Callable[[Exception], None] | None = None


@dataclasses.dataclass
class _Active:
    """An image in work."""

    task: Task
    work: CropRequests
    asked: list[CropInput]  # the crops it waits for; none: it is done


def paint_together(
    tasks: Iterable[Task | tuple | None],
    network: Network,
    layout: Layout,
    deep: Deep,
    batch_size: int,
    keep: Callable[[tuple[Crop, Gaussians]], None] | None = None,
) -> Iterator[tuple[Any, Integer[np.ndarray, "h w 3"]]]:
    """Fills images, in place, and yields each when it is done, with its name.

    Args:
      tasks: the images, taken up as there is room for them; None instead of one: there is none
        now, but there may be more later.
      network: paints the crops.
      layout: of the crops.
      deep: "exemplar" or "network".
      batch_size: the most crops that are painted at a time.
      keep: is given each crop and its Gaussians.
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
            if (one := _started(Task(*task), layout, deep, batch_size, keep)) is not None:
                active.append(one)
        for done in [one for one in active if not one.asked]:
            active.remove(done)
            yield done.task.name, done.task.image
        painted = iter(network.paint([crop for one in active for crop in one.asked], batch_size))
        active = [one for one in active if _advanced(one, [next(painted) for _ in one.asked])]


def _started(task: Task, layout: Layout, deep: Deep, batch_size: int, keep) -> _Active | None:
    """Returns an image in work; None if it has failed."""
    try:
        _, image, hole, avoid, progress, _ = task
        if deep == "exemplar":
            hole = hole & ~copy_deep(image, hole, avoid)
        work = fill(image, hole, layout, batch_size, keep, progress)
        return _Active(task, work, next(work, []))
    except Exception as error:
        _report(task, error)
        return None


def _advanced(one: _Active, answers: list) -> bool:
    """Puts back what was painted and asks for more; returns False if that has failed."""
    try:
        one.asked = one.work.send(answers)
    except StopIteration:
        one.asked = []
    except Exception as error:
        _report(one.task, error)
        return False
    return True


def _report(task: Task, error: Exception) -> None:
    if task.failed is None:
        raise error
    task.failed(error)


def _has_room(active: list[_Active], batch_size: int) -> bool:
    """Returns whether another image is to be taken up: one for certain."""
    asked = sum(len(one.asked) for one in active)
    pixels = sum(one.task.image.shape[0] * one.task.image.shape[1] for one in active)
    return not active or (asked < batch_size and pixels < _AT_WORK)
