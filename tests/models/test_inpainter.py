"""The composed model: shapes, options, the final picture, mistakes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsjax.kernels.rasterizer import rasterize
from gsjax.models.coarse_fill import push_pull
from gsjax.models.gaussian_head import Gaussians
from gsjax.models.inpainter import (
    GaussianInpainter,
    composite,
    draw,
    init_variables,
    normalized,
)
from tests.quick import jit
from tests.weights import random_variables

SMALL = GaussianInpainter(
    patch_size=8, gaussians=16, features=6, width=16, max_width=16, downs=2, blocks=1
)
OPTIONS = ("mask_channel", "residual_colors", "normalize_images", "normalize_splats")


def inputs(height=16, width=24, batch=2):
    """Masked images of soft waves, tokens, and what is known of the images."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    waves = [0.5 + 0.4 * np.sin(x / 9 + y / 7 + phase) for phase in range(3 * batch)]
    images = np.stack(waves, -1).reshape(height, width, batch, 3).transpose(2, 0, 1, 3)
    known = np.ones((batch, height, width, 1), np.float32)
    known[:, 3:9, 5:17] = 0
    token = np.random.default_rng(0).standard_normal((batch, 8), np.float32)
    return images * known, token, known


@functools.cache
def variables_of(module):
    return random_variables(functools.partial(init_variables, module, token_size=8))


def gaussians():
    """One patch of ten Gaussians."""
    rng = np.random.default_rng(0)
    means, cholesky = rng.uniform(0, 10, (1, 10, 2)), rng.uniform(0.4, 2, (1, 10, 3))
    colors = rng.normal(size=(1, 10, 3))
    return Gaussians(*(jnp.asarray(array, jnp.float32) for array in (means, cholesky, colors)))


@pytest.mark.parametrize(
    "options",
    [{}, dict.fromkeys(OPTIONS, True)],
    ids=["published", "all options"],
)
def test_any_rectangle_and_batch_is_drawn_in_float32(options):
    module = SMALL.clone(**options, dtype=jnp.bfloat16)
    out = jax.eval_shape(module.apply, variables_of(module), *inputs(24, 40, batch=3))
    shapes = jax.tree.map(lambda array: (array.shape, array.dtype.name), out)
    assert shapes.image == ((3, 24, 40, 3), "float32")
    assert shapes.token == ((3, 8), "bfloat16")
    assert shapes.gaussians.means == ((3, 15, 16, 2), "float32")
    assert shapes.gaussians.cholesky == ((3, 15, 16, 3), "float32")
    assert shapes.gaussians.colors == ((3, 15, 16, 3), "float32")


def test_without_options_known_pixels_are_not_needed():
    images, token, _ = inputs()
    out = jax.eval_shape(SMALL.apply, variables_of(SMALL), images, token)
    assert out.image.shape == images.shape


def test_the_mask_channel_is_one_more_input():
    first = variables_of(SMALL.clone(mask_channel=True))["params"]["encoder"]["stem"]["conv"]
    assert first["kernel"].shape == (7, 7, 4, 16)
    assert variables_of(SMALL)["params"]["encoder"]["stem"]["conv"]["kernel"].shape[2] == 3


def test_residual_colors_start_from_the_fill():
    module = SMALL.clone(residual_colors=True, normalize_splats=True)
    variables = jax.tree.map(np.copy, variables_of(module))
    for network, layer in (("color", "Dense_4"), ("offset", "Dense_3")):
        for array in jax.tree.leaves(variables["params"]["head"][network][layer]):
            array[:] = 0
    images, token, known = inputs()
    out = jit(module.apply)(variables, images, token, known)
    fill = np.asarray(jit(push_pull)(images, known))
    assert np.abs(out.image - fill).mean() < 0.03
    assert np.abs(out.image - fill).max() < 0.15
    # The colors are those of the fill where a Gaussian stands: the third of the second
    # row of the patch in the lower middle.
    x, y = out.gaussians.means[0, 4, 6]
    assert (x, y) == (4.5, 2.0)
    expected = (fill[0, 8 + 2 - 1, 8 + 4 - 1] + fill[0, 8 + 2 - 1, 8 + 5 - 1]) / 2
    np.testing.assert_allclose(out.gaussians.colors[0, 4, 6], expected, atol=1e-6)


def test_images_are_normalized_to_the_usual_mean_and_deviation():
    images = 0.2 + 0.1 * np.random.default_rng(0).random((2, 16, 24, 3), np.float32)
    images[1] *= (1.0, 2.0, 0.5)
    seen, contrast = jit(normalized)(images)
    np.testing.assert_allclose(np.mean(seen, (1, 2)), 0.45, atol=1e-5)
    np.testing.assert_allclose(np.sqrt(np.var(seen, (1, 2)).mean(-1)), 0.25, rtol=1e-3)
    centered = images - images.mean((1, 2), keepdims=True)
    np.testing.assert_allclose((seen - 0.45) * contrast, centered, atol=1e-6)


