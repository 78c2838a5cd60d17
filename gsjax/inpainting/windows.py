"""Draws the Gaussians of a crop at any resolution, window by window, in one compiled program.

A window is a small square of samples in one patch. Its Gaussians are shifted and scaled so that
samples become pixels, and splatted as usual. Seams between patches are blended as in
`models.patches`, with weights that are interpolated between the centers of the network's pixels.
"""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gsjax.kernels.rasterizer.reference import fade
from gsjax.models.gaussian_head import Gaussians
from gsjax.models.inpainter import draw

_AT_ONCE = 256  # small windows drawn at a time
# Summed opacity at which a sample and the mean of the surrounding pixels have equal weight.
_FAINT = 0.1


class Patches(NamedTuple):
    """The layout of a crop's patches, and how their Gaussians are drawn."""

    grid: tuple[int, int]  # rows, columns
    size: int  # side in pixels
    overlap: int  # pixels by which patches draw over their neighbors
    normalize: bool  # opacity-weighted mean of colors instead of their sum
    backend: str = "auto"
    crossfade: bool = False  # patches crossfade within the overlap


class Axis(NamedTuple):
    """Samples along an axis: sample i is at (i + ½) · step + start, in network pixels.

    Position 0 is the edge of the first pixel, whose center is at ½.
    """

    step: float
    start: float
    samples: int


def draw_samples(
    gaussians: Gaussians, patches: Patches, y: Axis, x: Axis
) -> Float[np.ndarray, "h w 3"]:
    """Draws a crop's Gaussians at samples, which must lie within the crop.

    Takes memory for the result and some windows. With a step of 1 from position 0, the result is
    what the network draws.
    """
    # Two programs: at fine steps, larger windows are less work.
    larger = 4 if max(y.step, x.step) < 0.3 else 1
    side, at_once = larger * (patches.size + 2 * patches.overlap), _AT_ONCE // larger**2
    rows = _windows(patches, patches.grid[0], y, side)
    columns = _windows(patches, patches.grid[1], x, side)
    result = np.zeros((y.samples + side, x.samples + side, 3), np.float32)
    listed = [(row, column) for row in rows for column in columns]
    for start in range(0, len(listed), at_once):
        some = listed[start : start + at_once]
        full = some + some[:1] * (at_once - len(some))
        patch = np.array([(row[0], column[0]) for row, column in full], np.int32)
        # In double precision: single has too few digits in large images.
        first = np.array([(row[1] + 0.5, column[1] + 0.5) for row, column in full])
        where = first * (y.step, x.step) + (y.start, x.start) - patch * patches.size
        steps = np.array([y.step, x.step], np.float32)
        drawn = np.asarray(
            _draw_windows(gaussians, patches, side, patch, where.astype(np.float32), steps)
        )
        for (row, column), window in zip(some, drawn, strict=False):
            result[row[1] : row[1] + side, column[1] : column[1] + side] += window
    return result[: y.samples, : x.samples]


def _windows(patches: Patches, count: int, axis: Axis, side: int) -> list[tuple[int, int]]:
    """Returns (patch, first sample) of the windows that cover an axis."""
    windows = []
    margin = patches.overlap + 0.5
    for patch in range(count):
        low = (patch * patches.size - margin - axis.start) / axis.step - 0.5
        high = ((patch + 1) * patches.size + margin - axis.start) / axis.step - 0.5
        first, last = max(int(np.ceil(low)), 0), min(int(np.floor(high)), axis.samples - 1)
        windows += [(patch, sample) for sample in range(first, last + 1, side)]
    return windows


@functools.partial(jax.jit, static_argnums=(1, 2))
def _draw_windows(gaussians, patches: Patches, side: int, patch, where, steps):
    """Draws windows of side² samples; `where` has (y, x) of their first samples in the patch."""
    index = patch[:, 0] * patches.grid[1] + patch[:, 1]
    own = jax.tree.map(lambda array: array[index], gaussians)
    # A patch's pixel i has its center at i − overlap + ½.
    origin = (where + patches.overlap - 0.5)[:, None, ::-1]
    means = (own.means - origin) / steps[::-1]
    # The rows of L are x and y.
    cholesky = own.cholesky / jnp.stack([steps[1], steps[0], steps[0]])
    # Small Gaussians fade by their area in network pixels, at any resolution.
    anew = fade(cholesky)
    share = (fade(own.cholesky) / jnp.where(anew > 0, anew, 1.0))[..., None]
    samples = jnp.arange(side) * steps[:, None]
    y, x = where[:, :1] + samples[0], where[:, 1:] + samples[1]
    scaled = Gaussians(means, cholesky, own.colors)
    drawn = _between_pixels(scaled, share, own, patches, patch, y, x)
    return drawn * _weights(patches, patch, y, x)[..., None]


