"""Fills the interior of deep holes with texture copied from the picture by PatchMatch.

Near known pixels the network is excellent, and PatchMatch breaks edges. Deep in a hole the network
smears, and PatchMatch keeps texture. So PatchMatch fills whole holes, only its pixels deeper than
`DEEP` are kept, and the network paints the ring around them.
"""

import os
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, cast, get_args

import cv2
import numpy as np
from absl import logging
from jaxtyping import Bool, Integer

from gsjax.errors import UserError
from gsjax.inpainting.depth import depth_in
from gsjax.inpainting.patchmatch import find_sources, patchmatch, unavailable_reason

Deep = Literal["exemplar", "network"]
# Texture is copied where the nearest known pixel is farther than this. LPIPS falls from 12 to 20 px
# and hardly beyond (benchmarks/RESULTS.md); from 24 px on, edges that meet a hole bend in the ring.
DEEP = 20
# Margin that is searched around a hole, relative to its longer side. Less is worse; 2 is hardly
# better.
SEARCH_MARGIN = 1.0
# Maximum number of pixels to search at full resolution, which takes about 3 s per hole.
LARGEST = 2**20
_THREADS = 4  # maximum; each takes up to 200 MB
_FEWEST = 0.1  # minimum of usable pixels, relative to the hole; else the network fills alone


def check_deep(deep: str) -> Deep:
    """Returns its argument; raises UserError if it is not a way to fill deep holes."""
    if deep not in get_args(Deep):
        raise UserError("deep", f"{deep!r} is neither {' nor '.join(get_args(Deep))}")
    return cast(Deep, deep)


def copy_deep(
    image: Integer[np.ndarray, "h w 3"],
    hole: Bool[np.ndarray, "h w"],
    avoid: Bool[np.ndarray, "h w"] | None = None,
) -> Bool[np.ndarray, "h w"]:
    """Fills the deep parts of holes with pixels from their surroundings, in place.

    Each hole is filled separately, so the result does not depend on other holes, or on the number
    of threads.

    Args:
      image: uint8 or uint16.
      hole: True where it should be filled.
      avoid: True where pixels must not be copied from.

    Returns:
      True at the filled pixels: those deeper than `DEEP`, except in holes with too little around
      them to copy from.
    """
    copied = np.zeros_like(hole)
    parts = _deep_parts(hole)
    if not parts:
        return copied
    if reason := unavailable_reason():
        message = "deep holes are filled by the network alone: %s"
        logging.log_first_n(logging.WARNING, message, 1, reason)  # once, not for every image
        return copied

    def fill(part: _Part) -> np.ndarray | None:
        return _fill(image, hole, avoid, part)

    for part, values in zip(parts, _in_threads(fill, parts), strict=True):
        if values is not None:
            image[part.box][part.own] = values
            copied[part.box] |= part.own
    return copied


class _Part(NamedTuple):
    """The deep part of a hole: its bounding box, and a mask of its pixels in the box."""

    box: tuple[slice, slice]
    own: Bool[np.ndarray, "bh bw"]


