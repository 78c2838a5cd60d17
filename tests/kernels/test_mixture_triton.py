"""The Triton kernels, interpreted, against the reference; and compiled, for their registers.

Run as a program by Triton's interpreter, this file saves what its tests look at.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

from gsjax.kernels import gpu
from gsjax.kernels.mixture import reference, triton
from tests.quick import jit
from tests.triton_tools import interpret, launches, needs_triton, registers, save, saved


class Case(NamedTuple):
    """The sizes of a mixture; logits are about `peak` in size."""

    lead: tuple[int, ...]
    n: int
    d: int
    atoms: int
    peak: float = 1.0


CASES = [
    Case((), 1, 1, 2),
    Case((2,), 2, 12, 730),
    Case((2, 3), 4, 5, 9),
    Case((), 30, 16, 33, 20.0),
    Case((), 130, 2, 3),  # rows in several parts
]
MANY = CASES[2]
cases = pytest.mark.parametrize("case", CASES, ids=str)


def vectors(case):
    rng = np.random.default_rng(case.n)
    queries = rng.normal(size=(*case.lead, case.n, case.d)) * case.peak
    keys = rng.normal(size=(case.atoms, case.d)) / np.sqrt(case.d)
    return queries, keys, rng.normal(size=(case.atoms, 3))


def single(case):
    return [array.astype(np.float32) for array in vectors(case)]


def differentiate(mix):
    """Returns a function of all vectors that returns the mixture and the three gradients."""

    def objective(*arrays):
        mixed = mix(*arrays)
        return jnp.square(mixed).sum(), mixed

    def mixture_and_slopes(*arrays):
        slopes, mixed = jax.grad(objective, (0, 1, 2), has_aux=True)(*arrays)
        return mixed, *slopes

    return mixture_and_slopes


@functools.cache
def expected(case):
    with jax.enable_x64(True):
        return jit(differentiate(reference.mix))(*vectors(case))


def compute():
    gpu.run = interpret
    results = {str(case): jit(differentiate(triton.mix))(*single(case)) for case in CASES}

    queries, keys, atoms = single(MANY)
    mapped = jit(jax.vmap(differentiate(triton.mix), (0, None, None)))(queries, keys, atoms)
    results["mapped"] = (*mapped[:2], mapped[2].sum(0), mapped[3].sum(0))
    mesh = Mesh(np.array(jax.devices()), ("data",))
    split, whole = PartitionSpec("data"), PartitionSpec()
    in_parts = jax.shard_map(
        differentiate(triton.mix),
        mesh=mesh,
        in_specs=(split, whole, whole),
        out_specs=(split, split, whole, whole),
    )
    results["in parts"] = jit(in_parts)(queries, keys, atoms)

    # Far from zero, where only the difference to the peak can be taken to a power.
    results["shifted"] = triton.mix(*shifted())
    save(results)


def shifted():
    """Returns vectors whose logits are all below −1000."""
    queries, keys, atoms = (array.copy() for array in single(MANY))
    queries[..., 0], keys[:, 0] = -1000.0, 1.0 + 0.001 * np.arange(len(keys))
    return queries, keys.astype(np.float32), atoms


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory):
    path = tmp_path_factory.mktemp("triton") / "mixture.npz"
    return saved("tests.kernels.test_mixture_triton", path)


def close(ours, expected, tolerance):
    """Whether the largest difference is within a part of the largest value."""
    ours, expected = np.asarray(ours, np.float64), np.asarray(expected, np.float64)
    assert ours.shape == expected.shape
    np.testing.assert_allclose(ours, expected, rtol=0, atol=tolerance * np.abs(expected).max())


@needs_triton
@pytest.mark.parametrize("output", range(4), ids=["mixture", "queries", "keys", "atoms"])
@cases
def test_kernels_mix_and_differentiate_as_the_reference(interpreted, case, output):
    ours = interpreted[f"{case}.{output}"]
    assert ours.dtype == np.float32
    close(ours, expected(case)[output], 2e-5)


@needs_triton
@pytest.mark.parametrize("way", ["mapped", "in parts"])
def test_mapped_and_in_parts_are_as_the_reference(interpreted, way):
    for i, exact in enumerate(expected(MANY)):
        close(interpreted[f"{way}.{i}"], exact, 2e-5)


@needs_triton
def test_logits_may_be_far_below_zero(interpreted):
    with jax.enable_x64(True):
        exact = reference.mix(*(array.astype(np.float64) for array in shifted()))
    close(interpreted["shifted"], exact, 1e-3)


@needs_triton
@pytest.mark.parametrize("chip", [80, 90, 100])
def test_nothing_spills(monkeypatch, tmp_path, chip):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    shapes = [(256, 324, 12), (730, 12), (730, 3)]
    found = launches(monkeypatch, differentiate(triton.mix), *shapes)
    kernels = [launch.kernel for launch, _ in found]
    assert kernels == ["mix_kernel", "queries_kernel", "keys_kernel"]
    for launch, module in found:
        used, spilled = registers(launch, module, chip)
        assert spilled == 0
        assert used <= 128


def test_nothing_to_mix_is_nothing():
    mixed = triton.mix(jnp.zeros((2, 0, 5)), jnp.zeros((7, 5)), jnp.zeros((7, 3)))
    assert mixed.shape == (2, 0, 3)


def test_only_float32_is_mixed():
    arrays = [jnp.ones((4, 5)), jnp.ones((7, 5)), jnp.ones((7, 3))]
    with pytest.raises(TypeError, match=r"in float32; got .*'bfloat16'"):
        triton.mix(arrays[0].astype(jnp.bfloat16), *arrays[1:])


if __name__ == "__main__":
    compute()
