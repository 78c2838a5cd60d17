"""Plain JAX against the reference; the reference against NumPy; extremes, memory, errors."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsjax.kernels.mixture import mix, reference
from tests.kernels import mixture_conformance as conformance
from tests.kernels.mixture_conformance import Case
from tests.quick import jit

MIX = {"reference": reference.mix, "xla": functools.partial(mix, backend="xla")}
backends = pytest.mark.parametrize("backend", MIX)
CASES = [*conformance.CASES, Case((4100,), 2, 5, 1)]  # many queries, in several blocks


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_reference_is_the_softmax(case):
    _, queries, keys, atoms = conformance.inputs(case, "float64")
    weights = np.exp(queries @ keys.T)
    expected = weights @ atoms / weights.sum(-1, keepdims=True)
    conformance.close(conformance.expected(case)[0], expected, 1e-13 * max(1.0, case.scale))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_mixture_and_gradients_are_those_of_the_reference(case, dtype):
    conformance.check(conformance.outputs(MIX["xla"], case, dtype), case, dtype)


@backends
def test_huge_logits_choose_one_atom_and_have_finite_gradients(backend):
    keys, atoms = np.float32(np.eye(4)), np.float32(np.arange(12).reshape(4, 3))
    queries = np.float32(1e6 * np.eye(4)[[2, 0]] - 3e6)[None]

    def objective(*arrays):
        mixed = MIX[backend](*arrays)
        return mixed.sum(), mixed

    differentiate = jit(jax.value_and_grad(objective, (0, 1, 2), has_aux=True))
    (_, mixed), slopes = differentiate(queries, keys, atoms)
    np.testing.assert_allclose(mixed[0], atoms[[2, 0]])
    for slope in slopes:
        assert np.isfinite(slope).all()


def test_vmap_means_the_same():
    _, queries, keys, atoms = conformance.inputs(Case((3, 5), 4, 7), "float32")
    mapped = jit(jax.vmap(mix, (0, None, None)))(queries, keys, atoms)
    np.testing.assert_allclose(mapped, mix(queries, keys, atoms), atol=1e-6)


def test_queries_times_atoms_never_exist():
    rows, atoms = 82_944, 730
    shapes = [
        jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((rows, 12), (atoms, 12), (atoms, 3))
    ]

    def gradient(mix):
        return jax.grad(lambda *arrays: jnp.square(mix(*arrays)).sum(), (0, 1, 2))

    compiled = {name: jit(gradient(MIX[name])).lower(*shapes).compile() for name in MIX}
    temporary = {name: c.memory_analysis().temp_size_in_bytes for name, c in compiled.items()}
    assert temporary["reference"] > 4 * rows * atoms
    assert temporary["xla"] < temporary["reference"] / 16


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    "shapes",
    [((5, 4), (7, 3), (7, 3)), ((5, 4), (7, 4), (6, 3)), ((), (7, 4), (7, 3)), ((4,), (4,), (7,))],
    ids=str,
)
def test_shapes_that_do_not_fit_are_named(shapes):
    with pytest.raises(ValueError, match=r"must be \[\.\.\., D\]") as error:
        mix(*map(np.zeros, shapes))
    assert all(str(shape) in str(error.value) for shape in shapes)


def test_an_unknown_backend_names_those_there_are():
    with pytest.raises(ValueError, match=r"'cuda' is unknown; there are auto, xla, pallas, triton"):
        mix(np.zeros((4, 2)), np.zeros((3, 2)), np.zeros((3, 3)), backend="cuda")


def test_kernels_refuse_float64():
    with jax.enable_x64(True), pytest.raises(ValueError, match="'pallas' computes in float32"):
        mix(np.zeros((4, 2)), np.zeros((3, 2)), np.zeros((3, 3)), backend="pallas")
