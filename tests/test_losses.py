"""The losses against values worked out by hand."""

import jax
import numpy as np
import pytest

from gsjax import losses


def test_l1_counts_every_pixel_and_channel():
    one, other = np.zeros((1, 2, 1, 3)), np.array([[[[0.0, 0.6, 0.0]], [[-0.3, 0.0, 0.3]]]])
    assert losses.l1(one, other) == pytest.approx(0.2)


def test_the_semantic_loss_is_minus_the_mean_cosine():
    token = np.array([[3.0, 4.0], [1.0, 0.0], [0.0, 2.0]])
    target = np.array([[6.0, 8.0], [0.0, 5.0], [0.0, -0.1]])
    assert losses.semantic(token, target) == pytest.approx(-(1 + 0 - 1) / 3)
    assert losses.semantic(token, token) == pytest.approx(-1)


def test_the_generator_wants_high_logits():
    logits = np.array([[1.0, -2.0], [4.0, 0.0]])[..., None, None]
    assert losses.hinge_generator(logits) == pytest.approx(-0.75)


def test_the_discriminator_wants_a_margin_of_one_either_side():
    real = np.array([0.5, 2.0, -1.0, 1.0])[:, None, None, None]
    fake = np.array([-3.0, 0.0, 1.0, -0.5])[:, None, None, None]
    expected = 0.5 * ((0.5 + 0 + 2 + 0) / 4 + (0 + 1 + 2 + 0.5) / 4)
    assert losses.hinge_discriminator(real, fake) == pytest.approx(expected)


def test_beyond_the_margin_the_discriminator_learns_nothing():
    real, fake = np.full((1, 2, 2, 1), 1.5, np.float32), np.full((1, 2, 2, 1), -1.5, np.float32)
    for gradient in jax.grad(losses.hinge_discriminator, (0, 1))(real, fake):
        np.testing.assert_array_equal(gradient, 0)


def test_the_hole_loss_counts_each_images_hole_alone_and_alike():
    target = np.zeros((3, 2, 2, 3), np.float32)
    prediction, known = target.copy(), np.ones((3, 2, 2, 1), np.float32)
    known[0, 0, 0] = known[1, 0] = 0  # one pixel, two, none
    prediction[0, 0, 0] = 0.3
    prediction[1, 0, 1, 0] = 0.6
    prediction[:, 1] = 1.0
    expected = (0.09 + 0.36 / 6 + 0) / 3
    assert losses.hole_mse(prediction, target, known) == pytest.approx(expected)
