"""Distances of DINO's tokens against the same computed token by token in float64."""

import jax.numpy as jnp
import numpy as np
import pytest

from gsjax.evaluation.semantics import compare, embed_originals
from gsjax.models.dino import DinoViT, preprocess
from tests.quick import jit
from tests.weights import random_variables

MODULE = DinoViT(width=32, depth=1, heads=2, mlp_width=32, grid=(2, 2))


@pytest.fixture(scope="module")
def variables():
    return random_variables(MODULE.init, np.zeros((1, 28, 28, 3), np.float32))


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), np.uint8)


@pytest.fixture(scope="module")
def found(variables, images):
    """What is found of two fills of the first of three photographs."""
    holes = np.zeros((2, 32, 32), bool)
    holes[0, 8:24, 8:24] = True
    holes[1, 5] = True  # thinner than half a patch everywhere
    semantics = embed_originals(MODULE, variables, images[:3])
    return compare(semantics, images[3:], images[0], holes)


@pytest.fixture(scope="module")
def tokens(variables, images):
    out = jit(MODULE.apply)(variables, preprocess(jnp.asarray(images, jnp.float32) / 255, 224))
    return np.float64(out.cls_token), np.float64(out.patch_tokens).reshape(5, 16, 16, -1)


def one_minus_cosine(one, other):
    return 1 - one @ other / np.sqrt((one @ one) * (other @ other))


def test_class_tokens_are_compared_after_the_mean_of_the_photographs_is_taken_off(found, tokens):
    tokens = tokens[0] - tokens[0][:3].mean(0)
    expected = [one_minus_cosine(tokens[i], tokens[0]) for i in (3, 4)]
    np.testing.assert_allclose(found.class_token, expected, atol=1e-4)


def test_patch_tokens_are_compared_where_a_patch_is_more_than_half_hole(found, tokens):
    patches = tokens[1] - tokens[1][:3].mean((0, 1, 2))
    # A patch of 14 of 224 pixels is two of 32 wide: the square covers the middle 8×8 of them.
    expected = np.mean(
        [
            one_minus_cosine(patches[3, row, column], patches[0, row, column])
            for row in range(4, 12)
            for column in range(4, 12)
        ]
    )
    np.testing.assert_allclose(found.patch_tokens[0], expected, atol=1e-4)


def test_without_such_a_patch_there_is_no_distance(found):
    assert np.isnan(found.patch_tokens[1])


def test_features_for_a_frechet_distance_are_the_class_tokens(found, tokens):
    np.testing.assert_allclose(found.features, tokens[0][3:], atol=1e-4)
