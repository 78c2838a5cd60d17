"""The continuous field: all Gaussians that fill the holes of a picture.

A field can be saved and loaded, drawn in full or in part at any resolution, and shown as ellipses.
"""

import dataclasses
import math
import os
from collections.abc import Iterator

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from gsjax.data.colors import to_uint8
from gsjax.errors import UserError
from gsjax.inpainting import field_files
from gsjax.inpainting.canvas import paint_over, resampled
from gsjax.inpainting.geometry import Crop, Geometry
from gsjax.inpainting.plan import make_plan
from gsjax.inpainting.windows import Patches
from gsjax.models.gaussian_head import Gaussians

_BLOCK = 256  # side of the blocks that are drawn at a time, in samples
_LARGEST = 2**31  # maximum number of samples of a picture


@dataclasses.dataclass
class Field:
    """The Gaussians of all crops of an image.

    Attributes:
      image: the input image, 8 bits, with the texture that was copied into its holes.
      hole: True where the image was filled.
      size: (height, width) of the network's crops.
      patches: the arrangement of a crop's patches.
      crops: in the order they were painted: those of copied parts, small ones, coarse, fine.
      gaussians: the Gaussians of each crop, in the pixels of their patches.
      rim: how deep a level paints; see `gsjax.inpainting.geometry.Geometry`.
      copied: True where the hole was filled from elsewhere in the image, or None for nowhere.
    """

    image: UInt8[np.ndarray, "h w 3"]
    hole: Bool[np.ndarray, "h w"]
    size: tuple[int, int]
    patches: Patches
    crops: list[Crop]
    gaussians: list[Gaussians]
    rim: float = 1.0
    copied: Bool[np.ndarray, "h w"] | None = None

    def __post_init__(self):
        self._geometry = Geometry(self.hole.shape, self.size, self.rim)
        self._depth = None

    def __repr__(self):
        height, width = self.hole.shape
        count = sum(math.prod(gaussians.means.shape[:-1]) for gaussians in self.gaussians)
        return f"Field({width}×{height} pixels, {len(self.crops)} crops, {count} Gaussians)"

    def render(
        self,
        scale: float | None = None,
        size: tuple[int, int] | None = None,
        box: tuple[int, int, int, int] | None = None,
        hole_only: bool = False,
    ) -> UInt8[np.ndarray, "height width 3"]:
        """Draws the field or a part of it at any resolution.

        At scale 1, the result is the network's drawing pixel for pixel, at known pixels too.
        Outside of the crops, it is the input image, resampled (bicubic, with antialiasing).
        Besides the result, this takes the memory of a few blocks.

        Args:
          scale: pixels of the result per pixel of the image; 1 if `size` is not given either.
          size: (height, width) of the result, instead of `scale`.
          box: the part to draw, (top, left, bottom, right) in pixels of the image; all of it
            by default.
          hole_only: draw only the holes, over the resampled input image.

        Raises:
          UserError: both scale and size are given, or an argument is invalid.
        """
        box = self._checked_box(box)
        height, width = _result_size(box, scale, size)
        result = np.empty((height, width, 3), np.uint8)
        steps = ((box[2] - box[0]) / height, (box[3] - box[1]) / width)
        for y in range(0, height, _BLOCK):
            for x in range(0, width, _BLOCK):
                part = result[y : y + _BLOCK, x : x + _BLOCK]
                corner = (box[0] + y * steps[0], box[1] + x * steps[1])
                part[:] = self._block(corner, steps, part.shape[:2], hole_only)
        return result

    def ellipses(
        self,
        scale: float = 4.0,
        box: tuple[int, int, int, int] | None = None,
        deviations: float = 1.0,
    ) -> UInt8[np.ndarray, "height width 3"]:
        """Draws the outlines of the Gaussians over the field, each in its color.

        Args:
          scale: pixels of the result per pixel of the image.
          box: the part to draw, as in `render`.
          deviations: distance of the outlines from the centers, in standard deviations.

        Raises:
          UserError: an argument is invalid.
        """
        if not deviations > 0:
            raise UserError("deviations", f"{deviations} is not greater than 0")
        box = self._checked_box(box)
        # Darkened, because the outlines have the colors of what they draw.
        canvas = self.render(scale, box=box) // 3
        for crop, gaussians in zip(self.crops, self.gaussians, strict=True):
            for ellipse in self._outlines(crop, gaussians, scale, box, deviations):
                center, axes, angle, color = ellipse
                cv2.ellipse(canvas, center, axes, angle, 0, 360, color, 1, cv2.LINE_AA, 4)
        return canvas

    def save(self, path: str | os.PathLike) -> None:
        """Writes the field atomically as .npz; docs/inpainting.md describes the format.

        Raises:
          UserError: it cannot be written.
        """
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        field_files.write(path, **fields)

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Field":
        """Reads a file written by `save`, without running code from it.

        Raises:
          UserError: the file does not exist or is not a field.
        """
        return cls(**field_files.read(path))

    def _checked_box(self, box) -> tuple[int, int, int, int]:
        height, width = self.hole.shape
        if box is None:
            return 0, 0, height, width
        try:
            top, left, bottom, right = (int(edge) for edge in box)
        except (TypeError, ValueError):
            raise UserError("box", f"{box!r} is not (top, left, bottom, right) in pixels") from None
        if not (0 <= top < bottom <= height and 0 <= left < right <= width):
            raise UserError(
                "box",
                f"(top, left, bottom, right) = {(top, left, bottom, right)} is not a part of "
                f"{height}×{width} pixels (height×width)",
            )
        return top, left, bottom, right

    def _block(self, corner, steps, shape, hole_only) -> UInt8[np.ndarray, "h w 3"]:
        """Draws a block of samples; `corner` and `steps` are in pixels of the image."""
        canvas = resampled(self.image, corner, steps, shape) / 255
        overlapping = list(self._overlapping(corner, steps, shape))
        if not overlapping:
            return to_uint8(canvas)
        before = canvas
        # If the result is coarser than the image, several samples per pixel are averaged.
        fine = tuple(max(1, math.ceil(step - 1e-9)) for step in steps)
        canvas = canvas.repeat(fine[0], 0).repeat(fine[1], 1)
        steps_between = (steps[0] / fine[0], steps[1] / fine[1])
        depth = None
        views = [self._view(*pair) for pair in overlapping]
        pairs = zip(views, overlapping, strict=True)
        if np.isfinite([view[0].reach(crop.factor) for view, (crop, _) in pairs]).any():
            depth = resampled(self._all_depths(), corner, steps_between, canvas.shape[:2])
        for index, (crop, gaussians) in enumerate(overlapping):
            earlier = [one for one, _ in overlapping[:index] if one.layer == crop.layer]
            paint_over(
                canvas, corner, steps_between, depth, *views[index], crop, earlier, gaussians
            )
        canvas = canvas.reshape(shape[0], fine[0], shape[1], fine[1], 3).mean((1, 3))
        if hole_only:
            hole = resampled(self.hole, corner, steps, shape)[..., None]
            canvas = before + hole * (canvas - before)
        return to_uint8(canvas)

    def _overlapping(self, corner, steps, shape) -> Iterator[tuple[Crop, Gaussians]]:
        """Yields the crops that overlap a block."""
        bottom, right = (c + step * n for c, step, n in zip(corner, steps, shape, strict=True))
        for crop, gaussians in zip(self.crops, self.gaussians, strict=True):
            across = crop.left < right and crop.left + crop.width > corner[1]
            if across and crop.top < bottom and crop.top + crop.height > corner[0]:
                yield crop, gaussians

    def _view(self, crop: Crop, gaussians: Gaussians) -> tuple[Geometry, Patches]:
        """Returns the geometry of a crop and of its patches; small crops have fewer patches."""
        rows, columns = self.patches.grid
        if len(gaussians.means) == rows * columns:
            return self._geometry, self.patches
        size = (crop.height, crop.width)
        grid = (crop.height // self.patches.size, crop.width // self.patches.size)
        return self._geometry._replace(size=size), self.patches._replace(grid=grid)

    def _all_depths(self) -> Float[np.ndarray, "h w"]:
        if self._depth is None:
            ring = self.hole if self.copied is None else self.hole & ~self.copied
            self._depth = make_plan(ring, self.size, self.rim).depth
        return self._depth

    def _outlines(self, crop, gaussians, scale, box, deviations) -> Iterator[tuple]:
        """Yields center and axes in sixteenths of a pixel, angle in degrees, and color."""
        rows, columns = self._view(crop, gaussians)[1].grid
        y, x = np.divmod(np.arange(rows * columns), columns)
        corners = np.stack([x, y], -1) * self.patches.size - self.patches.overlap + 0.5
        centers = (gaussians.means + corners[:, None]).reshape(-1, 2) * crop.factor
        shift = np.array([crop.left - box[1], crop.top - box[0]])
        centers = (centers + shift) * scale - 0.5
        factors = gaussians.cholesky.reshape(-1, 3) * (scale * crop.factor * deviations)
        lower = np.zeros((len(factors), 2, 2))
        lower[:, 0, 0], lower[:, 1, 0], lower[:, 1, 1] = factors.T
        directions, lengths, _ = np.linalg.svd(lower)
        angles = np.degrees(np.arctan2(directions[:, 1, 0], directions[:, 0, 0]))
        colors = to_uint8(gaussians.colors.reshape(-1, 3))
        limit = scale * max(box[2] - box[0], box[3] - box[1])
        for center, axes, angle, color in zip(centers, lengths, angles, colors, strict=True):
            if np.all(np.abs(center) < 2 * limit) and axes[0] < 2 * limit:
                yield (
                    tuple(np.rint(16 * center).astype(int).tolist()),
                    tuple(np.rint(16 * axes).astype(int).tolist()),
                    float(angle),
                    tuple(color.tolist()),
                )


def _result_size(box, scale, size) -> tuple[int, int]:
    """Returns (height, width) of the drawing of a box."""
    if scale is not None and size is not None:
        raise UserError("scale and size", "give one of them, not both")
    if size is not None:
        try:
            height, width = (int(side) for side in size)
        except (TypeError, ValueError):
            raise UserError("size", f"{size!r} is not (height, width) in pixels") from None
    else:
        scale = 1.0 if scale is None else scale
        if not (isinstance(scale, int | float | np.number) and 0 < scale < math.inf):
            raise UserError("scale", f"{scale!r} is not a positive number")
        height, width = (max(1, round(scale * side)) for side in (box[2] - box[0], box[3] - box[1]))
    if height < 1 or width < 1 or height * width > _LARGEST:
        raise UserError(
            "",
            f"{height}×{width} pixels (height×width) cannot be drawn, only 1 to {_LARGEST}",
            "give a box to draw a part",
        )
    return height, width
