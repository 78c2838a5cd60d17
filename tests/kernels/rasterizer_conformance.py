"""What every backend of the rasterizer must do, on the same scenes: the one test that all run.

The reference in float64, itself held to a loop in NumPy, is what the others are compared with:
the image and the gradients of means, Cholesky factors and colors.
"""

import functools
from typing import NamedTuple

import jax
import numpy as np

from gsjax.kernels.rasterizer import reference
from tests.quick import jit

OUTPUTS = ("image", "means", "cholesky", "colors")
TOLERANCES = {"float64": (1e-12, 1e-10), "float32": (2e-5, 2e-5)}  # image, gradients


class Case(NamedTuple):
    """The sizes of a scene: leading dimensions, Gaussians, channels, patch; a length in pixels."""

    lead: tuple[int, ...]
    n: int
    c: int
    patch: tuple[int, int]
    length: float = 1.0


SINGLE, LARGE, MANY = Case((), 1, 1, (1, 1)), Case((), 100, 3, (18, 18)), Case((2, 5), 7, 3, (7, 5))
CASES = [
    SINGLE,
    LARGE,
    MANY,  # with odd sides
    Case((3,), 1, 5, (5, 7)),
    Case((3,), 2, 16, (3, 5)),  # more channels than Gaussians
    Case((4,), 30, 1, (2, 6), 0.03),  # sharp ones, many of which fade
]


def scene(case):
    """Gaussians of all signs and slants in and around their patches, sharp ones near a pixel."""
    rng = np.random.default_rng(case.n + 10 * case.c)
    shape = (*case.lead, case.n)
    height, width = case.patch
    means = rng.uniform(-2, 2, (*shape, 2)) + rng.uniform(0, 1, (*shape, 2)) * (width, height)
    if case.length < 0.5:
        means = np.round(means) + case.length * rng.uniform(-1, 1, means.shape)
    cholesky = rng.uniform(0.3, 3.0, (*shape, 3)) * rng.choice([-1, 1], (*shape, 3))
    cholesky *= (case.length, 1.0, case.length)
    return means, cholesky, rng.normal(size=(*shape, case.c))


def inputs(case, dtype):
    """The error of the image, then the scene."""
    error = np.random.default_rng(1).normal(size=(*case.lead, *case.patch, case.c))
    # Rounded alike for all, so that what is compared is the arithmetic.
    return [array.astype(np.float32).astype(dtype) for array in (error, *scene(case))]


def image_and_gradients(draw, patch):
    """Returns a function of the error and the Gaussians to all of `OUTPUTS`."""

    def run(error, *gaussians):
        image, pull_back = jax.vjp(lambda *arrays: draw(*arrays, patch), *gaussians)
        return image, *pull_back(error)

    return run


def outputs(draw, case, dtype):
    """What a backend gives."""
    with jax.enable_x64(dtype == "float64"):
        return jit(image_and_gradients(draw, case.patch))(*inputs(case, dtype))


@functools.cache
def expected(case):
    """What is right, in float64."""
    return outputs(reference.rasterize, case, "float64")


def close(ours, exact, tolerance):
    """Whether the largest difference is within a part of the largest value."""
    ours, exact = np.asarray(ours, np.float64), np.asarray(exact, np.float64)
    assert ours.shape == exact.shape
    np.testing.assert_allclose(ours, exact, rtol=0, atol=tolerance * np.abs(exact).max())


def check(ours, case, dtype="float32"):
    """The test: all of a backend's outputs have their type and are those of the reference."""
    of_image, of_gradient = TOLERANCES[dtype]
    for name, array, exact in zip(OUTPUTS, ours, expected(case), strict=True):
        assert array.dtype == dtype, name
        close(array, exact, of_image if name == "image" else of_gradient)
