"""The kernel for TPUs, simulated: against the reference in float64, values and gradients."""

import functools
import itertools
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsjax.kernels.rasterizer import pallas, reference
from tests.quick import jit

ROOT = Path(__file__).parents[2]
NAMES = ["image", "means", "cholesky", "colors"]


class Case(NamedTuple):
    """The sizes of a scene, and the length in pixels of its Gaussians."""

    lead: tuple[int, ...]
    n: int
    c: int
    patch: tuple[int, int]
    length: float = 1.0


CASES = [
    Case((), 1, 1, (1, 1)),
    Case((2, 5), 7, 3, (7, 5)),  # 6 rows at once, and one
    Case((3,), 17, 16, (1, 6)),  # more Gaussians than at once
    Case((130,), 3, 2, (1, 3)),  # more patches than lanes
    Case((), 100, 3, (18, 18)),
    Case((4,), 30, 1, (2, 6), 0.03),
]
SMALL = Case((8,), 3, 1, (2, 3))


def scene(case):
    """Gaussians in and around their patches, sharp ones near a pixel, and an error of the image."""
    rng = np.random.default_rng(0)
    shape = (*case.lead, case.n)
    height, width = case.patch
    means = rng.uniform(-2, 2, (*shape, 2)) + rng.uniform(0, 1, (*shape, 2)) * (width, height)
    if case.length < 0.5:
        means = np.round(means) + case.length * rng.uniform(-1, 1, means.shape)
    cholesky = rng.uniform(0.3, 3, (*shape, 3)) * rng.choice([-1, 1], (*shape, 3))
    cholesky *= (case.length, 1.0, case.length)
    colors = rng.normal(size=(*shape, case.c))
    error = rng.normal(size=(*case.lead, *case.patch, case.c))
    return [array.astype(np.float32) for array in (error, means, cholesky, colors)]


def image_and_gradients(draw, error, *gaussians):
    image, pull_back = jax.vjp(draw, *gaussians)
    return image, *pull_back(error)


def close(ours, expected, tolerance=2e-5):
    """Whether the largest difference is within a part of the largest value."""
    ours, expected = np.asarray(ours, np.float64), np.asarray(expected, np.float64)
    assert ours.shape == expected.shape
    np.testing.assert_allclose(ours, expected, rtol=0, atol=tolerance * np.abs(expected).max())


@functools.cache
def expected(case):
    draw = functools.partial(reference.rasterize, patch_shape=case.patch)
    with jax.enable_x64(True):
        arrays = [array.astype(np.float64) for array in scene(case)]
        return jit(functools.partial(image_and_gradients, draw))(*arrays)


def simulated(case):
    # A new function for each, as a test may change how it is compiled.
    def draw(*gaussians):
        return pallas.rasterize(*gaussians, case.patch)

    return jit(functools.partial(image_and_gradients, draw))(*scene(case))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_image_and_gradients_are_those_of_the_reference(case):
    for name, ours, exact in zip(NAMES, simulated(case), expected(case), strict=True):
        assert ours.dtype == np.float32, name
        close(ours, exact)


def test_blocks_of_pixels_and_gaussians_add_up(monkeypatch):
    case = Case((2, 5), 40, 3, (3, 5))
    monkeypatch.setattr(pallas, "GAUSSIANS_BYTES", 16 * 512 * 17)
    monkeypatch.setattr(pallas, "PIXELS", 1)
    monkeypatch.setattr(pallas, "PIXELS_BYTES", 3 * 4096)
    assert pallas._pixel_block(case.patch, case.c) == (1, 3)
    assert pallas._gaussian_block(case.n, case.c, 17) == 16
    for ours, exact in zip(simulated(case), expected(case), strict=True):
        close(ours, exact)


@pytest.mark.parametrize(
    ("patch", "channels", "block"),
    [((18, 18), 3, (18, 18)), ((34, 34), 3, (17, 34)), ((2, 5000), 16, (1, 512))],
    ids=str,
)
def test_a_block_of_pixels_is_bounded(patch, channels, block):
    assert pallas._pixel_block(patch, channels) == block


LENGTHS = (0.0, 1e-30, 1e-13, 1e-6, 1e-3, 1.0, 1e3, 1e30)
SLANTS = (0.0, 1.0, -1e3, -3e38)
PLACES = ((2.0, 1.0), (1.3, 0.9), (-1e5, 1.0), (1e30, -1e30))  # the first on a pixel


def test_no_finite_gaussian_draws_or_learns_what_is_not_a_number():
    table = list(itertools.product(PLACES, LENGTHS, SLANTS, LENGTHS))
    means = np.float32([[place] for place, *_ in table])
    cholesky = np.float32([[lengths] for _, *lengths in table])
    colors, error = np.ones((len(table), 1, 1), np.float32), np.ones((len(table), 2, 3, 1))

    def run(draw):
        draw = functools.partial(draw, patch_shape=(2, 3))
        arrays = (error.astype(np.float32), means, cholesky, colors)
        return jit(functools.partial(image_and_gradients, draw))(*arrays)

    image, *slopes = map(np.asarray, run(pallas.rasterize))
    assert image.min() >= 0
    assert image.max() == 1
    assert all(np.isfinite(slope).all() for slope in slopes)
    flat = np.abs(cholesky[:, 0, 0].astype(np.float64) * cholesky[:, 0, 2]) < 1e-25
    assert flat.sum() > 100
    assert image[flat].max() < 1e-30
    assert max(np.abs(slope[flat]).max() for slope in slopes) < 1e-6
    # At a megapixel float32 has no digits left to compare.
    near = np.abs(means[:, 0, 0]) < 1e6
    for ours, theirs in zip((image, *slopes), run(reference.rasterize), strict=True):
        np.testing.assert_allclose(ours[near], theirs[near], rtol=1e-3, atol=1e-4)


def test_mapping_over_patches_means_the_same():
    draw = functools.partial(pallas.rasterize, patch_shape=SMALL.patch)
    run = jit(jax.vmap(functools.partial(image_and_gradients, draw)))
    for ours, exact in zip(run(*scene(SMALL)), expected(SMALL), strict=True):
        close(ours, exact)


def test_no_gaussians_draw_black():
    image = pallas.rasterize(
        jnp.zeros((2, 0, 2)), jnp.zeros((2, 0, 3)), jnp.zeros((2, 0, 3)), (3, 4)
    )
    np.testing.assert_array_equal(image, np.zeros((2, 3, 4, 3)))
