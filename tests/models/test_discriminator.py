"""The discriminator against the published one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsjax import convert
from gsjax.models.discriminator import Discriminator
from tests import published


def test_logits_are_the_published_ones():
    _, state_dict, arrays = published.load("discriminator")
    module, variables = convert.discriminator(state_dict)
    logits = jax.jit(module.apply)(variables, published.nhwc(arrays["image"]))
    published.check("logits", logits, published.nhwc(arrays["logits"]))


@pytest.mark.parametrize(("size", "grid"), [((24, 24), (1, 1)), ((256, 128), (30, 14))])
def test_a_rectangle_gives_a_grid_of_logits(size, grid):
    module = Discriminator(width=8)
    image = jax.ShapeDtypeStruct((2, *size, 3), jnp.float32)
    logits, _ = jax.eval_shape(module.init_with_output, jax.random.key(0), image)
    assert logits.shape == (2, *grid, 1)


def test_weights_start_small_and_biases_at_zero():
    image = jnp.zeros((1, 24, 24, 3))
    # Of one layer only: what is not returned is not compiled.
    layer = jax.jit(lambda key: Discriminator().init(key, image)["params"]["conv_0"])
    params = layer(jax.random.key(0))
    np.testing.assert_array_equal(params["bias"], 0)
    assert 0.019 < params["kernel"].std() < 0.021
