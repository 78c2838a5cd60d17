"""Methods to fill holes: a trained model, and baselines that need no training."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from gsjax.errors import UserError, suggestion
from gsjax.inpainting.patchmatch import patchmatch, unavailable_reason

Image = UInt8[np.ndarray, "h w 3"]
Hole = Bool[np.ndarray, "h w"]
# Names in tables of the model, by what fills deep holes.
OURS = {"network": "gsjax", "exemplar": "gsjax+exemplar"}
_RADIUS = 3  # of the neighborhood in OpenCV's methods, in pixels


class Method(NamedTuple):
    """A method to fill holes.

    Attributes:
      name: in tables.
      fill: maps an image, black in the hole, and the hole to the filled image.
      compiles: whether the first call compiles, and is therefore not timed.
    """

    name: str
    fill: Callable[[Image, Hole], Image]
    compiles: bool = False

    def __call__(self, image: Image, hole: Hole) -> Image:
        """Fills an image: hides the pixels in the hole from `fill`, and keeps all others."""
        masked = np.where(hole[..., None], np.uint8(0), image)
        return np.where(hole[..., None], self.fill(masked, hole), image)


def telea(image: Image, hole: Hole) -> Image:
    """OpenCV's implementation of Telea's fast marching (2004)."""
    return cv2.inpaint(image, hole.astype(np.uint8), _RADIUS, cv2.INPAINT_TELEA)


def navier_stokes(image: Image, hole: Hole) -> Image:
    """OpenCV's implementation of Bertalmio's fluid dynamics (2001)."""
    return cv2.inpaint(image, hole.astype(np.uint8), _RADIUS, cv2.INPAINT_NS)


def biharmonic(image: Image, hole: Hole) -> Image:
    """Solves the biharmonic equation, with scikit-image."""
    from skimage.restoration import inpaint_biharmonic

    filled = inpaint_biharmonic(image, hole, channel_axis=-1)  # in [0, 1]
    return np.rint(255 * filled).astype(np.uint8)


def mean(image: Image, hole: Hole) -> Image:
    """Fills with the mean color of the known pixels."""
    color = np.rint(image[~hole].mean(0)).astype(np.uint8)
    return np.broadcast_to(color, image.shape)


BASELINES = {
    "telea": telea,
    "navier_stokes": navier_stokes,
    "biharmonic": biharmonic,
    "patchmatch": patchmatch,
    "mean": mean,
}
_NEED_PATCHMATCH = ("patchmatch", "exemplar")


def choose(requested: Sequence[str] | None, every: Sequence[str], notes: list[str]) -> list[str]:
    """Returns the names that a flag selects, or by default all methods that can run here.

    Args:
      requested: the flag's value, or None.
      every: all names.
      notes: receives a note about each method that cannot run here.

    Raises:
      UserError: a name is unknown, repeated, or cannot run here.
    """
    reason = unavailable_reason()
    if requested is None:
        left_out = [name for name in every if reason and name in _NEED_PATCHMATCH]
        notes += [f"no {name}: {reason}" for name in left_out]
        return [name for name in every if name not in left_out]
    for name in requested:
        if name not in every:
            meant = suggestion(name, list(every))
            hint = f"did you mean {meant}?" if meant else ""
            raise UserError("", f"{name!r} is not one of {', '.join(every)}", hint)
        if list(requested).count(name) > 1:
            raise UserError("", f"{name} is given twice")
        if reason and name in _NEED_PATCHMATCH:
            raise UserError(name, reason)
    return list(requested)


def trained(checkpoint: str, deep: Sequence[str]) -> list[Method]:
    """Returns the inpainter in a checkpoint, as one method for each way to fill deep holes.

    Raises:
      UserError: there is no inpainter.
    """
    from gsjax.inpainting.exemplar import check_deep
    from gsjax.inpainting.painter import Inpainter

    try:
        painter = Inpainter.load(checkpoint)
    except UserError as error:
        error.where = f"--{error.where}"  # its errors begin with checkpoint:
        raise

    def method(way: str) -> Method:
        return Method(
            OURS[way],
            lambda image, hole: painter(image, hole, check_deep(way)).image,
            compiles=True,
        )

    return [method(way) for way in deep]
