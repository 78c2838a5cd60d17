"""The losses against values worked out by hand; their gradients are in `test_loss_gradients`."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsjax import config as configs
from gsjax.models import losses
from gsjax.models.discriminator import DiscriminatorOutput


def seen(drawn, images=None, known=None, **fields):
    """Returns what the losses see; `options` changes `config.loss`."""
    drawn = jnp.asarray(drawn, jnp.float32)
    options = configs.default().loss
    options.update(fields.pop("options", {}))
    images = jnp.zeros_like(drawn) if images is None else jnp.asarray(images, jnp.float32)
    known = jnp.ones((*drawn.shape[:3], 1)) if known is None else jnp.asarray(known)
    return losses.Seen(options, images, known, drawn, **fields)


def judged(real, fake, touches_hole=None, maps=((), ()), **options):
    """Returns what the losses see of given logits, [image][patch], and maps."""
    picture = np.full((len(fake), 1, 1, 3), 0.5)

    def judge(images):
        logits, features = (real, maps[0]) if images is photograph else (fake, maps[1])
        return DiscriminatorOutput(jnp.asarray(logits, jnp.float32)[..., None, None], features)

    found = seen(picture, options=options, judge=judge)
    photograph = found.images
    touches_hole = None if touches_hole is None else jnp.asarray(touches_hole)[..., None, None]
    return dataclasses.replace(found, touches_hole=touches_hole)


def value(name, seen):
    return float(losses.TERMS[name].function(seen))


def test_every_term_has_a_weight_in_the_config():
    weights = configs.default().loss
    assert all(isinstance(weights[name], float) for name in losses.TERMS)


def test_a_further_term_is_a_function_and_a_weight(monkeypatch):
    monkeypatch.setattr(losses, "TERMS", dict(losses.TERMS))

    @losses.term
    def brightness(seen):
        return seen.prediction.mean()

    weights = {"lpips": 0.0, "brightness": 2.0}  # as if it were a field of the config
    total, terms = losses.total(seen([[[[0.3, 0.6, 0.0]]]], options=weights), adversarial=False)
    assert terms["brightness"] == pytest.approx(0.3)
    assert total == pytest.approx(0.3 + 2 * 0.3)


def test_terms_without_weight_are_not_computed():
    weights = {"l1": 0.0, "hole": 1.0, "lpips": 0.0}
    _, terms = losses.total(seen(np.zeros((1, 1, 1, 3)), options=weights), adversarial=False)
    assert terms.keys() == {"hole", "total"}


@pytest.mark.parametrize(
    ("weights", "steps"),
    [
        ({"gan": 0.0}, ()),
        ({"gan": 0.1}, (1, 5, 6)),
        ({"gan": 0.1, "gan_start": 5}, (6,)),
        ({"gan": 0.0, "features": 1.0, "gan_start": 1}, (5, 6)),
    ],
    ids=str,
)
def test_the_discriminator_takes_part_where_a_term_needs_it(weights, steps):
    config = configs.default()
    config.loss.update(weights)
    assert tuple(step for step in (1, 5, 6) if losses.is_adversarial(config.loss, step)) == steps
    assert losses.is_adversarial(config.loss) == bool(steps)


def test_l1_counts_every_pixel_and_channel():
    images, drawn = np.zeros((1, 2, 1, 3)), [[[[0.0, 0.6, 0.0]], [[-0.3, 0.0, 0.3]]]]
    assert value("l1", seen(drawn, images)) == pytest.approx(0.15)  # −0.3 is clamped
    assert value("known_l1", seen(drawn, images)) == pytest.approx(0.2)


def test_the_semantic_loss_is_minus_the_mean_cosine():
    token = jnp.array([[3.0, 4.0], [1.0, 0.0], [0.0, 2.0]])
    target = jnp.array([[6.0, 8.0], [0.0, 5.0], [0.0, -0.1]])
    picture = np.zeros((3, 1, 1, 3))
    found = seen(picture, token=token, clean_token=target)
    assert value("semantic", found) == pytest.approx(-(1 + 0 - 1) / 3)
    found = seen(picture, token=token, clean_token=token)
    assert value("semantic", found) == pytest.approx(-1)


def test_hole_and_known_pixels_count_alone_and_in_each_image_alike():
    images = np.zeros((3, 2, 2, 3), np.float32)
    drawn, known = images.copy(), np.ones((3, 2, 2, 1), np.float32)
    known[0, 0, 0] = known[1, 0] = 0  # one pixel, two, none
    drawn[0, 0, 0] = 0.3
    drawn[1, 0, 1, 0] = 0.6
    drawn[:, 1] = 1.0
    found = seen(drawn, images, known)
    assert value("hole", found) == pytest.approx((0.09 + 0.36 / 6 + 0) / 3)
    assert value("hole_l1", found) == pytest.approx((0.3 + 0.6 / 6 + 0) / 3)
    assert value("known_l1", found) == pytest.approx((2 / 3 + 1 + 1 / 2) / 3)


def test_the_fill_is_the_prediction_or_the_photograph_with_the_hole_filled():
    drawn, images = [[[[0.2] * 3], [[1.4] * 3]]], [[[[0.7] * 3], [[0.7] * 3]]]
    known = np.array([1.0, 0.0], np.float32).reshape(1, 2, 1, 1)
    prediction = seen(drawn, images, known).fill
    composite = seen(drawn, images, known, options={"composite": True}).fill
    np.testing.assert_allclose(prediction[0, :, 0, 0], [0.2, 1.0])
    np.testing.assert_allclose(composite[0, :, 0, 0], [0.7, 1.0])


def test_the_distance_of_dinos_tokens_counts_every_block_alike():
    tokens = {  # [block][image][patch][channel]
        "drawn": ([[[3.0, 4.0], [1.0, 0.0]]], [[[0.0, 2.0], [0.0, 0.0]]]),
        "images": ([[[6.0, 8.0], [0.0, 9.0]]], [[[0.0, -0.1], [1.0, 1.0]]]),
    }

    def patch_tokens(images):
        return [jnp.array(block) for block in tokens["drawn" if images.any() else "images"]]

    found = seen(np.full((1, 1, 1, 3), 0.5), patch_tokens=patch_tokens)
    assert value("dino", found) == pytest.approx(((0 + 1) / 2 + (2 + 1) / 2) / 2)


def test_the_spectrum_counts_amplitudes_and_not_phases():
    rng = np.random.default_rng(0)
    drawn, images = rng.uniform(size=(2, 2, 5, 6, 3))
    spectra = [np.abs(np.fft.rfft2(x, axes=(1, 2), norm="ortho")) for x in (drawn, images)]
    expected = np.square(spectra[0] - spectra[1]).mean()
    assert value("spectrum", seen(drawn, images)) == pytest.approx(expected, rel=1e-5)
    moved = np.roll(drawn, (2, -1), axis=(1, 2))
    assert value("spectrum", seen(drawn, moved)) == pytest.approx(0, abs=1e-6)


def softplus(x):
    return np.log1p(np.exp(x))


def test_the_generator_wants_high_logits():
    fake = [[1.0, -2.0], [4.0, 0.0]]
    assert value("gan", judged(fake, fake)) == pytest.approx(-0.75)
    logistic = value("gan", judged(fake, fake, adversarial="logistic"))
    assert logistic == pytest.approx(softplus(-np.array(fake)).mean(), rel=1e-6)


def test_of_each_image_the_generator_is_told_the_patches_that_touch_the_hole():
    fake = [[1.0, -2.0], [4.0, 0.0], [7.0, 8.0]]
    touches_hole = [[True, False], [True, True], [False, False]]
    assert value("gan", judged(fake, fake, touches_hole)) == pytest.approx(-(1 + 2 + 0) / 3)


def test_the_discriminator_wants_a_margin_of_one_either_side():
    real, fake = [[0.5], [2.0], [-1.0], [1.0]], [[-3.0], [0.0], [1.0], [-0.5]]
    loss, right = losses.discriminator_loss(judged(real, fake))
    expected = 0.5 * ((0.5 + 0 + 2 + 0) / 4 + (0 + 1 + 2 + 0.5) / 4)
    assert loss == pytest.approx(expected)
    assert right["discriminator/accuracy_real"] == 0.75
    assert right["discriminator/accuracy_fake"] == 0.5


def test_beyond_the_margin_the_discriminator_learns_nothing():
    hinge = losses.ADVERSARIAL["hinge"]
    assert jax.grad(hinge.real)(1.5) == jax.grad(hinge.fake)(-1.5) == 0


def test_patches_without_hole_are_real_to_the_discriminator():
    real, fake = np.array([[0.5, -1.0]]), np.array([[-3.0, 2.0]])
    found = judged(real, fake, [[True, False]], adversarial="logistic")
    loss, right = losses.discriminator_loss(found)
    expected = softplus(-real).mean() + (softplus(-3.0) + softplus(-2.0)) / 2
    assert loss == pytest.approx(expected, rel=1e-6)
    assert right["discriminator/accuracy_fake"] == 1.0


def test_feature_matching_counts_every_map_alike():
    real = (jnp.zeros((1, 2, 2, 1)), jnp.zeros((1, 1, 1, 4)))
    fake = (jnp.full((1, 2, 2, 1), -0.5), jnp.array([0.0, 1.0, 0.0, 2.0]).reshape(1, 1, 1, 4))
    found = judged([[0.0]], [[0.0]], maps=(real, fake))
    assert value("features", found) == pytest.approx((0.5 + 0.75) / 2)


def test_r1_is_half_the_squared_slope_of_an_images_logits():
    images = jnp.array([[1.0, 2.0], [3.0, 4.0]]).reshape(2, 2, 1, 1)

    def judge(images):  # three times the first pixel, the square of the second
        first, second = images[:, :1], images[:, 1:]
        return DiscriminatorOutput(jnp.concatenate([3 * first, second**2], axis=1), ())

    expected = 0.5 * ((9 + 16) + (9 + 64)) / 2
    assert losses.r1(judge, images) == pytest.approx(expected)
