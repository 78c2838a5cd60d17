"""The encoder's parts against their plain forms; its shapes and types."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsjax.models.encoder import AdaptiveBlock, Encoder, ReflectConv, UpConv
from tests.quick import jit
from tests.weights import random_variables


def normal(*shape, seed=1):
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def value_and_gradients(apply):
    """Of a function of variables and inputs, weighing every output differently."""

    def objective(*arguments):
        out = apply(*arguments)
        return jnp.sin(3 * out).sum(), out

    return jit(jax.value_and_grad(objective, (0, 1), has_aux=True))


@pytest.mark.parametrize("size", [(1, 1), (3, 5)], ids=str)
def test_up_conv_is_the_transposed_convolution(size):
    x, ours = normal(2, *size, 6), UpConv(4)
    plain = nn.ConvTranspose(4, (3, 3), (2, 2), ((1, 2), (1, 2)), transpose_kernel=True)
    variables = random_variables(ours.init, x)
    (_, out), gradients = value_and_gradients(ours.apply)(variables, x)
    (_, expected), plain_gradients = value_and_gradients(plain.apply)(variables, x)
    assert out.shape == (2, 2 * size[0], 2 * size[1], 4)
    np.testing.assert_allclose(out, expected, atol=1e-5)
    for one, other in zip(*map(jax.tree.leaves, (gradients, plain_gradients)), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


@pytest.mark.parametrize(("kernel", "size"), [(3, (2, 7)), (7, (4, 9)), (7, (8, 8))], ids=str)
def test_reflect_conv_is_a_convolution_of_the_reflected_image(kernel, size):
    x, module = normal(2, *size, 3), ReflectConv(4, kernel)
    variables = random_variables(module.init, x)
    border = (kernel // 2, kernel // 2)
    reflected = np.pad(x, ((0, 0), border, border, (0, 0)), mode="reflect")
    plain = nn.Conv(4, (kernel, kernel), padding="VALID")
    expected = jit(plain.apply)({"params": variables["params"]["conv"]}, reflected)
    np.testing.assert_allclose(jit(module.apply)(variables, x), expected, atol=1e-5)


def test_an_adaptive_block_normalizes_modulates_and_adds():
    x, token = 2 + 3 * normal(2, 5, 4, 16), normal(2, 8, seed=2)
    module = AdaptiveBlock()
    variables = random_variables(module.init, x, token)
    # The first convolution lets through what it is given, to be seen.
    kernel = variables["params"]["conv_1"]["conv"]["kernel"]
    kernel[:] = np.eye(3)[1][:, None, None, None] * np.eye(3)[1][:, None, None] * np.eye(16)
    variables["params"]["conv_1"]["conv"]["bias"][:] = 0
    apply = jit(lambda *inputs: module.apply(*inputs, capture_intermediates=True))
    out, state = apply(variables, x, token)
    inside = state["intermediates"]

    adapter = variables["params"]["adapter"]
    factors = token.astype(np.float64) @ adapter["kernel"] + adapter["bias"]
    alpha, beta, gamma = (factors[:, None, None, 16 * i : 16 * (i + 1)] for i in range(3))
    mean = x.mean((1, 2), keepdims=True, dtype=np.float64)
    variance = ((x - mean) ** 2).sum((1, 2), keepdims=True) / (5 * 4 - 1)
    expected = (x - mean) / np.sqrt(variance + 1e-6) * (1 + alpha) + beta
    np.testing.assert_allclose(inside["conv_1"]["__call__"][0], expected, atol=1e-4)
    (residual,) = inside["norm_2"]["__call__"]
    np.testing.assert_allclose(out, x + gamma * residual, atol=1e-4)


def test_a_flat_image_passes_an_adaptive_block_finitely():
    x, token = jnp.full((1, 4, 4, 16), 0.5), jnp.asarray(normal(1, 8))
    module = AdaptiveBlock()
    (_, out), gradients = value_and_gradients(
        lambda variables, x: module.apply(variables, x, token)
    )(random_variables(module.init, x, token), x)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((out, gradients)))


@pytest.fixture(scope="module")
def encoded():
    """A small encoder, compiled, its variables and inputs, and what it makes of them."""
    module = Encoder(features=5, width=16, max_width=32, downs=2, blocks=1)
    x, token = normal(2, 8, 20, 4), normal(2, 8, seed=2)
    variables = random_variables(module.init, x, token)
    apply = jit(module.apply)
    return module, apply, variables, (x, token), apply(variables, x, token)


def test_features_have_the_images_resolution_and_stay_within_1(encoded):
    *_, out = encoded
    assert out.shape == (2, 8, 20, 5)
    assert np.abs(out).max() < 1


def test_the_token_changes_the_features(encoded):
    _, apply, variables, (x, token), out = encoded
    other = apply(variables, x, token[::-1])
    assert np.abs(other - out).max() > 1e-3


def test_channels_double_up_to_the_most(encoded):
    _, _, variables, *_ = encoded
    shapes = jax.tree.map(np.shape, variables["params"])
    assert shapes["stem"]["conv"]["kernel"] == (7, 7, 4, 16)
    assert shapes["down_1"]["kernel"] == (3, 3, 16, 32)
    assert shapes["down_2"]["kernel"] == (3, 3, 32, 32)
    assert shapes["up_1"]["kernel"] == (3, 3, 32, 32)
    assert shapes["up_0"]["kernel"] == (3, 3, 16, 64)  # with the skip's 32


def test_without_skips_the_decoder_sees_only_what_is_below(encoded):
    module, _, _, inputs, _ = encoded
    shapes = jax.eval_shape(module.clone(skips=False).init, jax.random.key(0), *inputs)
    assert shapes["params"]["up_0"]["kernel"].shape == (3, 3, 16, 32)


def test_bfloat16_computes_near_float32_on_float32_parameters(encoded):
    module, _, variables, inputs, out = encoded
    rounded = module.clone(dtype=jnp.bfloat16)
    shapes = jax.eval_shape(rounded.init, jax.random.key(0), *inputs)
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype("float32")}
    features = jit(rounded.apply)(variables, *inputs)
    assert features.dtype == jnp.bfloat16
    difference = np.abs(features.astype(jnp.float32) - out)
    assert difference.mean() < 0.02
    assert difference.max() < 0.3
