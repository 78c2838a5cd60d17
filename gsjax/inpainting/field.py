"""The continuous field: all Gaussians that a picture's holes were filled with.

It is drawn at any resolution, whole or in part, saved, loaded, and shown as ellipses.
"""

import dataclasses
import io
import json
import math
import os
import zipfile
from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image

from gsjax.errors import UserError
from gsjax.files import write_atomically
from gsjax.inpainting.geometry import Crop, Geometry
from gsjax.inpainting.plan import make_plan
from gsjax.inpainting.windows import Axis, Patches, draw_samples
from gsjax.models.gaussian_head import Gaussians

_FORMAT = 2
_BLOCK = 256  # samples a side that are drawn at a time
_LARGEST = 2**31  # samples of a picture


@dataclasses.dataclass
class Field:
    """Gaussians over the parts of an image that were worked on.

    Attributes:
      image: the image that was given, 8 bits, with what was copied into its holes.
      hole: True where it was filled.
      size: (height, width) of the network's crops.
      patches: how the patches of a crop lie.
      crops: in the order they were painted: those of copied parts, small ones, coarse, fine.
      gaussians: those of each crop, in the pixels of their patches.
      rim: how deep a level paints; see `gsjax.inpainting.geometry.Geometry`.
      copied: True where the hole was filled from elsewhere in the image; None: nowhere.
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
        """Draws the field at another resolution, or a part of it.

        At scale 1 that is, pixel for pixel, what the network drew, known pixels too. Where
        there is no crop it is the image that was given, resampled (bicubic, with
        antialiasing). Memory beyond the result is that of a few blocks.

        Args:
          scale: pixels of the result to a pixel of the image; 1 if no size is given either.
          size: instead, (height, width) of the result.
          box: what is shown, (top, left, bottom, right) in pixels of the image; all of it
            if not given.
          hole_only: draw only the holes; all else is the image that was given, resampled.

        Raises:
          UserError: both scale and size are given, or one of the arguments makes no sense.
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
          scale: pixels of the result to a pixel of the image.
          box: what is shown, as for `render`.
          deviations: how many standard deviations the outlines are from the centers.

        Raises:
          UserError: one of the arguments makes no sense.
        """
        if not deviations > 0:
            raise UserError("deviations", f"{deviations} must be more than 0")
        box = self._checked_box(box)
        # Darkened, or nothing would stand out: the outlines have the colors of what they draw.
        canvas = self.render(scale, box=box) // 3
        for crop, gaussians in zip(self.crops, self.gaussians, strict=True):
            for ellipse in self._outlines(crop, gaussians, scale, box, deviations):
                center, axes, angle, color = ellipse
                cv2.ellipse(canvas, center, axes, angle, 0, 360, color, 1, cv2.LINE_AA, 4)
        return canvas

    def save(self, path: str | os.PathLike) -> None:
        """Writes the field as .npz, whole or not at all; docs/inpainting.md has the format.

        Raises:
          UserError: it cannot be written.
        """
        layout = {
            "format": _FORMAT,
            "crop": self.size,
            "rim": self.rim,
            "grid": self.patches.grid,
            "patch": self.patches.size,
            "overlap": self.patches.overlap,
            "normalize": self.patches.normalize,
            "crossfade": self.patches.crossfade,
        }
        copied = {} if self.copied is None else {"copied": np.packbits(self.copied, axis=1)}
        arrays = copied | {
            "layout": np.frombuffer(json.dumps(layout).encode(), np.uint8),
            "image": self.image,
            "hole": np.packbits(self.hole, axis=1),
            "crops": np.array(self.crops, np.int32).reshape(-1, 6),
            "counts": np.array([len(one.means) for one in self.gaussians], np.int32),
        }
        empty = {"means": 2, "cholesky": 3, "colors": 3}
        for name, channels in empty.items():
            listed = [getattr(gaussians, name) for gaussians in self.gaussians]
            empty_array = np.zeros((0, 0, channels), np.float32)
            arrays[name] = np.concatenate(listed) if listed else empty_array
        content = io.BytesIO()
        np.savez_compressed(content, **arrays)
        try:
            write_atomically(path, content.getvalue())
        except OSError as error:
            raise UserError(path, f"cannot write: {error.strerror or error}") from error

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Field":
        """Reads what `save` wrote; no code in the file is run.

        Raises:
          UserError: there is no such file, or it holds no field.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            layout = json.loads(arrays["layout"].tobytes())
            if layout["format"] != _FORMAT:
                raise UserError(path, f"a field of format {layout['format']}, not {_FORMAT}")
            image, rim = arrays["image"], float(layout.get("rim", 1.0))
            height, width = image.shape[:2]
            hole = np.unpackbits(arrays["hole"], axis=1)[:, :width].astype(bool)
            copied = None
            if "copied" in arrays:
                copied = np.unpackbits(arrays["copied"], axis=1)[:, :width].astype(bool)
            rows, columns = layout["grid"]
            patches = Patches(
                (rows, columns), layout["patch"], layout["overlap"], layout["normalize"],
                crossfade=bool(layout.get("crossfade", False)),
            )  # fmt: skip
            crops = [Crop(*map(int, row)) for row in arrays["crops"]]
            counts, (_, count, _) = arrays["counts"], arrays["means"].shape
            gaussians = [
                Gaussians(*three)
                for three in zip(
                    *(
                        np.split(arrays[name], np.cumsum(counts)[:-1]) if len(counts) else []
                        for name in ("means", "cholesky", "colors")
                    ),
                    strict=True,
                )
            ]
            shapes = [(one.means.shape, one.cholesky.shape, one.colors.shape) for one in gaussians]
            grids = [
                (rows * columns, crop.height // patches.size * (crop.width // patches.size))
                for crop in crops
            ]
            fits = (
                image.dtype == np.uint8
                and image.shape == (height, width, 3)
                and hole.shape == (height, width)
                and (copied is None or copied.shape == hole.shape)
                and len(crops) == len(gaussians)
                and 0 < rim <= 1
                and patches.crossfade <= patches.overlap <= patches.size / 2
                and len(counts) == len(crops)
                and all(own in grid for own, grid in zip(counts, grids, strict=True))
                and shapes
                == [((own, count, 2), (own, count, 3), (own, count, 3)) for own in counts]
            )
        except FileNotFoundError:
            raise UserError(path, "there is no such file") from None
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise UserError(f"{path} is not a field that Field.save has written") from error
        if not fits:
            raise UserError(f"{path} is not a field: its arrays do not fit together")
        return cls(image, hole, tuple(layout["crop"]), patches, crops, gaussians, rim, copied)

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
        """Draws samples from a corner on, in pixels of the image, at these distances."""
        canvas = _resampled(self.image, corner, steps, shape) / 255
        overlapping = list(self._overlapping(corner, steps, shape))
        if not overlapping:
            return _to_uint8(canvas)
        before = canvas
        # Coarser than the image, several samples are drawn to a pixel, and averaged.
        fine = tuple(max(1, math.ceil(step - 1e-9)) for step in steps)
        canvas = canvas.repeat(fine[0], 0).repeat(fine[1], 1)
        steps_between = (steps[0] / fine[0], steps[1] / fine[1])
        depth = None
        views = [self._view(*pair) for pair in overlapping]
        pairs = zip(views, overlapping, strict=True)
        if np.isfinite([view[0].reach(crop.factor) for view, (crop, _) in pairs]).any():
            depth = _resampled(self._all_depths(), corner, steps_between, canvas.shape[:2])
        for index, (crop, gaussians) in enumerate(overlapping):
            earlier = [one for one, _ in overlapping[:index] if one.layer == crop.layer]
            paint_over(
                canvas, corner, steps_between, depth, *views[index], crop, earlier, gaussians
            )
        canvas = canvas.reshape(shape[0], fine[0], shape[1], fine[1], 3).mean((1, 3))
        if hole_only:
            hole = _resampled(self.hole, corner, steps, shape)[..., None]
            canvas = before + hole * (canvas - before)
        return _to_uint8(canvas)

    def _overlapping(self, corner, steps, shape) -> Iterator[tuple[Crop, Gaussians]]:
        """Yields the crops that reach into a block."""
        bottom, right = (c + step * n for c, step, n in zip(corner, steps, shape, strict=True))
        for crop, gaussians in zip(self.crops, self.gaussians, strict=True):
            across = crop.left < right and crop.left + crop.width > corner[1]
            if across and crop.top < bottom and crop.top + crop.height > corner[0]:
                yield crop, gaussians

    def _view(self, crop: Crop, gaussians: Gaussians) -> tuple[Geometry, Patches]:
        """Returns how a crop lies in the image and its patches in it: small ones have fewer."""
        rows, columns = self.patches.grid
        if len(gaussians.means) == rows * columns:
            return self._geometry, self.patches
        size = (crop.height, crop.width)
        grid = tuple(side // self.patches.size for side in size)
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
        colors = _to_uint8(gaussians.colors.reshape(-1, 3))
        limit = scale * max(box[2] - box[0], box[3] - box[1])
        for center, axes, angle, color in zip(centers, lengths, angles, colors, strict=True):
            if np.all(np.abs(center) < 2 * limit) and axes[0] < 2 * limit:
                yield (
                    tuple(np.rint(16 * center).astype(int).tolist()),
                    tuple(np.rint(16 * axes).astype(int).tolist()),
                    float(angle),
                    tuple(color.tolist()),
                )


def paint_over(
    canvas: Float[np.ndarray, "h w 3"],
    corner: tuple[float, float],
    steps: tuple[float, float],
    depth: Float[np.ndarray, "h w"] | None,
    geometry: Geometry,
    patches: Patches,
    crop: Crop,
    earlier: Sequence[Crop],
    gaussians: Gaussians,
    drawn: Float[np.ndarray, "hc wc 3"] | None = None,
) -> None:
    """Draws a crop over what is on a canvas, as much as its weights say.

    Args:
      canvas: in [0, 1], changed in place.
      corner: (y, x) of the canvas' upper left corner, in pixels of the image.
      steps: (y, x) distances of its samples, in the same.
      depth: distance to the nearest known pixel at the samples; None: the crop's level is
        the last.
      geometry: how crops lie in the image.
      patches: how patches lie in a crop.
      crop: what is drawn.
      earlier: crops of its layer that were painted before it, whose cores are theirs.
      gaussians: the crop's.
      drawn: their drawing in [0, 1], if it is known: at the samples within the crop.
    """
    axes, ranges, points = [], [], []
    lengths = (crop.height, crop.width)
    for axis, first in enumerate((crop.top, crop.left)):
        low = (first - corner[axis]) / steps[axis] - 0.5
        high = (first + lengths[axis] - corner[axis]) / steps[axis] - 0.5
        start = max(0, math.ceil(low - 1e-9))
        stop = min(canvas.shape[axis], math.floor(high + 1e-9) + 1)
        if start >= stop:
            return
        ranges.append(slice(start, stop))
        begin = (corner[axis] + start * steps[axis] - first) / crop.factor
        axes.append(Axis(steps[axis] / crop.factor, begin, stop - start))
        points.append(corner[axis] + (np.arange(start, stop) + 0.5) * steps[axis])
    weight = geometry.crop_weight(crop, *points)
    for other in earlier:
        weight = weight * (1 - geometry.core_weight(other, *points))
    if depth is not None:
        weight = weight * geometry.level_weight(crop.factor, depth[tuple(ranges)])
    if not weight.any():
        return
    if drawn is None:
        drawn = draw_samples(gaussians, patches, *axes)
    part = canvas[tuple(ranges)]
    part += weight[..., None] * (np.clip(drawn, 0, 1) - part)


def _result_size(box, scale, size) -> tuple[int, int]:
    """Returns (height, width) of what is drawn of a box."""
    if scale is not None and size is not None:
        raise UserError("scale and size: give one of them, not both")
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
            f"{height}×{width} pixels (height×width) cannot be drawn; from 1 to {_LARGEST} in all "
            "can: give a box to draw a part"
        )
    return height, width


def _resampled(array: np.ndarray, corner, steps, shape) -> Float[np.ndarray, "h w ..."]:
    """Returns samples of an array from a corner on, in pixels of it, at these distances.

    Pictures are resampled bicubically, single channels linearly, both with antialiasing.
    """
    kernel = Image.Resampling.BICUBIC if array.ndim == 3 else Image.Resampling.BILINEAR
    slices, edges = [], []
    for axis in (0, 1):
        low, high = corner[axis], corner[axis] + steps[axis] * shape[axis]
        margin = math.ceil(3 * max(1.0, steps[axis]))  # what the kernel reaches
        first = max(0, math.floor(low) - margin)
        last = min(array.shape[axis], math.ceil(high) + margin)
        slices.append(slice(first, last))
        edges.append((max(low - first, 0), min(high - first, last - first)))
    part = np.ascontiguousarray(array[tuple(slices)])
    image = Image.fromarray(part if array.ndim == 3 else part.astype(np.float32))
    box = (edges[1][0], edges[0][0], edges[1][1], edges[0][1])
    return np.asarray(image.resize(shape[::-1], kernel, box), np.float32)


def _to_uint8(values: Float[np.ndarray, "..."]) -> UInt8[np.ndarray, "..."]:
    return np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