def _deep_parts(hole: Bool[np.ndarray, "h w"]) -> list[_Part]:
    """Returns the deep parts of holes; parts near each other are merged."""
    if hole.all():  # the distance to the nearest known pixel is undefined
        return []
    deep = depth_in(hole) > DEEP
    cell = 2 * DEEP
    height, width = deep.shape
    rows, columns = -(-height // cell), -(-width // cell)
    padded = np.pad(deep, ((0, rows * cell - height), (0, columns * cell - width)))
    cells = padded.reshape(rows, cell, columns, cell).any((1, 3))
    count, labels = cv2.connectedComponents(cells.view(np.uint8), connectivity=8)
    parts = []
    for label in range(1, count):
        mine = labels == label
        y, x = np.flatnonzero(mine.any(1)), np.flatnonzero(mine.any(0))
        mine = mine[y[0] : y[-1] + 1, x[0] : x[-1] + 1].repeat(cell, 0).repeat(cell, 1)
        top, left = y[0] * cell, x[0] * cell
        own = deep[top : top + mine.shape[0], left : left + mine.shape[1]]
        own = own & mine[: own.shape[0], : own.shape[1]]
        y, x = np.flatnonzero(own.any(1)), np.flatnonzero(own.any(0))
        box = (slice(top + y[0], top + y[-1] + 1), slice(left + x[0], left + x[-1] + 1))
        parts.append(_Part(box, own[y[0] : y[-1] + 1, x[0] : x[-1] + 1]))
    return parts


def _fill(image, hole, avoid, part: _Part) -> Integer[np.ndarray, "n 3"] | None:
    """Returns the colors of a part's pixels; None if there is too little to copy from."""
    search = _search_box(part.box, hole.shape)
    holed, forbidden = hole[search], None if avoid is None else avoid[search] & ~hole[search]
    usable = ~holed if forbidden is None else ~holed & ~forbidden
    if np.count_nonzero(usable) < _FEWEST * np.count_nonzero(holed):
        return None
    own = np.zeros(holed.shape, bool)
    inner = tuple(
        slice(b.start - s.start, b.stop - s.start) for b, s in zip(part.box, search, strict=True)
    )
    own[inner] = part.own
    factor = int(np.ceil(np.sqrt(holed.size / LARGEST)))
    pixels = image[search]
    small, small_hole, small_usable = _shrink(pixels, holed, usable, factor)
    filled = patchmatch(small, small_hole, ~small_usable & ~small_hole)
    if factor == 1 and pixels.dtype == np.uint8:
        return filled[own]
    return _enlarge(pixels, own, filled, small_usable, factor)


def _search_box(box, shape) -> tuple[slice, slice]:
    """Returns the part of the picture to search for a hole, given the box of its deep part."""
    margin = DEEP + round(SEARCH_MARGIN * (2 * DEEP + max(b.stop - b.start for b in box)))
    rows, columns = (
        slice(max(0, b.start - margin), min(end, b.stop + margin))
        for b, end in zip(box, shape, strict=True)
    )
    return rows, columns


def _shrink(pixels, hole, usable, factor):
    """Returns 8-bit pixels, hole and usable pixels, reduced to squares of `factor` pixels.

    A square with any pixel of the hole is hole; one with any unusable pixel is unusable. At the
    edges of the picture, pixels are repeated to complete squares.
    """
    height, width = hole.shape
    pad = (-height % factor, -width % factor)
    known = np.where(hole[..., None], np.array(0, pixels.dtype), pixels)
    if pixels.dtype != np.uint8:
        known = np.rint(known / 257).astype(np.uint8)
    if factor == 1:
        return known, hole, usable
    known = cv2.copyMakeBorder(known, 0, pad[0], 0, pad[1], cv2.BORDER_REPLICATE)
    size = (known.shape[1] // factor, known.shape[0] // factor)
    small = cv2.resize(known, size, interpolation=cv2.INTER_AREA)

    def squares(mask):
        edge = np.pad(mask, ((0, pad[0]), (0, pad[1])), "edge")
        return edge.reshape(size[1], factor, size[0], factor)

    small_hole = squares(hole).any((1, 3))
    small[small_hole] = 0
    return small, small_hole, squares(usable).all((1, 3))


def _enlarge(pixels, own, filled, usable, factor) -> Integer[np.ndarray, "n 3"]:
    """Copies original pixels from where PatchMatch copied those of the reduced or 8-bit picture.

    Each pixel is the smoothly enlarged small fill, plus the detail of its source: the difference
    between the source pixel and the same enlargement there. Inside a piece that was copied as a
    whole, this is the source pixel itself; where pieces meet, no edge shows.
    """
    height, width = own.shape
    scale = np.iinfo(pixels.dtype).max / 255  # 1 or 257
    rows, columns = np.nonzero(own)
    small = np.zeros(usable.shape, bool)
    small[rows // factor, columns // factor] = True
    sources = np.full(usable.shape, -1)
    if (copied := find_sources(filled, usable, small)) is not None:
        sources[small] = copied
    smooth = filled
    if factor > 1:
        size = (usable.shape[1] * factor, usable.shape[0] * factor)
        smooth = cv2.resize(filled.astype(np.float32), size, interpolation=cv2.INTER_CUBIC)
    source = sources[rows // factor, columns // factor]
    has_source = source >= 0
    source_row, source_column = np.divmod(source, usable.shape[1])
    y = np.clip(source_row * factor + rows % factor, 0, height - 1)
    x = np.clip(source_column * factor + columns % factor, 0, width - 1)
    values = smooth[rows, columns] * np.float64(scale)
    detail = pixels[y, x] - smooth[y, x] * np.float64(scale)
    values += np.where(has_source[:, None], detail, 0)
    return np.clip(np.rint(values), 0, np.iinfo(pixels.dtype).max).astype(pixels.dtype)


def _in_threads(function: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
    """Calls a function with each item, on several cores; Ctrl-C interrupts it immediately.

    pypatchmatch releases the GIL, but does not react to Ctrl-C. So the main thread only
    waits, and the daemon threads do not keep the program from exiting.
    """
    todo: queue.SimpleQueue = queue.SimpleQueue()
    done: queue.SimpleQueue = queue.SimpleQueue()
    for number, item in enumerate(items):
        todo.put((number, item))

    def work() -> None:
        while True:
            try:
                number, item = todo.get_nowait()
            except queue.Empty:
                return
            try:
                done.put((number, function(item), None))
            except BaseException as error:
                done.put((number, None, error))

    for _ in range(min(len(items), _THREADS, os.cpu_count() or 1)):
        threading.Thread(target=work, daemon=True).start()
    results = [None] * len(items)
    for _ in items:
        number, result, error = _wait(done)
        if error is not None:
            raise error
        results[number] = result
    return results


def _wait(answers: queue.SimpleQueue) -> Any:
    while True:  # short waits, because an endless one ignores Ctrl-C on Windows
        try:
            return answers.get(timeout=0.1)
        except queue.Empty:
            continue
