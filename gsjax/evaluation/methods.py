"""Ways to fill holes: a trained model, and what needs no training."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from gsjax.cli import suggestion
from gsjax.errors import UserError

Image = UInt8[np.ndarray, "h w 3"]
Hole = Bool[np.ndarray, "h w"]
OURS = "gsjax"
_RADIUS = 3  # pixels around a point that OpenCV's methods look at


class Method(NamedTuple):
    """A way to fill.

    Attributes:
      name: in tables.
      fill: image, black in the hole, and hole to the filled image.
      compiles: its first calls take longer and are not timed.
    """

    name: str
    fill: Callable[[Image, Hole], Image]
    compiles: bool = False

    def __call__(self, image: Image, hole: Hole) -> Image:
        """Fills an image; its hole's pixels are not shown, all others kept as they are."""
        masked = np.where(hole[..., None], np.uint8(0), image)
        return np.where(hole[..., None], self.fill(masked, hole), image)


def telea(image: Image, hole: Hole) -> Image:
    """Telea's fast marching (2004), OpenCV's."""
    return cv2.inpaint(image, hole.astype(np.uint8), _RADIUS, cv2.INPAINT_TELEA)


def navier_stokes(image: Image, hole: Hole) -> Image:
    """Bertalmio's fluid dynamics (2001), OpenCV's."""
    return cv2.inpaint(image, hole.astype(np.uint8), _RADIUS, cv2.INPAINT_NS)


def biharmonic(image: Image, hole: Hole) -> Image:
    """The biharmonic equation, scikit-image's."""
    from skimage.restoration import inpaint_biharmonic

    filled = inpaint_biharmonic(image, hole, channel_axis=-1)  # in [0, 1]
    return np.rint(255 * filled).astype(np.uint8)


def mean(image: Image, hole: Hole) -> Image:
    """The mean color of the known pixels."""
    color = np.rint(image[~hole].mean(0)).astype(np.uint8)
    return np.broadcast_to(color, image.shape)


BASELINES = {"telea": telea, "navier_stokes": navier_stokes, "biharmonic": biharmonic, "mean": mean}


def baselines(names: Sequence[str]) -> list[Method]:
    """Returns the baselines of these names.

    Raises:
      UserError: there is none of a name, or one comes twice.
    """
    for name in names:
        if name not in BASELINES:
            meant = suggestion(name, list(BASELINES))
            hint = f"; did you mean {meant}?" if meant else ""
            raise UserError(f"--baselines: {name!r} is none of {', '.join(BASELINES)}{hint}")
        if list(names).count(name) > 1:
            raise UserError(f"--baselines: {name} comes twice")
    return [Method(name, BASELINES[name]) for name in names]


def trained(checkpoint: str) -> Method:
    """Returns the inpainter in a checkpoint.

    Raises:
      UserError: there is none.
    """
    from gsjax.inpainting.painter import Inpainter

    try:
        painter = Inpainter.load(checkpoint)
    except UserError as error:
        raise UserError(f"--{error}") from None  # its errors begin with checkpoint:
    return Method(OURS, lambda image, hole: painter(image, hole).image, compiles=True)
