import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsjax import config as configs
from gsjax.models import semantic
from gsjax.models.coarse_fill import push_pull
from gsjax.models.dino import DinoViT, preprocess
from tests.quick import jit
from tests.weights import random_variables

TINY = DinoViT(width=32, depth=2, heads=2, mlp_width=64, grid=(2, 2))
VARIABLES = jax.tree.map(
    jnp.asarray, random_variables(TINY.init, np.zeros((1, 28, 28, 3), np.float32))
)


def tokens_of(sees, *arrays):
    """Returns the tokens of masked images and of clean ones, if given."""
    config = configs.default()
    config.dino.update(image_size=56, sees=sees)  # 4×4 patches
    return jit(semantic.make_tokens(config.dino, TINY))(VARIABLES, *arrays)


@jit
def class_token(images, keep=None):
    return TINY.apply(VARIABLES, preprocess(jnp.asarray(images), 56), keep).cls_token


def random_images(*shape):
    return np.random.default_rng(0).random((*shape, 3), np.float32)


def known_but_for(top, bottom, left, right):
    known = np.ones((2, 56, 56, 1), np.float32)
    known[:, top:bottom, left:right] = 0
    return known


def test_tokens_are_those_of_each_batch_by_itself():
    images, known = random_images(3, 40, 24), np.ones((3, 40, 24, 1), np.float32)
    known[:, 10:30, 5:20] = 0
    token, clean_token = tokens_of("masked", images * known, known, images)
    np.testing.assert_allclose(token, class_token(images * known), atol=1e-5)
    np.testing.assert_allclose(clean_token, class_token(images), atol=1e-5)
    alone, nothing = tokens_of("masked", images * known, known)
    np.testing.assert_allclose(alone, token, atol=1e-5)
    assert nothing is None


def test_without_a_module_there_are_no_tokens():
    tokens = semantic.make_tokens(configs.default().dino, None)
    assert tokens({}, None, None, None) == (None, None)


def test_of_known_pixels_dino_sees_filled_holes_and_not_the_patches_that_are_mostly_hole():
    images, known = random_images(2, 56, 56), known_but_for(14, 42, 14, 35)
    token, clean_token = tokens_of("known", images * known, known, images)
    keep = np.ones((2, 4, 4), bool)
    keep[:, 1:3, 1] = False  # all hole; those beside them are half hole
    filled = push_pull(jnp.asarray(images * known), jnp.asarray(known))
    np.testing.assert_allclose(token, class_token(filled, keep.reshape(2, 16)), atol=1e-5)
    np.testing.assert_allclose(clean_token, class_token(images), atol=1e-5)
    assert np.abs(token - class_token(filled)).max() > 1e-3


def test_nothing_that_is_in_a_hole_changes_the_token():
    images, known = random_images(2, 56, 56), known_but_for(10, 40, 10, 40)
    other = np.where(known > 0, images, 1 - images)
    for sees in ("masked", "known"):
        first, _ = tokens_of(sees, images * known, known)
        second, _ = tokens_of(sees, other * known, known)
        np.testing.assert_array_equal(first, second)


def test_without_known_pixels_the_token_is_finite_and_the_same_for_every_image():
    images, known = random_images(2, 56, 56), known_but_for(0, 56, 0, 56)
    token, _ = tokens_of("known", images * known, known)
    assert np.isfinite(token).all()
    np.testing.assert_array_equal(token[0], token[1])


@pytest.mark.parametrize(("rows", "kept"), [(10, True), (11, False)])
def test_a_patch_is_seen_if_a_quarter_of_it_is_known(rows, kept):
    known = known_but_for(14, 14 + rows, 14, 28)  # of 14
    keep = semantic.mostly_known(jnp.asarray(known), 56, 14).reshape(2, 4, 4)
    expected = np.ones((2, 4, 4), bool)
    expected[:, 1, 1] = kept
    np.testing.assert_array_equal(keep, expected)
