"""Irregular holes: shapes and brush strokes that cover a given number of pixels."""

import math
from collections.abc import Iterator

import cv2
import numpy as np

_MAX_SHAPES = 400  # afterwards the drawing is grown; reached only near a ratio of 1


def irregular(rng: np.random.Generator, shape: tuple[int, int], count: int) -> np.ndarray:
    """Returns thick lines, disks and arcs that cover about `count` pixels: bool [H, W]."""
    return _draw(rng, _shapes, shape, count)


def free_form(rng: np.random.Generator, shape: tuple[int, int], count: int) -> np.ndarray:
    """Returns zigzag brush strokes that cover about `count` pixels: bool [H, W]."""
    return _draw(rng, _brush, shape, count)


def fit_area(
    rng: np.random.Generator, drawn: np.ndarray, count: int, tolerance: float = 0.004
) -> np.ndarray:
    """Thickens or thins a drawing until it covers `count` pixels.

    Pixels are ranked by their signed distance to the outline, and the `count` innermost are taken,
    which moves the outline by the same amount everywhere.

    Args:
      rng: breaks ties between pixels at the same distance, by preferring one side.
      drawn: uint8 [H, W], 1 where drawn, 0 elsewhere.
      count: number of pixels to cover, from 1 to H·W - 1.
      tolerance: fraction of H·W by which a drawing may be off without being changed.

    Returns:
      bool [H, W].
    """
    if abs(cv2.countNonZero(drawn) - count) <= tolerance * drawn.size:
        return drawn.astype(bool)
    depth = cv2.distanceTransform(drawn, cv2.DIST_L2, 5)
    depth -= cv2.distanceTransform(1 - drawn, cv2.DIST_L2, 5)
    height, width = drawn.shape
    np.clip(depth, -height - width, height + width, out=depth)  # huge without an outline
    # Distances on a grid have few values. Smoothing separates them and rounds the outline. A faint
    # ramp breaks the remaining ties (straight edges).
    depth = cv2.GaussianBlur(depth, (5, 5), 1.0)
    angle = rng.uniform(0, 2 * math.pi)
    depth += np.linspace(0, 0.02 * math.cos(angle), width, dtype=np.float32)
    depth += np.linspace(0, 0.02 * math.sin(angle), height, dtype=np.float32)[:, None]
    return depth >= nth_largest(depth, count)


def nth_largest(values: np.ndarray, n: int) -> float:
    """Returns the n-th largest of float32 values [H, W]; fast if it is near 0."""
    # Few values lie between two powers of two near 0. Partitioning only these takes a quarter of
    # the time for all.
    low, high = (0.0, 1.0) if _count_from(values, 0.0) >= n else (-1.0, 0.0)
    while _count_from(values, high) >= n:
        low, high = high, 2 * high
    while _count_from(values, low) < n:
        low, high = 2 * low, low
    near = values[(values >= low) & (values < high)]
    place = len(near) - (n - _count_from(values, high))
    return float(np.partition(near, place)[place])


def _count_from(values: np.ndarray, bound: float) -> int:
    return cv2.countNonZero(cv2.compare(values, bound, cv2.CMP_GE))


def _draw(rng: np.random.Generator, strokes, shape: tuple[int, int], count: int) -> np.ndarray:
    """Draws strokes one by one until `count` pixels are covered, then adjusts the area."""
    canvas = np.zeros(shape, np.uint8)
    # Small holes consist of small shapes.
    reach = min(shape) * min(1.0, math.sqrt(5 * count / canvas.size))
    strokes = strokes(rng, canvas, reach)
    covered = 0
    for _ in range(_MAX_SHAPES):
        before, covered_before = canvas.copy(), covered
        next(strokes)
        covered = cv2.countNonZero(canvas)
        if covered >= count:
            if covered_before and count - covered_before < covered - count:
                canvas = before
            break
    return fit_area(rng, canvas, count)


def _shapes(rng: np.random.Generator, canvas: np.ndarray, reach: float) -> Iterator[None]:
    """Draws a thick line, a disk or an elliptic arc on the canvas in every step."""
    height, width = canvas.shape
    while True:
        # One call for all random numbers of a shape: for small masks, the calls dominate.
        u = rng.random(8)
        x, y = int(u[0] * width), int(u[1] * height)
        thickness = max(1, round(min(height, width) * (0.03 + 0.08 * u[2])))
        what, angle = int(3 * u[3]), 360 * u[4]
        if what == 0:
            length = reach * (0.3 + 0.9 * u[5])
            end_x = round(x + length * math.cos(math.radians(angle)))
            end_y = round(y + length * math.sin(math.radians(angle)))
            cv2.line(canvas, (x, y), (end_x, end_y), 1, thickness)
        elif what == 1:
            cv2.circle(canvas, (x, y), max(1, round(reach * (0.04 + 0.09 * u[5]))), 1, -1)
        else:
            axes = [max(2, round(reach * (0.08 + 0.42 * part))) for part in u[5:7]]
            span = 90 + 270 * u[7]
            cv2.ellipse(canvas, (x, y), axes, angle, 0, span, 1, thickness)
        yield


def _brush(rng: np.random.Generator, canvas: np.ndarray, reach: float) -> Iterator[None]:
    """Draws a segment of a brush stroke on the canvas in every step."""
    height, width = canvas.shape
    while True:
        u = rng.random(6)
        x, y = int(u[0] * width), int(u[1] * height)
        thickness = max(2, round(reach * (0.06 + 0.1 * u[2])))
        heading, mean_turn = 2 * math.pi * u[3], (0.2 + 0.3 * u[4]) * math.pi
        segments = 4 + int(9 * u[5])
        turns = rng.normal(mean_turn, 0.25, segments)
        turns[::2] *= -1  # alternate left and right; otherwise strokes curl up in one spot
        headings = heading + turns.cumsum()
        lengths = thickness + reach * rng.uniform(0.05, 0.3, segments)
        moves_x, moves_y = lengths * np.cos(headings), lengths * np.sin(headings)
        for move_x, move_y in zip(moves_x.tolist(), moves_y.tolist(), strict=True):
            end_x, end_y = round(x + move_x), round(y + move_y)
            cv2.line(canvas, (x, y), (end_x, end_y), 1, thickness)
            yield
            if not (0 <= end_x < width and 0 <= end_y < height):
                break
            x, y = end_x, end_y