def test_with_normalized_images_light_and_contrast_carry_over_to_the_drawing():
    module = SMALL.clone(residual_colors=True, normalize_splats=True, normalize_images=True)
    images, token, known = inputs()
    apply = jit(module.apply)
    variables = variables_of(module)
    drawn = apply(variables, images, token, known).image
    light = np.array((0.3, 0.1, 0.2), np.float32)
    other = apply(variables, (0.5 * images + light) * known, token, known).image
    np.testing.assert_allclose(other, 0.5 * drawn + light, atol=2e-4)
    flat = apply(variables, np.full_like(images, 0.8) * known, token, known).image
    np.testing.assert_allclose(flat, 0.8, atol=1e-3)


def test_a_flat_image_has_a_finite_gradient():
    module = SMALL.clone(residual_colors=True, normalize_splats=True, normalize_images=True)
    images, token, known = map(jnp.asarray, inputs())

    def objective(images):
        return module.apply(variables_of(module), images, token, known).image.sum()

    gradient = jit(jax.grad(objective))(jnp.full_like(images, 0.8) * known)
    assert np.isfinite(gradient).all()


def test_fading_patches_draw_the_same_gaussians_further():
    """Inside of a patch, out of its neighbors' reach, the picture is the same."""
    images, token, known = inputs()
    module = SMALL.clone(residual_colors=True, normalize_splats=True)
    plain, faded = (
        jit(network.apply)(variables_of(module), images, token, known)
        for network in (module, module.clone(crossfade=2))
    )
    np.testing.assert_allclose(faded.gaussians.means, plain.gaussians.means + 1, atol=1e-6)
    y, x = (np.flatnonzero(np.isin(np.arange(side) % 8, (2, 3, 4, 5))) for side in (16, 24))
    inside = np.ix_([0, 1], y, x)
    np.testing.assert_allclose(faded.image[inside], plain.image[inside], atol=1e-5)
    assert np.abs(faded.image - plain.image).max() > 1e-3


def test_normalized_splats_are_means_of_colors_by_opacity():
    arrays = jax.tree.leaves(gaussians())
    splat = jit(functools.partial(rasterize, patch_shape=(10, 10)))
    opacity = splat(*arrays[:2], jnp.ones_like(arrays[2][..., :1]))
    expected = splat(*arrays) / np.maximum(opacity, 1e-3)
    drawn = jit(draw, static_argnums=(1, 2))(gaussians(), (10, 10), True)
    np.testing.assert_allclose(drawn, expected, rtol=1e-4, atol=1e-5)


def test_where_nothing_is_drawn_a_normalized_splat_is_black_with_a_finite_gradient():
    def objective(gaussians):
        return jnp.square(draw(gaussians, (10, 10), True)).sum()

    vanished = gaussians()
    vanished = vanished.replace(cholesky=jnp.zeros_like(vanished.cholesky))
    value, gradients = jit(jax.value_and_grad(objective))(vanished)
    assert value == 0
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


def test_the_final_picture_keeps_known_pixels_bit_for_bit():
    rng = np.random.default_rng(0)
    image, prediction = rng.random((2, 6, 5, 3), np.float32), rng.normal(size=(2, 6, 5, 3))
    known = (rng.random((2, 6, 5, 1)) < 0.5).astype(np.float32)
    final = np.asarray(jit(composite)(image, prediction.astype(np.float32), known))
    inside = np.broadcast_to(known > 0, image.shape)
    np.testing.assert_array_equal(final[inside], image[inside])
    expected = np.clip(prediction, 0, 1).astype(np.float32)
    np.testing.assert_array_equal(final[~inside], expected[~inside])


@pytest.mark.parametrize("option", ["mask_channel", "residual_colors"])
def test_what_needs_to_know_the_known_pixels_says_so(option):
    module = SMALL.clone(**{option: True})
    images, token, _ = inputs()
    with pytest.raises(ValueError, match=r"need `known`"):
        jax.eval_shape(module.apply, variables_of(module), images, token)


@pytest.mark.parametrize("size", [(12, 16), (16, 20)])
def test_a_size_that_patches_do_not_divide_is_named(size):
    with pytest.raises(ValueError, match=rf"8 px do not divide {size[0]}×{size[1]} px"):
        jax.eval_shape(SMALL.apply, variables_of(SMALL), *inputs(*size))


def test_the_published_size_has_the_published_number_of_parameters():
    init = functools.partial(init_variables, GaussianInpainter(), token_size=768)
    shapes = jax.eval_shape(init, jax.random.key(0))
    count = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    unused = (128 * 256 + 128) + (64 * 128 + 64)  # the published skip_linear
    assert round((count + unused) / 1e6, 1) == 73.4
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype("float32")}
