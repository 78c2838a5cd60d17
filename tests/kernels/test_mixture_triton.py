"""The Triton kernels, interpreted, against the reference; and compiled, for their registers.

Run as a program by Triton's interpreter, this file saves what its tests look at.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

from gsjax.kernels import gpu
from gsjax.kernels.mixture import mix, reference, triton
from tests.kernels import mixture_conformance as conformance
from tests.kernels.mixture_conformance import MANY
from tests.quick import jit
from tests.triton_tools import interpret, launches, needs_triton, registers, save, saved

MIX = functools.partial(mix, backend="triton")
CASES = conformance.CASES


def compute():
    gpu.run = interpret
    results = {str(case): conformance.outputs(MIX, case, "float32") for case in CASES}

    ours = conformance.mixture_and_gradients(triton.mix)
    inputs = conformance.inputs(MANY, "float32")
    mapped = jit(jax.vmap(ours, (0, 0, None, None)))(*inputs)
    results["mapped"] = (*mapped[:2], mapped[2].sum(0), mapped[3].sum(0))
    mesh = Mesh(np.array(jax.devices()), ("data",))
    split, whole = PartitionSpec("data"), PartitionSpec()
    in_parts = jax.shard_map(
        ours,
        mesh=mesh,
        in_specs=(split, split, whole, whole),
        out_specs=(split, split, whole, whole),
    )
    results["in parts"] = jit(in_parts)(*inputs)

    # Far from zero, where only the difference to the peak can be taken to a power.
    results["shifted"] = triton.mix(*shifted())
    save(results)


def shifted():
    """Returns vectors whose logits are all below −1000."""
    queries, keys, atoms = (array.copy() for array in conformance.inputs(MANY, "float32")[1:])
    queries[..., 0], keys[:, 0] = -1000.0, 1.0 + 0.001 * np.arange(len(keys))
    return queries, keys.astype(np.float32), atoms


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory):
    path = tmp_path_factory.mktemp("triton") / "mixture.npz"
    return saved("tests.kernels.test_mixture_triton", path)


@needs_triton
@pytest.mark.parametrize("case", CASES, ids=str)
def test_mixture_and_gradients_are_those_of_the_reference(interpreted, case):
    conformance.check([interpreted[f"{case}.{i}"] for i in range(4)], case)


@needs_triton
@pytest.mark.parametrize("way", ["mapped", "in parts"])
def test_mapped_and_in_parts_are_as_the_reference(interpreted, way):
    conformance.check([interpreted[f"{way}.{i}"] for i in range(4)], MANY)


@needs_triton
def test_logits_may_be_far_below_zero(interpreted):
    with jax.enable_x64(True):
        exact = reference.mix(*(jnp.asarray(array, jnp.float64) for array in shifted()))
    conformance.close(interpreted["shifted"], exact, 1e-3)


@needs_triton
@pytest.mark.parametrize("chip", [80, 90, 100])
def test_nothing_spills(monkeypatch, tmp_path, chip):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    shapes = [(256, 324, 3), (256, 324, 12), (730, 12), (730, 3)]
    found = launches(monkeypatch, conformance.mixture_and_gradients(triton.mix), *shapes)
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
