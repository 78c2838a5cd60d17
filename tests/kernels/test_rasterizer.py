"""Plain JAX against the reference and finite differences; the reference against a loop."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsjax.kernels.rasterizer import rasterize, reference
from tests.kernels import rasterizer_conformance as conformance
from tests.kernels.rasterizer_conformance import MANY, SINGLE, Case, close, scene
from tests.quick import jit

DRAW = {
    "reference": reference.rasterize,
    "xla": functools.partial(rasterize, backend="xla"),
}
backends = pytest.mark.parametrize("backend", DRAW)
inputs = pytest.mark.parametrize("argument", [0, 1, 2], ids=["means", "cholesky", "colors"])


def loop(means, cholesky, colors, patch):
    """The formula as the paper has it, in NumPy."""
    lead, channels = means.shape[:-2], colors.shape[-1]
    image = np.zeros((*lead, *patch, channels))
    for index in np.ndindex(lead):
        gaussians = zip(means[index], cholesky[index], colors[index], strict=True)
        for mean, (l11, l21, l22), color in gaussians:
            lower = np.array([[l11, 0], [l21, l22]])
            conic = np.linalg.inv(lower @ lower.T)
            for y, x in np.ndindex(patch):
                offset = mean - (x, y)
                alpha = min(1.0, np.exp(-0.5 * offset @ conic @ offset))
                image[index][y, x] += alpha * color
    return image


@pytest.mark.parametrize("case", [case for case in conformance.CASES if case.length == 1], ids=str)
def test_the_reference_is_the_formula(case):
    means, cholesky, colors = conformance.inputs(case, "float64")[1:]
    close(conformance.expected(case)[0], loop(means, cholesky, colors, case.patch), 1e-12)


@pytest.mark.parametrize(
    ("backend", "dtype"), [("reference", "float32"), ("xla", "float64"), ("xla", "float32")]
)
@pytest.mark.parametrize("case", conformance.CASES, ids=str)
def test_image_and_gradients_are_those_of_the_reference(backend, case, dtype):
    conformance.check(conformance.outputs(DRAW[backend], case, dtype), case, dtype)


# Each scene has two Gaussians: (x, y), (l11, l21, l22).
SCENES = {
    "ordinary": ([(1.3, 2.2), (3.6, 0.4)], [(0.9, -0.5, 1.4), (-1.2, 0.8, 0.6)]),
    "needles": ([(2.0, 2.3), (1.1, 3.0)], [(3.0, 1.5, 0.05), (0.04, 2.0, 2.5)]),
    "fading": ([(2.01, 2.01), (1.0, 2.98)], [(0.02, 0.01, 0.03), (0.01, -0.02, 0.06)]),
    "far outside": ([(-6.0, 9.0), (14.0, -5.0)], [(2.5, 0.3, 2.0), (3.0, -1.0, 2.0)]),
}


@functools.cache
def differences_and_derivative():
    """Central differences of the drawing, and its derivative, for each of SCENES."""
    patch = (5, 4)
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        error, colors = rng.normal(size=(*patch, 2)), rng.normal(size=(2, 2))
        means, cholesky = (np.array(arrays) for arrays in zip(*SCENES.values(), strict=True))
        gaussians = (means, cholesky, np.stack([colors] * len(SCENES)))

        def objective(*gaussians):
            return jnp.vdot(DRAW["xla"](*gaussians, patch), error)

        step = 1e-6
        objectives = jit(jax.vmap(objective))
        differences = [np.zeros_like(array) for array in gaussians]
        for argument, array in enumerate(gaussians):
            for index in np.ndindex(array.shape[1:]):
                moved = []
                for sign in (-1, 1):
                    changed = [array.copy() for array in gaussians]
                    changed[argument][:, *index] += sign * step
                    moved.append(objectives(*changed))
                differences[argument][:, *index] = (moved[1] - moved[0]) / (2 * step)
        return differences, jit(jax.vmap(jax.grad(objective, (0, 1, 2))))(*gaussians)


@inputs
@pytest.mark.parametrize("name", SCENES)
def test_gradients_are_finite_differences(name, argument):
    index = list(SCENES).index(name)
    differences, derivative = (arrays[argument] for arrays in differences_and_derivative())
    assert np.abs(differences[index]).max() > 0
    close(derivative[index], differences[index], 1e-6)


LENGTHS = (0.0, 1e-30, 1e-13, 1e-9, 1e-6, 1e-3, 1.0, 1e3, 1e30)
SLANTS = (0.0, 1.0, -1e3, 1e30, -3e38)
PLACES = ((3.0, 4.0), (3.3, 3.9), (-1e5, 4.0), (1e30, -1e30))  # the first on a pixel


@functools.cache
def extremes(backend):
    """One Gaussian a patch, of every extreme, with their images and the gradients."""
    table = list(itertools.product(PLACES, LENGTHS, SLANTS, LENGTHS))
    means = np.float32([[place] for place, *_ in table])
    cholesky = np.float32([[lengths] for _, *lengths in table])

    def objective(*gaussians):
        image = DRAW[backend](*gaussians, (6, 5))
        return image.sum(), image

    colors = np.ones((len(table), 1, 1), np.float32)
    differentiate = jit(jax.value_and_grad(objective, (0, 1, 2), has_aux=True))
    (_, image), slopes = differentiate(means, cholesky, colors)
    return cholesky[:, 0], np.asarray(image), slopes


@backends
def test_opacity_is_between_0_and_1_for_any_gaussian(backend):
    _, image, _ = extremes(backend)
    assert image.min() >= 0
    assert image.max() == 1


@backends
def test_gradients_of_any_gaussian_are_finite(backend):
    _, _, slopes = extremes(backend)
    for slope in slopes:
        assert np.isfinite(slope).all()


@backends
def test_a_gaussian_without_area_draws_nothing_and_moves_nothing(backend):
    cholesky, image, slopes = extremes(backend)
    flat = np.abs(cholesky[:, 0].astype(np.float64) * cholesky[:, 2]) < 1e-25
    assert flat.sum() > 100
    assert image[flat].max() < 1e-30
    assert max(np.abs(slope[flat]).max() for slope in slopes) < 1e-6


@backends
def test_past_a_megapixel_lengths_draw_as_the_bound_and_have_no_gradient(backend):
    means, colors = np.float32([[1e30, 2.0], [2.0, 2.0]]), np.ones((2, 1), np.float32)
    far = np.float32([[1e30, 1.0, 1.0], [1.0, -1e30, 3e38]])

    def objective(*gaussians):
        return DRAW[backend](*gaussians, (4, 4)).sum()

    differentiate = jit(jax.value_and_grad(objective, (0, 1)))
    at_bound, _ = differentiate(np.clip(means, -1e6, 1e6), np.clip(far, -1e6, 1e6), colors)
    value, slopes = differentiate(means, far, colors)
    assert value == at_bound > 1
    assert slopes[0][0, 0] == slopes[1][0, 0] == slopes[1][1, 1] == slopes[1][1, 2] == 0


# From (2, 1, 1.5): which of (l11, l21, l22) shrink.
SHRINKING = {"evenly": (1, 1, 1), "to a slanted line": (0, 0, 1), "to a vertical line": (1, 0, 0)}
MEANS = {"on a pixel": (3.0, 4.0), "between pixels": (3.3, 4.2)}


@functools.cache
def drawn_while_shrinking(backend):
    """The sum over the patch for each of SHRINKING, MEANS and 241 sizes down to 1e-30."""
    sizes = 10.0 ** np.linspace(0, -30, 241)[:, None]
    paths = np.stack([sizes ** np.array(shrinks) for shrinks in SHRINKING.values()])
    cholesky = np.float32(paths * (2.0, 1.0, 1.5))[:, None, :, None]
    means = np.float32([*MEANS.values()])[None, :, None, None]
    cholesky, means = (
        np.broadcast_to(array, (3, 2, 241, 1, array.shape[-1])) for array in (cholesky, means)
    )
    draw = jit(functools.partial(DRAW[backend], patch_shape=(9, 8)))
    image = draw(means, cholesky, np.ones((3, 2, 241, 1, 1), np.float32))
    return np.asarray(image, np.float64).sum((-3, -2, -1))


@pytest.mark.parametrize("mean", MEANS)
@pytest.mark.parametrize("shrinking", SHRINKING)
@backends
def test_a_shrinking_gaussian_fades_out_and_never_floods(backend, shrinking, mean):
    path = list(SHRINKING).index(shrinking), list(MEANS).index(mean)
    drawn = drawn_while_shrinking(backend)[path]
    assert (np.diff(drawn) <= 1e-6 * drawn[:-1] + 1e-12).all()
    assert drawn[0] > 5
    assert drawn[-1] == 0


def test_leading_dimensions_and_vmap_mean_the_same():
    differentiate = conformance.image_and_gradients(rasterize, MANY.patch)
    mapped = jit(jax.vmap(differentiate))(*conformance.inputs(MANY, "float32"))
    conformance.check(mapped, MANY)


def test_gaussians_may_share_colors_under_vmap():
    means, cholesky, colors = (
        array.astype(np.float32) for array in scene(Case((3,), 2, 1, (7, 5)))
    )
    draw = jax.vmap(functools.partial(rasterize, patch_shape=(7, 5)), (0, 0, None))
    shared = rasterize(means, cholesky, np.stack([colors[0]] * 3), (7, 5))
    np.testing.assert_allclose(draw(means, cholesky, colors[0]), shared, atol=1e-6)


def test_bfloat16_colors_are_drawn_in_float32():
    means, cholesky, colors = (jnp.asarray(array, jnp.float32) for array in scene(SINGLE))
    rounded = colors.astype(jnp.bfloat16)

    def objective(colors):
        image = rasterize(means, cholesky, colors, SINGLE.patch)
        assert image.dtype == jnp.float32
        return image.sum()

    value, slope = jit(jax.value_and_grad(objective))(rounded)
    assert slope.dtype == jnp.bfloat16
    np.testing.assert_allclose(value, objective(rounded.astype(jnp.float32)), rtol=1e-6)


def test_no_gaussians_draw_black():
    image = rasterize(jnp.zeros((2, 0, 2)), jnp.zeros((2, 0, 3)), jnp.zeros((2, 0, 3)), (3, 4))
    np.testing.assert_array_equal(image, np.zeros((2, 3, 4, 3)))


def arrays_in(jaxpr):
    """All shapes that a program makes, in loops and calls too."""
    for equation in jaxpr.eqns:
        yield from (variable.aval for variable in equation.outvars)
        for value in equation.params.values():
            for inner in value if isinstance(value, tuple | list) else (value,):
                if hasattr(inner := getattr(inner, "jaxpr", inner), "eqns"):
                    yield from arrays_in(inner)


def test_pixels_times_gaussians_never_exist():
    patches, n, side = 64, 324, 18
    shapes = [jax.ShapeDtypeStruct((patches, n, size), jnp.float32) for size in (2, 3, 3)]

    def objective(draw, *gaussians):
        return jnp.square(draw(*gaussians, (side, side))).sum()

    def value(draw):
        return functools.partial(objective, draw)

    def gradient(draw):
        return jax.grad(functools.partial(objective, draw), (0, 1, 2))

    opacities = patches * n * side**2
    largest = {}
    for name, draw in DRAW.items():
        jaxpr = jax.make_jaxpr(gradient(draw))(*shapes).jaxpr
        largest[name] = max(aval.size for aval in arrays_in(jaxpr))
    assert largest["reference"] >= opacities  # or the search finds nothing
    assert largest["xla"] <= opacities / 64
    for program, part in ((value, 20), (gradient, 12)):
        compiled = jit(program(DRAW["xla"])).lower(*shapes).compile()
        assert compiled.memory_analysis().temp_size_in_bytes < 4 * opacities / part


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    "shapes",
    [
        ((4, 3), (4, 3), (4, 3)),
        ((4, 2), (4, 2), (4, 3)),
        ((4, 2), (5, 3), (4, 3)),
        ((4, 2), (4, 3), (1, 3)),
        ((2, 4, 2), (4, 3), (4, 3)),
        ((2,), (3,), (3,)),
    ],
    ids=str,
)
def test_shapes_that_do_not_fit_are_named(shapes):
    with pytest.raises(ValueError, match=r"must be \[\.\.\., N, 2\]") as error:
        rasterize(*map(np.zeros, shapes))
    assert all(str(shape) in str(error.value) for shape in shapes)


def test_an_unknown_backend_names_those_there_are():
    with pytest.raises(ValueError, match=r"'cuda' is unknown; there are auto, xla, pallas, triton"):
        rasterize(np.zeros((4, 2)), np.zeros((4, 3)), np.zeros((4, 3)), backend="cuda")


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("patch_shape", [(18,), (18, 0), (-1, 18), (18, 18, 3)], ids=str)
def test_a_patch_shape_is_two_sizes(patch_shape):
    with pytest.raises(ValueError, match=r"patch_shape must be \(height, width\)"):
        rasterize(np.zeros((4, 2)), np.zeros((4, 3)), np.zeros((4, 3)), patch_shape)
