"""The kernel for TPUs, simulated: against the reference in float64, values and gradients."""

import functools
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsjax.kernels.mixture import kernels, pallas, reference
from tests.quick import jit

ROOT = Path(__file__).parents[2]


class Case(NamedTuple):
    """Sizes, and by how much queries and keys are longer than those of unit variance."""

    lead: tuple[int, ...]
    n: int
    atoms: int
    width: int
    scale: float = 1.0
    channels: int = 3


CASES = [
    Case((), 1, 1, 16),  # with the one after it, a query fills more than one register
    Case((3,), 20, 730, 12),
    Case((130,), 3, 130, 2, channels=2),  # more patches than lanes
    Case((2,), 140, 9, 2),  # more queries a patch than lanes
    Case((2,), 9, 40, 4),
    Case((2,), 9, 40, 4, scale=30.0),  # nearly all weight is on one atom
    Case((2,), 9, 40, 4, scale=0.0),  # all weights are equal
]


def arrays(case):
    rng = np.random.default_rng(0)
    queries = rng.normal(size=(*case.lead, case.n, case.width)) * case.scale
    keys = rng.normal(size=(case.atoms, case.width))
    atoms = rng.normal(size=(case.atoms, case.channels))
    error = rng.normal(size=(*case.lead, case.n, case.channels))
    return [array.astype(np.float32) for array in (error, queries, keys, atoms)]


def mixture_and_gradients(mix, error, *inputs):
    mixture, pull_back = jax.vjp(mix, *inputs)
    return mixture, *pull_back(error)


run = jit(functools.partial(mixture_and_gradients, pallas.mix))


def close(ours, expected, tolerance=2e-5):
    """Whether the largest difference is within a part of the largest value."""
    ours, expected = np.asarray(ours, np.float64), np.asarray(expected, np.float64)
    assert ours.shape == expected.shape
    np.testing.assert_allclose(ours, expected, rtol=0, atol=tolerance * np.abs(expected).max())


@functools.cache
def expected(case):
    with jax.enable_x64(True):
        inputs = [array.astype(np.float64) for array in arrays(case)]
        return jit(functools.partial(mixture_and_gradients, reference.mix))(*inputs)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_mixture_and_gradients_are_those_of_the_reference(case):
    ours = run(*arrays(case))
    assert all(array.dtype == np.float32 for array in ours)
    for array, exact in zip(ours, expected(case), strict=True):
        if np.any(exact):
            # A logit is a sum of terms as large as itself: its digits are lost to the weights.
            close(array, exact, 2e-5 * max(1.0, case.scale))
        else:  # of a single atom nothing is learned
            np.testing.assert_allclose(array, exact, atol=1e-6)


def test_blocks_of_queries_add_up(monkeypatch):
    monkeypatch.setattr(pallas, "BLOCK_BYTES", 4096)
    case = Case((3,), 20, 30, 2)
    assert pallas._blocks((20, 3), 2)[0] == (3, 1)
    ours = jit(lambda *inputs: mixture_and_gradients(pallas.mix, *inputs))(*arrays(case))
    for array, exact in zip(ours, expected(case), strict=True):
        close(array, exact)


def test_three_parts_are_all_the_digits():
    numbers = np.float32(np.random.default_rng(0).normal(size=1000))
    parts = jit(kernels.split)(numbers)
    assert all(part.dtype == jnp.bfloat16 for part in parts)
    np.testing.assert_array_equal(sum(np.asarray(part, np.float64) for part in parts), numbers)


def test_large_logits_are_no_danger():
    error, queries, keys, atoms = arrays(Case((2,), 9, 40, 4))
    ours = run(error, 1e15 * queries, 1e15 * keys, atoms)
    assert all(np.isfinite(array).all() for array in ours)
    best = np.einsum("pnd,ad->pna", queries, keys).argmax(-1)
    np.testing.assert_allclose(ours[0], atoms[best], rtol=1e-6)


def test_mapping_means_the_same():
    case = Case((3,), 4, 9, 2)
    error, queries, keys, atoms = arrays(case)
    mapped = jax.vmap(functools.partial(mixture_and_gradients, pallas.mix), (0, 0, None, None))
    ours, exact = jit(mapped)(error, queries, keys, atoms), expected(case)
    close(ours[0], exact[0])
    close(ours[1], exact[1])
    close(ours[2].sum(0), exact[2])
    close(ours[3].sum(0), exact[3])


def test_no_queries_have_no_mixtures():
    assert pallas.mix(jnp.zeros((2, 0, 5)), jnp.zeros((4, 5)), jnp.zeros((4, 3))).shape == (2, 0, 3)
