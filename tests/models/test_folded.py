"""The folded encoder: its parts against their plain forms, its shapes and types."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsjax.models.folded import AttentionBlock, Block, FoldedEncoder, unfold
from gsjax.models.patch_conv import fold
from tests.quick import jit
from tests.weights import random_variables

SMALL = FoldedEncoder(features=6, fold=2, width=32, max_width=32, downs=1, blocks=2)


def normal(*shape, seed=1):
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


@pytest.mark.parametrize("token", [None, normal(2, 8, seed=2)], ids=["plain", "modulated"])
def test_a_map_of_features_comes_at_a_part_of_the_resolution(token):
    module = SMALL.clone(dtype=jnp.bfloat16)
    variables = random_variables(module.init, normal(2, 8, 12, 4), token)
    out = jax.eval_shape(module.apply, variables, normal(2, 8, 12, 4), token)
    assert (out.shape, out.dtype) == ((2, 4, 6, 6), jnp.bfloat16)


def test_a_cell_holds_the_square_of_pixels_where_it_is():
    image = jnp.asarray(normal(2, 6, 9, 2))
    cells = fold(image, 3)
    assert cells.shape == (2, 2, 3, 18)
    np.testing.assert_array_equal(cells[1, 1, 2].reshape(3, 3, 2), image[1, 3:6, 6:9])
    np.testing.assert_array_equal(unfold(cells, 3), image)


def test_what_surrounds_a_hole_reaches_across_it():
    variables = random_variables(SMALL.init, normal(1, 32, 32, 4), None)
    apply = jit(lambda image: SMALL.apply(variables, image, None))
    image = normal(1, 32, 32, 4)
    other = image.copy()
    other[0, -1, -1] += 1
    assert np.abs(apply(image) - apply(other))[0, 0, 0].max() > 1e-6


def test_attention_is_the_softmax_of_products_of_cells():
    x, module = normal(2, 3, 2, 64), AttentionBlock()
    variables = random_variables(module.init, x, None)
    p = variables["params"]
    for array in jax.tree.leaves(p["narrow"]):
        array[:] = 0  # the rest of the block
    cells = x.reshape(2, 6, 64)
    normalized = cells / np.sqrt(np.square(cells).mean(-1, keepdims=True) + 1e-6)
    normalized = normalized * p["attention_norm"]["scale"]
    mixed = normalized @ p["queries_keys_values"]["kernel"] + p["queries_keys_values"]["bias"]
    q, k, v = (part.reshape(2, 6, 2, 32) for part in np.split(mixed, 3, -1))
    weights = np.exp(np.einsum("bqhc,bkhc->bhqk", q, k) / np.sqrt(32))
    weights /= weights.sum(-1, keepdims=True)
    attended = np.einsum("bhqk,bkhc->bqhc", weights, v).reshape(2, 6, 64)
    expected = cells + attended @ p["attended"]["kernel"] + p["attended"]["bias"]
    out = np.asarray(jit(module.apply)(variables, x, None)).reshape(2, 6, 64)
    np.testing.assert_allclose(out, expected, atol=1e-4)


@pytest.mark.parametrize("module", [Block(), AttentionBlock()], ids=["block", "attention"])
def test_blocks_begin_as_the_identity(module):
    x, token = normal(1, 4, 4, 32), normal(1, 8)
    variables = jit(module.init)(jax.random.key(0), x, token)
    np.testing.assert_array_equal(jit(module.apply)(variables, x, token), x)


def test_the_token_modulates():
    image, token = normal(1, 8, 8, 4), normal(1, 8)
    variables = random_variables(SMALL.init, image, token)
    apply = jit(functools.partial(SMALL.apply, variables))
    assert np.abs(apply(image, token) - apply(image, -token)).max() > 1e-3


def test_computing_blocks_again_changes_no_gradient():
    image = jnp.asarray(normal(1, 8, 8, 4))
    variables = random_variables(SMALL.init, image, None)

    def gradient(module):
        return jit(jax.grad(lambda v: jnp.square(module.apply(v, image, None)).sum()))(variables)

    ours, again = gradient(SMALL), gradient(SMALL.clone(recompute=True))
    assert sorted(ours["params"]) == sorted(again["params"])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), ours, again)
