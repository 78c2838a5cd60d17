"""Cutting and blending of patches against a loop over pixels."""

import numpy as np
import pytest

from gsjax.models import patches
from tests.quick import jit

P = 4
GRIDS = [(1, 1), (1, 3), (2, 1), (2, 3), (3, 2)]
blend = jit(patches.blend, static_argnums=(1, 2))
crossfade = jit(patches.crossfade, static_argnums=(1, 2))
cut = jit(patches.cut, static_argnums=(1, 2))


def blended_pixel(views, row, column, y, x, overlap):
    """The pixel (y, x) of a patch's own p×p: as the published code blends.

    `views(row, column, y, x)` is what a patch drew there, or None if there is no such patch.
    """

    def ring(position):
        return -1 if position < overlap else 1 if position >= P - overlap else 0

    own = views(row, column, y, x)
    if step := ring(x):  # columns overwrite what rows have blended
        neighbor = views(row, column + step, y, x - step * P)
    elif step := ring(y):
        neighbor = views(row + step, column, y - step * P, x)
    else:
        return own
    return own if neighbor is None else (own + neighbor) / 2


@pytest.mark.parametrize("overlap", [0, 1, 2])
@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_blending_is_that_of_the_formula(grid, overlap):
    rows, columns = grid
    extent = P + 2 * overlap
    rng = np.random.default_rng(0)
    drawn = rng.random((2, rows * columns, extent, extent, 3), np.float32)

    def views(row, column, y, x):
        if 0 <= row < rows and 0 <= column < columns:
            return drawn[:, row * columns + column, y + overlap, x + overlap]
        return None

    expected = np.zeros((2, rows * P, columns * P, 3))
    for y, x in np.ndindex(expected.shape[1:3]):
        expected[:, y, x] = blended_pixel(views, y // P, x // P, y % P, x % P, overlap)
    np.testing.assert_allclose(blend(drawn, grid, overlap), expected, atol=1e-6)


@pytest.mark.parametrize("overlap", [0, 1, 2])
@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_patches_cut_from_an_image_blend_to_that_image(grid, overlap):
    image = np.random.default_rng(0).random((2, P * grid[0], P * grid[1], 3), np.float32)
    np.testing.assert_array_equal(blend(cut(image, P, overlap), grid, overlap), image)
    if overlap:
        faded = crossfade(cut(image, P, overlap), grid, overlap)
        np.testing.assert_allclose(faded, image, atol=1e-6)


@pytest.mark.parametrize("reach", [1, 2])
@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_fading_is_a_mean_by_the_distances_from_the_seams(grid, reach):
    rows, columns = grid
    extent = P + 2 * reach
    drawn = np.random.default_rng(0).random((2, rows * columns, extent, extent, 3), np.float32)
    expected = np.zeros((2, rows * P, columns * P, 3))

    def weight(pixel, patch, count):
        center = pixel + 0.5 - patch * P  # from the patch's edge on
        low = (center + reach) / (2 * reach) if patch > 0 else 1
        high = (P - center + reach) / (2 * reach) if patch < count - 1 else 1
        return np.clip(min(low, high), 0, 1)

    for y, x in np.ndindex(expected.shape[1:3]):
        for row, column in np.ndindex(grid):
            share = weight(y, row, rows) * weight(x, column, columns)
            if share:
                place = y - row * P + reach, x - column * P + reach
                expected[:, y, x] += share * drawn[:, row * columns + column, *place]
    np.testing.assert_allclose(crossfade(drawn, grid, reach), expected, atol=1e-6)


@pytest.mark.parametrize("overlap", [0, 1, 2])
def test_cut_patches_are_windows_of_the_image_continued_at_its_border(overlap):
    image = np.random.default_rng(0).random((2, 2 * P, 3 * P, 1), np.float32)
    extent = P + 2 * overlap
    windows = np.asarray(cut(image, P, overlap))
    assert windows.shape == (2, 6, extent, extent, 1)
    for patch, y, x in np.ndindex(6, extent, extent):
        row = np.clip(patch // 3 * P + y - overlap, 0, 2 * P - 1)
        column = np.clip(patch % 3 * P + x - overlap, 0, 3 * P - 1)
        np.testing.assert_array_equal(windows[:, patch, y, x], image[:, row, column])
