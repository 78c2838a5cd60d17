"""What every backend of the mixture must do, on the same sizes: the one test that all run.

The reference in float64, itself held to NumPy, is what the others are compared with: the
mixtures and the gradients of queries, keys and atoms.
"""

import functools
from typing import NamedTuple

import jax
import numpy as np

from gsjax.kernels.mixture import reference
from tests.quick import jit

OUTPUTS = ("mixture", "queries", "keys", "atoms")
TOLERANCES = {"float64": 1e-12, "float32": 2e-5}


class Case(NamedTuple):
    """Queries, channels of each, atoms, their channels; the standard deviation of a query."""

    queries: tuple[int, ...]
    d: int
    a: int
    c: int = 3
    scale: float = 1.0


MANY = Case((2, 3, 4), 5, 9, 5)
CASES = [
    Case((), 16, 1, 1),  # for pallas, a query with the one after it fills more than one register
    MANY,
    Case((2, 3), 12, 730),
    Case((2, 140), 2, 9),  # more queries a patch than lanes, and for triton rows in several parts
    Case((2, 9), 4, 40, scale=30.0),  # nearly all weight is on one atom
    Case((2, 9), 4, 40, scale=0.0),  # all weights are equal
]


def inputs(case, dtype):
    """The error of the mixtures, then queries, keys and atoms."""
    rng = np.random.default_rng(0)
    queries = rng.normal(size=(*case.queries, case.d)) * case.scale
    keys, atoms = rng.normal(size=(case.a, case.d)), rng.normal(size=(case.a, case.c))
    error = rng.normal(size=(*case.queries, case.c))
    # Rounded alike for all, so that what is compared is the arithmetic.
    return [array.astype(np.float32).astype(dtype) for array in (error, queries, keys, atoms)]


def mixture_and_gradients(mix):
    """Returns a function of the error and the inputs to all of `OUTPUTS`."""

    def run(error, *arrays):
        mixture, pull_back = jax.vjp(mix, *arrays)
        return mixture, *pull_back(error)

    return run


def outputs(mix, case, dtype):
    """What a backend gives."""
    with jax.enable_x64(dtype == "float64"):
        return jit(mixture_and_gradients(mix))(*inputs(case, dtype))


@functools.cache
def expected(case):
    """What is right, in float64."""
    return outputs(reference.mix, case, "float64")


def close(ours, exact, tolerance):
    """Whether the largest difference is within a part of the largest value."""
    ours, exact = np.asarray(ours, np.float64), np.asarray(exact, np.float64)
    assert ours.shape == exact.shape
    np.testing.assert_allclose(ours, exact, rtol=0, atol=tolerance * np.abs(exact).max())


def check(ours, case, dtype="float32"):
    """The test: all of a backend's outputs have their type and are those of the reference."""
    # A logit is a sum of terms as large as itself: its digits are lost to the weights.
    tolerance = TOLERANCES[dtype] * max(1.0, case.scale)
    for name, array, exact in zip(OUTPUTS, ours, expected(case), strict=True):
        assert array.dtype == dtype, name
        if np.any(exact):
            close(array, exact, tolerance)
        else:  # of a single atom nothing is learned
            np.testing.assert_allclose(array, exact, atol=1e-6)
