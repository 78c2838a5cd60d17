"""Random holes of a given size, and the curriculum of sizes.

A hole is bool [H, W], True where the image should be filled. For every kind, the fraction of the
image that it covers is within RATIO_TOLERANCE of the requested one. (In images under 48 pixels per
side, there may be no rectangle of such an area. Then the closest one is used, which is off by at
most 0.014 at 32 pixels and 0.02 at 24.)
"""

import difflib
import functools
import itertools
import logging
import math
import operator
import os
from collections.abc import Sequence

import cv2
import numpy as np

from gsjax.data import strokes
from gsjax.data.mask_files import looks_inverted, read_hole
from gsjax.data.sources import list_images
from gsjax.errors import UserError, at

RATIO_TOLERANCE = 0.01  # of the image's area


def draw_hole(
    rng: np.random.Generator, kind: str, shape: tuple[int, int], ratio: float
) -> np.ndarray:
    """Draws a random hole.

    Args:
      rng: all randomness comes from it.
      kind: `irregular` (thick lines, disks and arcs), `free_form` (turning brush strokes),
        `center` (one centered rectangle), `rectangles` (1 to 4), or `files:DIR` (a mask image
        from that folder, rotated and flipped at random).
      shape: (H, W) in pixels.
      ratio: the fraction of the image that is hole, 0 < ratio < 1.

    Returns:
      bool [H, W], True in the hole.

    Raises:
      UserError: there is no such kind, or `files:DIR` has no usable mask.
    """
    count = min(max(round(ratio * math.prod(shape)), 1), math.prod(shape) - 1)
    if kind in _DRAW:
        return _DRAW[kind](rng, shape, count)
    if kind.startswith("files:"):
        return strokes.fit_area(rng, _from_files(rng, kind.removeprefix("files:"), shape), count)
    check_kinds((kind,))
    raise AssertionError(kind)


def check_kinds(kinds: Sequence[str]) -> None:
    """Raises UserError unless every kind can be drawn, including `files:DIR`."""
    if isinstance(kinds, str) or not all(isinstance(kind, str) for kind in kinds):
        raise UserError("", f"{kinds!r} is not a list of kinds, such as ('irregular',)")
    if not kinds:
        raise UserError("", "it is empty", f"there are {', '.join(KINDS)}")
    for kind in kinds:
        if kind.startswith("files:"):
            _check_files(kind.removeprefix("files:"))
        elif kind not in KINDS or kind == "files:DIR":
            guess = difflib.get_close_matches(kind, KINDS, n=1, cutoff=0.4)
            hint = f"did you mean {guess[0]}?" if guess else ""
            raise UserError(
                "", f"'{kind}' is not a kind of mask", f"{hint}\nThere are {', '.join(KINDS)}."
            )


def ratio_at(curriculum: Sequence[tuple[int, float, float]], step: int) -> tuple[float, float]:
    """Returns (low, high) at a step: those of the last entry that has begun."""
    return next((low, high) for start, low, high in reversed(curriculum) if start <= step)


def check_curriculum(curriculum: Sequence) -> None:
    """Raises UserError unless it is ((0, low, high), (step, low, high), …), steps ascending."""
    example = "such as ((0, 0.2, 0.2), (20000, 0.2, 0.4))"
    try:
        entries = [
            (operator.index(start), float(low), float(high)) for start, low, high in curriculum
        ]
    except (TypeError, ValueError):
        raise UserError("", f"entries are (step, low, high), {example}") from None
    if not entries or entries[0][0] != 0:
        raise UserError("", f"the first entry must start at step 0, {example}")
    for (start, _, _), (following, _, _) in itertools.pairwise(entries):
        if following <= start:
            raise UserError("", f"step {following} comes after step {start}", "steps must ascend")
    for start, low, high in entries:
        with at(f"step {start}"):
            check_ratio((low, high))


def check_ratio(ratio: Sequence) -> None:
    """Raises UserError unless `ratio` is (low, high) with 0 < low ≤ high < 1."""
    try:
        low, high = (float(bound) for bound in ratio)
    except (TypeError, ValueError):
        raise UserError("", f"{ratio!r} is not (low, high), such as (0.2, 0.6)") from None
    if not 0 < low <= high < 1:
        raise UserError("", f"({low}, {high}) is not 0 < low ≤ high < 1")


# Rectangles: the last one is chosen to make the total area right.


def _center(rng: np.random.Generator, shape: tuple[int, int], count: int) -> np.ndarray:
    height, width = shape
    hole = np.zeros(shape, bool)
    areas = np.outer(np.arange(1, height + 1), np.arange(1, width + 1))
    h, w = _side_lengths(areas, count, _allowance(shape), height / width)
    y, x = (height - h) // 2, (width - w) // 2
    hole[y : y + h, x : x + w] = True
    return hole


