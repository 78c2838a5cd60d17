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
from gsjax.kernels.rasterizer import rasterize, reference, triton
from tests.kernels import rasterizer_conformance as conformance
from tests.kernels import test_rasterizer as every
from tests.kernels.rasterizer_conformance import MANY, Case, close
from tests.quick import jit
from tests.triton_tools import interpret, launches, needs_triton, registers, save, saved

CASES = [*conformance.CASES, Case((2,), 3, 3, (37, 3))]


def extremes():
    every.DRAW["triton"] = triton.rasterize
    warps, triton.WARPS = triton.WARPS, 64  # for the interpreter, fewer programs are faster
    _, image, slopes = every.extremes("triton")
    triton.WARPS = warps
    return image, *slopes


def compute():
    gpu.run = interpret
    draw = functools.partial(rasterize, backend="triton")
    results = {str(case): conformance.outputs(draw, case, "float32") for case in CASES}
    results["extremes"] = extremes()

    ours = conformance.image_and_gradients(draw, MANY.patch)
    error, means, cholesky, colors = conformance.inputs(MANY, "float32")
    results["mapped"] = jit(jax.vmap(jax.vmap(ours)))(error, means, cholesky, colors)
    results["shared"] = jax.vmap(lambda *gaussians: draw(*gaussians, MANY.patch), (0, 0, None))(
        means, cholesky, colors[0]
    )
    mesh = Mesh(np.array(jax.devices()), ("data",))
    split, whole = PartitionSpec("data"), PartitionSpec()
    in_parts = jax.shard_map(
        ours,
        mesh=mesh,
        in_specs=(split, split, split, whole),
        out_specs=(split, split, split, whole),
    )
    results["in parts"] = jit(in_parts)(error, means, cholesky, colors[0][None])

    # As with many patches: several Gaussians a lane, no lanes that share a strip.
    triton.LANES = 1
    results["many patches"] = jit(ours)(error, means, cholesky, colors)
    save(results)


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory):
    path = tmp_path_factory.mktemp("triton") / "rasterizer.npz"
    return saved("tests.kernels.test_rasterizer_triton", path)


@needs_triton
@pytest.mark.parametrize("case", CASES, ids=str)
def test_image_and_gradients_are_those_of_the_reference(interpreted, case):
    conformance.check([interpreted[f"{case}.{i}"] for i in range(4)], case)


@needs_triton
@pytest.mark.parametrize("way", ["mapped", "many patches"])
def test_mapped_and_many_patches_are_as_the_reference(interpreted, way):
    conformance.check([interpreted[f"{way}.{i}"] for i in range(4)], MANY)


@needs_triton
def test_shared_colors_are_drawn_and_pulled_by_all(interpreted):
    def draw(means, cholesky, colors, patch):
        return reference.rasterize(means, cholesky, jnp.stack([colors] * 2), patch)

    with jax.enable_x64(True):
        error, means, cholesky, colors = conformance.inputs(MANY, "float64")
        run = jit(conformance.image_and_gradients(draw, MANY.patch))
        exact = run(error, means, cholesky, colors[0])
    close(interpreted["shared"], exact[0], 2e-5)
    for i, expected in enumerate(exact):
        ours = interpreted[f"in parts.{i}"]
        close(ours.reshape(expected.shape), expected, 2e-5)


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
    shapes = [(patches, 18, 18, 3), *((patches, 324, size) for size in (2, 3, 3))]
    program = conformance.image_and_gradients(triton.rasterize, (18, 18))
    found = launches(monkeypatch, program, *shapes)
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
