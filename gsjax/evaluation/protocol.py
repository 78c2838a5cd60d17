"""The evaluation protocol: images and holes that are the same for every method and run."""

import dataclasses
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from absl import logging
from jaxtyping import Bool, UInt8
from PIL import Image

from gsjax.data.containers import Refused
from gsjax.data.examples import Band
from gsjax.data.images import ImageSource, UnreadableImage
from gsjax.data.mask_files import MaskMatcher, looks_inverted, read_hole
from gsjax.data.masks import RATIO_TOLERANCE, draw_hole
from gsjax.data.sources import list_images
from gsjax.errors import UserError, suggestion

KINDS = ("irregular", "free_form")  # of drawn holes, alternating
CENTER = "center"
FILES = "masks"  # name of the only band with holes from files
_STREAM = 3  # of random numbers; different from those of training and validation


@dataclasses.dataclass(frozen=True)
class Protocol:
    """Images of a source and their holes, drawn in bands or read from files.

    Attributes:
      source: of the images.
      indices: of the images to use.
      size: side of the images in pixels.
      seed: of the drawn holes.
      bands: of the drawn holes; with masks, the single band `FILES`.
      masks: a mask file for each image, by its index; if empty, holes are drawn.
      invert: whether black is hole in the masks.
    """

    source: ImageSource
    indices: Sequence[int]
    size: int
    seed: int
    bands: Sequence[Band]
    masks: Sequence[str] = ()
    invert: bool = False

    def crops(self) -> Iterator[tuple[int, UInt8[np.ndarray, "s s 3"]]]:
        """Yields the index and the center square, resized to `size`, of each readable image."""
        for index in self.indices:
            try:
                image = self.source[index]
            except UnreadableImage as error:
                logging.warning("left out: %s", error)
                continue
            yield index, center_square(image, self.size)

    def hole(self, index: int, band: Band) -> Bool[np.ndarray, "s s"]:
        """Returns the hole of image `index` in a band; depends only on these and the seed."""
        if self.masks:
            return self._from_file(self.masks[index])
        if band.name == CENTER:
            hole = np.zeros((self.size, self.size), bool)
            quarter = self.size // 4
            hole[quarter : self.size - quarter, quarter : self.size - quarter] = True
            return hole
        # Seeded by the band's limits and not its index, so that holes do not depend on other bands.
        place = round(1000 * band.low), round(1000 * band.high)
        rng = np.random.default_rng((self.seed, _STREAM, index, *place))
        kind = band.kinds[index % len(band.kinds)]
        while True:  # drawing is slightly less exact than the bands
            hole = draw_hole(rng, kind, (self.size,) * 2, rng.uniform(band.low, band.high))
            if band.low <= hole.mean() <= band.high:
                return hole

    def _from_file(self, path: str) -> Bool[np.ndarray, "s s"]:
        try:
            hole = read_hole(path, invert=self.invert)
        except (OSError, Refused) as error:
            raise UserError("--masks", f"{path}: {error}") from error
        hole = _square(hole).astype(np.uint8)
        hole = cv2.resize(hole, (self.size,) * 2, interpolation=cv2.INTER_NEAREST_EXACT)
        return hole.astype(bool)


def parse_bands(names: Sequence[str]) -> list[Band]:
    """Parses bands such as `5-20`, in percent of the image, and `center`.

    Raises:
      UserError: a name is neither, or is repeated.
    """
    bands: list[Band] = []
    for name in names:
        match = re.fullmatch(r"(\d+(?:\.\d+)?)-(\d+(?:\.\d+)?)", name.strip())
        if name.strip() == CENTER:
            band = Band(CENTER, (CENTER,), 0.25, 0.25)
        elif match:
            low, high = float(match[1]) / 100, float(match[2]) / 100
            if not 0 < low < high < 1 or high - low < 2 * RATIO_TOLERANCE - 1e-9:
                raise UserError(
                    "--bands",
                    f"{name}: percents of the image that are hole, from above 0 to below 100, at "
                    f"least {200 * RATIO_TOLERANCE:g} apart, such as 20-40",
                )
            band = Band(f"{float(match[1]):g}-{float(match[2]):g}", KINDS, low, high)
        else:
            meant = suggestion(name, [CENTER])
            hint = f"; did you mean {meant}?" if meant else ""
            raise UserError(
                "--bands", f"{name!r} is neither like 20-40, in percent, nor center{hint}"
            )
        if band.name in [other.name for other in bands]:
            raise UserError("--bands", f"{band.name} is given twice")
        bands.append(band)
    if not bands:
        raise UserError("--bands", "it is empty", "name bands, such as 20-40,center")
    return bands


def match_masks(
    source: ImageSource, indices: Sequence[int], folder: str, size: int, invert: bool = False
) -> list[str]:
    """Returns a mask file for each image: by name if any name matches, else in turn.

    `MaskMatcher` defines which names match. All masks that are used are checked.

    Raises:
      UserError: the folder does not exist or has no masks, only some images have masks, an image
        has several, or a mask is unusable.
    """
    path = Path(folder).expanduser()
    if not path.is_dir():
        what = "is a file, not a folder" if path.exists() else "does not exist"
        raise UserError("--masks", f"the folder {folder} {what}")
    files = list_images(path)
    if not files:
        raise UserError("--masks", f"the folder {folder} holds no images")
    matcher = MaskMatcher(files, path)
    names = [Path(source.short_name(index)) for index in indices]
    places = [Path(name.stem) if name.is_absolute() else name.with_suffix("") for name in names]
    fitting = [matcher.find(place) for place in places]
    for index, masks in zip(indices, fitting, strict=True):
        if len(masks) > 1:
            raise UserError(
                "--masks",
                f"{source.short_name(index)} has {len(masks)} masks, {masks[0]} and {masks[1]}",
                "keep one",
            )
    found = [str(masks[0]) for masks in fitting if masks]
    if not found:
        found = [files[index % len(files)] for index in indices]
    elif len(found) < len(fitting):
        missing = fitting.index([])
        raise UserError(
            "--masks",
            f"{folder} has masks for {len(found)} of {len(fitting)} images, but "
            f"none for {source.short_name(indices[missing])}: "
            f"{matcher.expected(places[missing])}. Name one for each, or none of them like an "
            "image to have them used in turn",
        )
    _check_masks(Protocol(source, indices, size, 0, (), invert=invert), sorted(set(found)))
    by_index = dict(zip(indices, found, strict=True))
    return [by_index.get(index, "") for index in range(len(source))]


def _check_masks(protocol: Protocol, files: list[str]) -> None:
    inverted = []
    for file in files:
        hole = protocol._from_file(file)
        if not hole.any() or hole.all():
            what = "all hole" if hole.any() else "empty"
            raise UserError(
                "--masks", f"{file} is {what} in its center square", "holes are not black"
            )
        inverted += [file] * looks_inverted(hole)
    if len(inverted) * 2 > len(files):
        logging.warning(
            "--masks: %d of %d masks cover nearly all of their images, the first %s: are they "
            "inverted? Holes are what is not black; --invert takes black for hole",
            len(inverted), len(files), inverted[0],
        )  # fmt: skip


def center_square(image: UInt8[np.ndarray, "h w 3"], size: int) -> UInt8[np.ndarray, "s s 3"]:
    """Returns the central square of an image, resized with a Lanczos filter."""
    square = Image.fromarray(np.ascontiguousarray(_square(image)))
    return np.asarray(square.resize((size, size), Image.Resampling.LANCZOS))


def _square(array: np.ndarray) -> np.ndarray:
    height, width = array.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return array[top : top + side, left : left + side]