def _rectangles(rng: np.random.Generator, shape: tuple[int, int], count: int) -> np.ndarray:
    height, width = shape
    hole = np.zeros(shape, bool)
    shares = rng.uniform(0.4, 1.0, rng.integers(1, 5))
    shares /= shares.sum()
    # All but the last cover less than `count` pixels together, even without overlap.
    for share in shares[:-1]:
        h, w = _random_sides(rng, shape, share * count)
        y, x = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
        hole[y : y + h, x : x + w] = True
    needed = count - int(np.count_nonzero(hole))
    allowance = _allowance(shape)
    for attempt in range(8):
        h, w = _random_sides(rng, shape, needed / (1 - hole.mean()))
        y, x = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
        if attempt == 7:  # from the corner, a rectangle can cover everything
            y, x = 0, 0
        # free[i, j]: how many pixels a rectangle of sides i + 1, j + 1 would add.
        free = (~hole[y:, x:]).astype(np.int32).cumsum(0).cumsum(1)
        if free[-1, -1] >= needed - allowance:
            h, w = _side_lengths(free, needed, allowance, h / w)
            if abs(int(free[h - 1, w - 1]) - needed) <= allowance:
                break
    hole[y : y + h, x : x + w] = True
    return hole


def _allowance(shape: tuple[int, int]) -> float:
    """Returns the tolerance for areas of rectangles in pixels: a row, or less in small images."""
    return min(max(shape), 0.8 * RATIO_TOLERANCE * math.prod(shape))


def _random_sides(rng: np.random.Generator, shape: tuple[int, int], area: float) -> tuple[int, int]:
    """Returns sides (h, w) of a rectangle of about this area that fits into the image."""
    height, width = shape
    h = math.sqrt(area * height / width * 2 ** rng.uniform(-1, 1))
    h = min(max(h, area / width), height)
    return min(max(round(h), 1), height), min(max(round(area / h), 1), width)


def _side_lengths(
    areas: np.ndarray, count: int, allowance: float, aspect: float
) -> tuple[int, int]:
    """Returns the sides (h, w), nearest to the aspect h / w, where areas[h-1, w-1] ≈ count."""
    h, w = np.nonzero(np.abs(areas - count) <= allowance)
    if not len(h):
        nearest = np.unravel_index(np.argmin(np.abs(areas - count)), areas.shape)
        return int(nearest[0]) + 1, int(nearest[1]) + 1
    best = np.argmin(np.abs(np.log((h + 1) / (w + 1) / aspect)))
    return int(h[best]) + 1, int(w[best]) + 1


# Every kind but files, by its name in configs: functions of (rng, shape, count).
_DRAW = {
    "irregular": strokes.irregular,
    "free_form": strokes.free_form,
    "center": _center,
    "rectangles": _rectangles,
}
KINDS = (*_DRAW, "files:DIR")


# Files.


def _from_files(rng: np.random.Generator, folder: str, shape: tuple[int, int]) -> np.ndarray:
    """Returns a random mask of the folder, rotated, flipped and resized: uint8 [H, W]."""
    files = _mask_files(folder)
    turns, flip = int(rng.integers(4)), bool(rng.integers(2))
    first = int(rng.integers(len(files))) if files else 0
    for offset in range(len(files)):  # usually, the first one is usable
        hole = _usable_hole(files[(first + offset) % len(files)])
        if hole is not None:
            hole = np.rot90(hole, turns)[:, :: -1 if flip else 1].astype(np.uint8)
            hole = cv2.resize(hole, shape[::-1], interpolation=cv2.INTER_NEAREST)
            if hole.any():
                return hole
    raise UserError(f"files:{folder}", "no mask in this folder has a hole")


@functools.lru_cache
def _mask_files(folder: str) -> list[str]:
    return list_images(os.path.expanduser(folder))


def _usable_hole(path: str) -> np.ndarray | None:
    try:
        hole = read_hole(path)
    except Exception:  # decoders may raise anything on a broken file
        return None
    return hole if hole.any() and not hole.all() else None


def _check_files(folder: str) -> None:
    if not os.path.isdir(os.path.expanduser(folder)):
        raise UserError("", f"the folder of masks '{folder}' does not exist")
    _mask_files.cache_clear()  # files may have been added since
    holes = (_usable_hole(file) for file in _mask_files(folder))
    hole = next((hole for hole in holes if hole is not None), None)
    if hole is not None and looks_inverted(hole):
        logging.warning(
            "a mask in '%s' covers %.0f %% of its image: is it inverted? Holes are what is not "
            "black", folder, 100 * hole.mean(),
        )  # fmt: skip
    if hole is None:
        raise UserError(
            "",
            f"the folder '{folder}' holds no mask",
            "a mask is an image that is black where pixels are known and not black where they "
            "are to be filled",
        )
