"""Reads mask files, for all commands, and finds the masks of pictures.

A mask is hole where it is brighter than a threshold when composited over black. The threshold is 0,
or half the range for lossy files, whose black is inexact.
"""

import difflib
import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from gsjax.data.containers import Refused
from gsjax.data.raster import Raster
from gsjax.data.reader import MAX_PIXELS, read
from gsjax.files import read_regular

LOSSY_THRESHOLD = 127  # of 255
MOSTLY = 0.9  # a hole that covers more of the image, or of its border, is probably inverted
_MARK = re.compile(r"(.+)_mask\d*$", re.IGNORECASE)


def read_hole(
    path: str | os.PathLike,
    threshold: int | None = None,
    invert: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> Bool[np.ndarray, "h w"]:
    """Reads a mask: True where it is brighter than the threshold, and not transparent.

    Args:
      path: any picture; it is turned upright, and its brightest channel counts.
      threshold: of 255; by default 0, or `LOSSY_THRESHOLD` for lossy files.
      invert: True is hole where it is not brighter, as in MAT's masks.
      max_pixels: larger masks are refused.

    Raises:
      OSError: the file cannot be read.
      Refused: its content cannot be decoded; see `reader.read`.
    """
    return decode_hole(read_regular(path), threshold, invert, max_pixels)


def decode_hole(
    data: bytes, threshold: int | None = None, invert: bool = False, max_pixels: int = MAX_PIXELS
) -> Bool[np.ndarray, "h w"]:
    """Does the same as `read_hole` with the content of a file."""
    raster = read(data, max_pixels)
    if raster.pixels.dtype.kind == "f":
        raise Refused("floating-point pixels; convert it to 8 bits")
    if threshold is None:
        threshold = LOSSY_THRESHOLD if raster.lossy else 0
    return brighter_than(raster, threshold) ^ invert


def brighter_than(raster: Raster, threshold: int) -> Bool[np.ndarray, "h w"]:
    """Returns where a picture, composited over black, is brighter than a threshold of 255."""
    values = raster.pixels.max(-1) if raster.pixels.ndim == 3 else raster.pixels
    top = np.iinfo(values.dtype).max
    # Some 16-bit masks use only 8 bits, with 255 for white.
    step = 257 if top > 255 and values.max(initial=0) > 255 else 1
    if raster.alpha is None:
        return values > threshold * step
    shown = (values.astype(np.uint32) * raster.alpha + top // 2) // top
    return shown > threshold * step


def hole_warning(hole: Bool[np.ndarray, "h w"]) -> str | None:
    """Returns a warning about an unusual hole, which is filled nevertheless, or None."""
    share = hole.mean()
    if share == 0:
        return "the mask is empty, nothing is to be filled: holes are what is not black"
    if share == 1:
        return "the mask covers the whole image: nothing is known to fill it from"
    if looks_inverted(hole):
        return (
            f"the mask covers {100 * share:.1f} % of the image: is it inverted? Holes are what is "
            "not black; --invert takes black for hole"
        )
    return None


def looks_inverted(hole: Bool[np.ndarray, "h w"]) -> bool:
    """Returns whether a hole covers nearly all, or over half and nearly all of the border."""
    share = hole.mean()
    border = np.concatenate([hole[0], hole[-1], hole[:, 0], hole[:, -1]])
    return bool(share > MOSTLY or (share > 0.5 and border.mean() > MOSTLY))


class MaskMatcher:
    """Finds masks by the names of their pictures.

    The masks of `x.jpg` are `x.png`, `x_mask.png` and `x_mask001.png` (any number, any format) at
    the same relative path. Case and Unicode normalization are ignored, unless two masks differ in
    nothing else.

    Args:
      files: the masks, in `folder` or its subfolders.
      folder: the folder of masks.
      marked: accept only names with `_mask`, because masks and pictures share the folder.
    """

    def __init__(self, files: Iterable[str | Path], folder: Path, marked: bool = False):
        self._folder, self._marked = folder, marked
        self._by_place: dict[str, list[tuple[Path, Path]]] = {}
        for file in map(Path, files):
            place = file.relative_to(folder).with_suffix("")
            mark = _MARK.match(place.name)
            places = [] if marked else [place]
            places += [place.with_name(mark[1])] if mark else []
            for fitting in places:
                self._by_place.setdefault(_plain(fitting), []).append((fitting, file))

    def find(self, place: Path) -> list[Path]:
        """Returns the candidate masks of the picture at `place`, a path without suffix."""
        candidates = self._by_place.get(_plain(place), [])
        exact = [file for fitting, file in candidates if fitting == place]
        return sorted(set(exact or (file for _, file in candidates)))

    def expected(self, place: Path) -> str:
        """Returns a message with the accepted names, and perhaps the mask that was meant."""
        stem = place.name
        names = "" if self._marked else f"{stem}.png, "
        text = f"there is no {names}{stem}_mask.png or {stem}_mask001.png in {self._folder}"
        near = difflib.get_close_matches(_plain(place), self._by_place, 1, 0.6)
        return f"{text}; did you mean {self._by_place[near[0]][0][1]}?" if near else text


def is_marked(name: str) -> bool:
    """Returns whether a file name without suffix is marked as a mask."""
    return _MARK.match(name) is not None


def describe(masks: Sequence[Path]) -> str:
    """Returns a message that a picture has several masks."""
    return f"it has {len(masks)} masks, {', '.join(map(str, masks))}; keep one"


def _plain(place: Path) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", str(place)).casefold())
