"""The discriminator against the published one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsjax import convert
from gsjax.models.discriminator import Discriminator, min_side, touches_hole
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


@pytest.mark.parametrize(("layers", "grid"), [(1, (14, 10)), (2, (6, 4)), (5, (1, 1))])
def test_the_smallest_side_leaves_one_logit_at_any_depth(layers, grid):
    module, least = Discriminator(width=8, layers=layers), min_side(layers)
    size = (32, 24) if layers < 5 else (least, least)
    image = jax.ShapeDtypeStruct((1, *size, 3), jnp.float32)
    judgement = jax.eval_shape(
        lambda x: module.init_with_output(jax.random.key(0), x, method="judge")[0], image
    )
    assert judgement.logits.shape == (1, *grid, 1)
    assert [each.shape[-1] for each in judgement.maps] == [8, 16, 32, 64, 64, 64][: layers + 1]


@pytest.mark.parametrize("layers", [1, 3])
def test_a_patch_touches_the_hole_where_the_middle_of_what_its_logit_sees_does(layers):
    size = (64, 48)
    for y, x in ((0, 0), (30, 17), (63, 47)):
        hole = np.zeros((1, *size, 1), np.float32)
        hole[0, y, x] = 1
        grid = touches_hole(jnp.asarray(hole), layers)[0, :, :, 0]
        assert grid.shape == tuple(side // 2**layers - 2 for side in size)
        assert grid.any()  # no pixel of the hole is overlooked
        for patch, inside in np.ndenumerate(grid):
            centers = [_center_of_what_a_logit_sees(index, layers) for index in patch]
            reach = min_side(layers) / 2
            assert inside == all(
                abs(pixel - center) < reach for pixel, center in zip((y, x), centers, strict=True)
            )


def _center_of_what_a_logit_sees(index, layers):
    first = last = index
    for stride in (1, 1, *[2] * layers):  # from the last 4×4 convolution to the first, padded by 1
        first, last = stride * first - 1, stride * last + 2
    return (first + last) / 2
