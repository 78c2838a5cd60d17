"""The convolution over patches against flax's."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsjax.models.patch_conv import PatchConv
from tests.quick import jit
from tests.weights import random_variables


@pytest.mark.parametrize("size", [(8, 12), (11, 5)], ids=str)
def test_a_patch_conv_is_a_convolution_of_equal_stride_and_kernel(size):
    x = np.random.default_rng(0).standard_normal((2, *size, 3), np.float32)
    ours, plain = PatchConv(5, 4), nn.Conv(5, (4, 4), 4, padding="VALID")
    variables = random_variables(ours.init, x)

    def value_and_gradients(module):
        def objective(variables, x):
            out = module.apply(variables, x)
            return jnp.sin(3 * out).sum(), out  # weighs every output differently

        return jit(jax.value_and_grad(objective, (0, 1), has_aux=True))(variables, x)

    pairs = zip(*map(jax.tree.leaves, map(value_and_gradients, (ours, plain))), strict=True)
    for one, other in pairs:
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def test_a_patch_conv_starts_as_the_convolution_does():
    x = jnp.zeros((1, 8, 8, 3))
    ours, plain = PatchConv(5, 4), nn.Conv(5, (4, 4), 4, padding="VALID")
    one, other = (jit(module.init)(jax.random.key(0), x) for module in (ours, plain))
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for mine, theirs in zip(*map(jax.tree.leaves, (one, other)), strict=True):
        np.testing.assert_array_equal(mine, theirs)
