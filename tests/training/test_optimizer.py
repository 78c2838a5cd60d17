"""The schedule in steps, clipping, weight decay."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gsjax import config as configs
from gsjax.training.optimizer import adamw, learning_rate


def config_with(steps=100, **options):
    config = configs.default()
    config.train.steps = steps
    config.optimizer.update({"learning_rate": 1e-3} | options)
    return config


def rates(config, *steps):
    rate = learning_rate(config)
    return [float(rate(step)) for step in steps]


def test_the_rate_drops_at_its_steps_and_stays():
    config = config_with(decay_at=(35, 60), decay_factor=0.2)
    assert rates(config, 0, 34, 35, 59, 60, 99) == pytest.approx(
        [1e-3, 1e-3, 2e-4, 2e-4, 4e-5, 4e-5]
    )


def test_a_warmup_rises_in_a_line_and_does_not_move_the_drops():
    config = config_with(warmup_steps=10, decay_at=(35,), decay_factor=0.1)
    assert rates(config, 0, 1, 5, 10, 34, 35) == pytest.approx([0, 1e-4, 5e-4, 1e-3, 1e-3, 1e-4])


@pytest.mark.parametrize("warmup", [0, 20])
def test_a_cosine_ends_at_zero_with_the_run(warmup):
    config = config_with(schedule="cosine", warmup_steps=warmup)
    middle = (100 + warmup) // 2
    assert rates(config, warmup, middle, 100) == pytest.approx([1e-3, 5e-4, 0], abs=1e-9)
    assert np.all(np.diff(rates(config, *range(warmup, 101))) < 0)


@pytest.mark.parametrize("warmup", [0, 20])
def test_a_linear_schedule_holds_the_rate_and_ends_at_zero_with_the_run(warmup):
    config = config_with(schedule="linear", hold=0.6, warmup_steps=warmup)
    assert rates(config, warmup, 60, 80, 100) == pytest.approx([1e-3, 1e-3, 5e-4, 0], abs=1e-9)


def test_without_drops_the_rate_is_constant():
    assert rates(config_with(), 0, 50, 10_000) == pytest.approx([1e-3] * 3)


@pytest.mark.parametrize(("size", "clipped"), [(10.0, 0.5), (0.3, 0.3)])
def test_gradients_are_clipped_by_the_norm_of_all_together(size, clipped):
    optimizer = adamw(config_with(clip_norm=0.5).optimizer)
    params = {"a": jnp.zeros(3), "b": jnp.zeros((2, 2))}
    gradients = {"a": size * jnp.array([0.6, 0, 0]), "b": size * jnp.array([[0, 0.8], [0, 0]])}
    _, state = optimizer.update(gradients, optimizer.init(params), params)
    # Adam's first moment after a step is a tenth of what it was given.
    moment = np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(optax.tree.get(state, "mu"))])
    assert np.linalg.norm(moment) == pytest.approx(0.1 * clipped, rel=1e-5)


def test_weights_decay_in_proportion_and_apart_from_the_gradient():
    optimizer = adamw(config_with(weight_decay=0.01).optimizer)
    params = {"a": jnp.array([2.0, -4.0])}
    updates, _ = optimizer.update({"a": jnp.zeros(2)}, optimizer.init(params), params)
    np.testing.assert_allclose(updates["a"], [0.02, -0.04], rtol=1e-6)
    updates, _ = optimizer.update({"a": jnp.array([0.1, 0.3])}, optimizer.init(params), params)
    np.testing.assert_allclose(updates["a"], [1.02, 0.96], rtol=1e-5)


def test_betas_are_the_configs():
    optimizer = adamw(config_with(betas=(0.5, 0.75), weight_decay=0.0).optimizer)
    params = {"a": jnp.zeros(1)}
    state = optimizer.init(params)
    for gradient in (0.4, 0.2):
        updates, state = optimizer.update({"a": jnp.array([gradient])}, state, params)
    mean = (0.5 * 0.5 * 0.4 + 0.5 * 0.2) / (1 - 0.5**2)
    square = (0.75 * 0.25 * 0.4**2 + 0.25 * 0.2**2) / (1 - 0.75**2)
    np.testing.assert_allclose(updates["a"], mean / np.sqrt(square), rtol=1e-5)
