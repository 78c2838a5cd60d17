"""The kernel for TPUs, simulated: against the reference in float64, values and gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsjax.kernels.mixture import kernels, mix, pallas
from tests.kernels import mixture_conformance as conformance
from tests.kernels.mixture_conformance import Case
from tests.quick import jit

MIX = functools.partial(mix, backend="pallas")
CASES = [*conformance.CASES, Case((130, 3), 2, 130, 2)]  # more patches than lanes


@pytest.mark.parametrize("case", CASES, ids=str)
def test_mixture_and_gradients_are_those_of_the_reference(case):
    conformance.check(conformance.outputs(MIX, case, "float32"), case)


def test_blocks_of_queries_add_up(monkeypatch):
    monkeypatch.setattr(pallas, "BLOCK_BYTES", 4096)
    assert pallas._blocks((20, 3), 2)[0] == (3, 1)
    case = Case((3, 20), 2, 30)
    conformance.check(conformance.outputs(lambda *x: pallas.mix(*x), case, "float32"), case)


def test_three_parts_are_all_the_digits():
    numbers = np.float32(np.random.default_rng(0).normal(size=1000))
    parts = jit(kernels.split)(numbers)
    assert all(part.dtype == jnp.bfloat16 for part in parts)
    np.testing.assert_array_equal(sum(np.asarray(part, np.float64) for part in parts), numbers)


def test_large_logits_are_no_danger():
    error, queries, keys, atoms = conformance.inputs(Case((2, 9), 4, 40), "float32")
    run = jit(conformance.mixture_and_gradients(pallas.mix))
    ours = run(error, 1e15 * queries, 1e15 * keys, atoms)
    assert all(np.isfinite(array).all() for array in ours)
    best = np.einsum("pnd,ad->pna", queries, keys).argmax(-1)
    np.testing.assert_allclose(ours[0], atoms[best], rtol=1e-6)


def test_mapping_means_the_same():
    case = Case((3, 4), 2, 9)
    run = jax.vmap(conformance.mixture_and_gradients(pallas.mix), (0, 0, None, None))
    mixture, queries, keys, atoms = jit(run)(*conformance.inputs(case, "float32"))
    conformance.check((mixture, queries, keys.sum(0), atoms.sum(0)), case)


def test_no_queries_have_no_mixtures():
    assert pallas.mix(jnp.zeros((2, 0, 5)), jnp.zeros((4, 5)), jnp.zeros((4, 3))).shape == (2, 0, 3)
