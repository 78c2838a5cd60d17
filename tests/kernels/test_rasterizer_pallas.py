"""The kernel for TPUs, simulated: against the reference in float64, values and gradients."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsjax.kernels.rasterizer import pallas, rasterize, reference
from tests.kernels import rasterizer_conformance as conformance
from tests.kernels.rasterizer_conformance import Case
from tests.quick import jit

CASES = [
    *conformance.CASES,  # of (7, 5) pixels: 6 rows at once, and one
    Case((130,), 3, 2, (1, 3)),  # more patches than lanes
]
SMALL = Case((8,), 3, 1, (2, 3))


def simulated(case):
    # A new function for each, as a test may change how it is compiled.
    return conformance.outputs(lambda *x: rasterize(*x, backend="pallas"), case, "float32")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_image_and_gradients_are_those_of_the_reference(case):
    conformance.check(simulated(case), case)


def test_blocks_of_pixels_and_gaussians_add_up(monkeypatch):
    case = Case((2, 5), 40, 3, (3, 5))
    monkeypatch.setattr(pallas, "GAUSSIANS_BYTES", 16 * 512 * 17)
    monkeypatch.setattr(pallas, "PIXELS", 1)
    monkeypatch.setattr(pallas, "PIXELS_BYTES", 3 * 4096)
    assert pallas._pixel_block(case.patch, case.c) == (1, 3)
    assert pallas._gaussian_block(case.n, case.c, 17) == 16
    conformance.check(simulated(case), case)


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
        arrays = (error.astype(np.float32), means, cholesky, colors)
        return jit(conformance.image_and_gradients(draw, (2, 3)))(*arrays)

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
    run = jit(jax.vmap(conformance.image_and_gradients(pallas.rasterize, SMALL.patch)))
    conformance.check(run(*conformance.inputs(SMALL, "float32")), SMALL)


def test_no_gaussians_draw_black():
    image = pallas.rasterize(
        jnp.zeros((2, 0, 2)), jnp.zeros((2, 0, 3)), jnp.zeros((2, 0, 3)), (3, 4)
    )
    np.testing.assert_array_equal(image, np.zeros((2, 3, 4, 3)))