def _between_pixels(scaled: Gaussians, share, own: Gaussians, patches: Patches, patch, y, x):
    """Draws samples; at the centers of the network's pixels, they are what the network drew.

    Training never constrained the field between these centers: a small Gaussian may stick out, and
    opacities to divide by may vanish. So a sample is clipped to the range of the surrounding
    pixels, and blends into their mean where the summed opacity is faint.
    """
    side, extent = y.shape[1], patches.size + 2 * patches.overlap
    pixels = _shown_pixels(own, patches, patch)
    low, high = (_of_neighbors(pixels, pick) for pick in (jnp.minimum, jnp.maximum))
    y, x = (jnp.clip(at + patches.overlap - 0.5, 0, extent - 1) for at in (y, x))
    shares = [jnp.maximum(0, 1 - jnp.abs(at[..., None] - jnp.arange(extent))) for at in (y, x)]
    around = jnp.einsum(
        "myi,mxj,mijc->myxc",
        *shares,
        jnp.concatenate([low, pixels, high], axis=-1),
        precision="highest",
    )
    low, mean, high = jnp.split(around, 3, axis=-1)
    colors = scaled.colors * share
    if patches.normalize:
        colors = jnp.concatenate([colors, share], axis=-1)
    drawn = draw(dataclasses.replace(scaled, colors=colors), (side, side), False, patches.backend)
    if patches.normalize:
        opacity = drawn[..., -1:]
        part = opacity / (opacity + _FAINT)
        drawn = part * drawn[..., :-1] / jnp.maximum(opacity, 1e-3) + (1 - part) * mean
    return jnp.clip(drawn, low, high)


def _of_neighbors(pixels, pick):
    """Returns the minimum or maximum over each pixel and its eight neighbors."""
    for axis in (1, 2):
        pad = [(int(i == axis),) * 2 for i in range(4)]
        padded = jnp.pad(pixels, pad, mode="edge")
        before, after = (
            jax.lax.slice_in_dim(padded, start, start + pixels.shape[axis], axis=axis)
            for start in (0, 2)
        )
        pixels = pick(pick(before, after), pixels)
    return pixels


def _shown_pixels(own: Gaussians, patches: Patches, patch) -> Float[Array, "m e e 3"]:
    """Draws padded patches; pixels not shown in the picture are replaced by the nearest shown one.

    Training never constrained such pixels, which are in the corners and outside of the crop.
    """
    extent = patches.size + 2 * patches.overlap
    pixels = draw(own, (extent, extent), patches.normalize, patches.backend)
    centers = jnp.broadcast_to(jnp.arange(extent) - patches.overlap + 0.5, (len(patch), extent))
    shown = (_weights(patches, patch, centers, centers) > 0)[..., None]
    inside = jnp.clip(jnp.arange(extent), patches.overlap, patches.overlap + patches.size - 1)
    own_rows = pixels[:, inside]
    nearest = jnp.where(shown[:, inside], own_rows, own_rows[:, :, inside])
    return jnp.where(shown, pixels, nearest)


def _weights(patches: Patches, patch, y, x) -> Float[Array, "m s s"]:
    """Returns the weight of each sample in its window's patch; over all patches they sum to 1."""
    p, o = float(patches.size), float(patches.overlap)

    def own(position, index, count, rise):
        low = jnp.where(index > 0, rise(position), 1.0)
        high = jnp.where(index < count - 1, rise(p - position), 1.0)
        return jnp.maximum(low + high - 1.0, 0.0)

    def half(t):  # ½ within the overlap
        return (jnp.clip(0.5 + t + o, 0, 1) + jnp.clip(0.5 + t - o, 0, 1)) / 2

    def fading(t):
        return jnp.clip((t + o) / (2 * o), 0, 1)

    def whole(t):  # no overlap
        return jnp.clip(0.5 + t, 0, 1)

    row, column = patch[:, :1], patch[:, 1:]
    if patches.crossfade:
        across = own(x, column, patches.grid[1], fading)
        return own(y, row, patches.grid[0], fading)[:, :, None] * across[:, None, :]
    across = own(x, column, patches.grid[1], half)
    # Where columns meet, and at the left and right border, rows do not overlap.
    seam = jnp.abs(x - p * jnp.round(x / p))
    apart = jnp.clip(0.5 + o - seam, 0, 1)[:, None, :]
    down = [own(y, row, patches.grid[0], rise)[:, :, None] for rise in (half, whole)]
    return ((1 - apart) * down[0] + apart * down[1]) * across[:, None, :]
