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
from gsjax.kernels.rasterizer import reference, triton
from tests.kernels import test_rasterizer as every
from tests.quick import jit
from tests.triton_tools import interpret, launches, needs_triton, registers, save, saved

CASES = [
    every.Case((), 1, 1, (1, 1)),
    every.Case((), 40, 3, (18, 18)),
    every.Case((2, 5), 7, 3, (7, 5)),
    every.Case((), 7, 5, (5, 7)),
    every.Case((3,), 2, 16, (7, 5)),
    every.Case((2,), 3, 3, (37, 3)),
]
MANY = CASES[2]
inputs = every.inputs
cases = pytest.mark.parametrize("case", CASES, ids=str)


def objective(draw, patch, *gaussians):
    image = draw(*gaussians, patch)
    return jnp.square(image).sum(), image


def differentiate(draw, patch):
    """Returns a function of Gaussians that returns the image and the three gradients."""
    program = jax.grad(functools.partial(objective, draw, patch), (0, 1, 2), has_aux=True)

    def image_and_slopes(*gaussians):
        slopes, image = program(*gaussians)
        return image, *slopes

    return image_and_slopes


def single(case):
    return [array.astype(np.float32) for array in every.scene(case)]


@functools.cache
def expected(case):
    with jax.enable_x64(True):
        return jit(differentiate(reference.rasterize, case.patch))(*every.scene(case))


def extremes():
    every.DRAW["triton"] = triton.rasterize
    warps, triton.WARPS = triton.WARPS, 64  # for the interpreter, fewer programs are faster
    _, image, slopes = every.extremes("triton")
    triton.WARPS = warps
    return image, *slopes


def compute():
    gpu.run = interpret
    ours = functools.partial(differentiate, triton.rasterize)
    results = {str(case): jit(ours(case.patch))(*single(case)) for case in CASES}
    results["extremes"] = extremes()

    means, cholesky, colors = single(MANY)
    results["mapped"] = jit(jax.vmap(jax.vmap(ours(MANY.patch))))(means, cholesky, colors)
    results["shared"] = jax.vmap(
        lambda *gaussians: triton.rasterize(*gaussians, MANY.patch), (0, 0, None)
    )(means, cholesky, colors[0])
    mesh = Mesh(np.array(jax.devices()), ("data",))
    split, whole = PartitionSpec("data"), PartitionSpec()
    in_parts = jax.shard_map(
        differentiate(triton.rasterize, MANY.patch),
        mesh=mesh,
        in_specs=(split, split, whole),
        out_specs=(split, split, split, whole),
    )
    results["in parts"] = jit(in_parts)(means, cholesky, colors[0][None])

    # As with many patches: several Gaussians a lane, no lanes that share a strip.
    triton.LANES = 1
    results["many patches"] = jit(ours(MANY.patch))(means, cholesky, colors)
    save(results)


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory):
    path = tmp_path_factory.mktemp("triton") / "rasterizer.npz"
    return saved("tests.kernels.test_rasterizer_triton", path)


@needs_triton
@pytest.mark.parametrize("output", range(4), ids=["image", "means", "cholesky", "colors"])
@cases
def test_kernels_draw_and_differentiate_as_the_reference(interpreted, case, output):
    ours = interpreted[f"{case}.{output}"]
    assert ours.dtype == np.float32
    every.close(ours, expected(case)[output], 2e-5)


@needs_triton
@pytest.mark.parametrize("way", ["mapped", "many patches"])
def test_mapped_and_many_patches_are_as_the_reference(interpreted, way):
    for i, exact in enumerate(expected(MANY)):
        every.close(interpreted[f"{way}.{i}"], exact, 2e-5)


@needs_triton
def test_shared_colors_are_drawn_and_pulled_by_all(interpreted):
    means, cholesky, colors = every.scene(MANY)

    def draw(means, cholesky, colors, patch):
        return reference.rasterize(means, cholesky, jnp.stack([colors] * 2), patch)

    with jax.enable_x64(True):
        exact = jit(differentiate(draw, MANY.patch))(means, cholesky, colors[0])
    every.close(interpreted["shared"], exact[0], 2e-5)
    for i, expected in enumerate(exact):
        ours = interpreted[f"in parts.{i}"]
        every.close(ours.reshape(expected.shape), expected, 2e-5)


@needs_triton
def test_extremes_are_finite_and_drawn_as_the_reference_does(interpreted):
    image, *slopes = (interpreted[f"extremes.{i}"] for i in range(4))
    cholesky, expected, _ = every.extremes("reference")
    assert image.min() >= 0
    assert image.max() == 1
    # Slanted needles past these bounds are as wide as what float32 rounds away.
    sizes = np.abs(cholesky)
    drawn = (sizes[:, 0] > 1e-4) & (sizes[:, 2] > 1e-4) & (sizes[:, 1] < 1e4)
    np.testing.assert_allclose(image[drawn], expected[drawn], atol=1e-4)
    flat = np.abs(cholesky[:, 0].astype(np.float64) * cholesky[:, 2]) < 1e-25
    assert image[flat].max() < 1e-30
    for slope in slopes:
        assert np.isfinite(slope).all()
        assert np.abs(slope[flat]).max() < 1e-6


@needs_triton
@pytest.mark.parametrize(("patches", "chip"), [(256, 80), (256, 90), (256, 100), (4096, 90)])
def test_nothing_spills(monkeypatch, tmp_path, patches, chip):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    shapes = [(patches, 324, size) for size in (2, 3, 3)]
    found = launches(monkeypatch, differentiate(triton.rasterize, (18, 18)), *shapes)
    assert [launch.kernel for launch, _ in found] == ["draw_kernel", "moments_kernel"]
    for launch, module in found:
        used, spilled = registers(launch, module, chip)
        assert spilled == 0
        assert used <= 128


@pytest.mark.parametrize("shape", [(2, 0), (0, 4)], ids=str)
def test_nothing_to_draw_is_black(shape):
    arrays = [jnp.zeros((*shape, size)) for size in (2, 3, 3)]
    image = triton.rasterize(*arrays, (3, 4))
    np.testing.assert_array_equal(image, np.zeros((shape[0], 3, 4, 3)))


def test_only_float32_is_drawn():
    with jax.enable_x64(True), pytest.raises(TypeError, match=r"in float32; got .*'float64'"):
        triton.rasterize(*(jnp.ones((4, size), jnp.float64) for size in (2, 3, 3)), (3, 3))


if __name__ == "__main__":
    compute()
