"""The train step on a small model: what it changes, in which order, on how many devices."""

import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gsjax.models.semantic import make_tokens
from gsjax.training.batch import unpack
from gsjax.training.step import make_train_step
from tests.quick import jit

ROOT = Path(__file__).parents[2]


def test_a_batch_is_bytes_and_booleans(tiny_run):
    images, known = unpack(tiny_run.batch)
    assert images.dtype == known.dtype == jnp.float32
    np.testing.assert_allclose(images, np.asarray(tiny_run.batch["image"]) / 255, rtol=1e-6)
    assert set(np.unique(known)) == {0, 1}


@pytest.fixture(scope="module")
def before_the_start(tiny_run):
    """The discriminator and the metrics after a step in which it has no part yet."""

    @jit
    def step():
        state, metrics = tiny_run.step(
            tiny_run.state, {"dino": tiny_run.dino}, tiny_run.batch, False
        )
        return state.discriminator, state.discriminator_optimizer, metrics

    return step()


def test_the_loss_falls_on_one_batch(tiny_run):
    history = [metrics for _, metrics in tiny_run.steps(5)]
    assert history[-1]["loss/l1"] < history[0]["loss/l1"]
    assert history[-1]["loss/semantic"] < history[0]["loss/semantic"]
    assert history[-1]["loss/discriminator"] < history[0]["loss/discriminator"]
    assert all(np.isfinite(list(metrics.values())).all() for metrics in history)


def test_the_total_is_the_weighted_sum_of_the_terms(tiny_run, before_the_start):
    weights = tiny_run.config.loss
    for metrics, names in (
        (tiny_run.steps(5)[0][1], ("l1", "semantic", "gan")),
        (before_the_start[-1], ("l1", "semantic")),
    ):
        total = sum(weights[name] * metrics[f"loss/{name}"] for name in names)
        assert metrics["loss/total"] == pytest.approx(float(total), rel=1e-5)
        assert metrics["learning_rate"] == pytest.approx(1e-3)


def test_steps_are_counted_and_the_key_stays(tiny_run):
    states = [tiny_run.state, *(state for state, _ in tiny_run.steps(5))]
    assert [int(state.step) for state in states] == [0, 1, 2, 3, 4, 5]
    assert len({tuple(jax.random.key_data(state.key).tolist()) for state in states}) == 1


def test_the_discriminator_rests_until_it_takes_part(tiny_run, before_the_start):
    start, (playing, played) = tiny_run.state, tiny_run.steps(5)[0]
    *resting, rested = before_the_start
    before = (start.discriminator, start.discriminator_optimizer)
    jax.tree.map(np.testing.assert_array_equal, before, tuple(resting))
    assert rested["loss/discriminator"] == 0
    assert "loss/gan" not in rested
    changes = jax.tree.map(
        lambda one, other: float(jnp.abs(one - other).max()),
        start.discriminator,
        playing.discriminator,
    )
    assert max(jax.tree.leaves(changes)) > 1e-4
    assert played["loss/discriminator"] > 0


def test_the_adversarial_term_asks_the_discriminator_that_has_just_learned(tiny_run):
    networks, start = tiny_run.networks, tiny_run.state
    after, metrics = tiny_run.steps(5)[0]
    images, known = unpack(tiny_run.batch)
    judge = jit(networks.discriminator.apply)

    @jit
    def draw(variables):
        tokens = make_tokens(tiny_run.config.dino, networks.dino)
        masked, clean = tokens(tiny_run.dino, images * known, known, images)
        out = networks.generator.apply(variables, images * known, masked, known)
        lengths = jnp.linalg.norm(out.token, axis=-1) * jnp.linalg.norm(clean, axis=-1)
        return jnp.clip(out.image, 0, 1), -((out.token * clean).sum(-1) / lengths).mean()

    fake, semantic = draw(start.generator)
    assert metrics["loss/l1"] == pytest.approx(np.abs(fake - images).mean(), rel=1e-5)
    assert metrics["loss/semantic"] == pytest.approx(float(semantic), rel=1e-4)
    before = judge(start.discriminator, fake)
    real = judge(start.discriminator, images)
    hinge = 0.5 * (np.maximum(0, 1 - real).mean() + np.maximum(0, 1 + before).mean())
    assert metrics["loss/discriminator"] == pytest.approx(float(hinge), rel=1e-5)
    learned = -float(judge(after.discriminator, fake).mean())
    assert metrics["loss/gan"] == pytest.approx(learned, rel=1e-4)
    assert abs(learned + float(before.mean())) > 1e-3


def test_a_gradient_reaches_every_parameter_of_the_generator(tiny_run):
    state, _ = tiny_run.steps(5)[0]
    moments = optax.tree.get(state.generator_optimizer, "mu")
    for path, moment in jax.tree_util.tree_leaves_with_path(moments):
        assert np.abs(moment).max() > 0, jax.tree_util.keystr(path)


def test_the_adversarial_term_reaches_the_generator(tiny_run, before_the_start):
    _, judged = tiny_run.steps(5)[0]
    alone = before_the_start[-1]
    assert judged["loss/l1"] == pytest.approx(float(alone["loss/l1"]), rel=1e-5)
    assert abs(judged["gradient_norm"] / alone["gradient_norm"] - 1) > 1e-3


@pytest.mark.parametrize(
    ("data", "fsdp"), [(4, 1), pytest.param(2, 2, marks=pytest.mark.slow)], ids=str
)
def test_four_devices_compute_what_one_does(tiny_run, data, fsdp):
    program = f"""if True:
        import json
        import jax
        jax.config.update("jax_num_cpu_devices", 4)
        from tests.tiny import Run
        run = Run(data={data}, fsdp={fsdp})
        assert len(run.batch["image"].sharding.device_set) == 4
        large = [x for x in jax.tree.leaves(run.state.generator) if x.size >= 2**12]
        assert all(x.sharding.is_fully_replicated == ({fsdp} == 1) for x in large)
        print(json.dumps([metrics for _, metrics in run.steps(5)]))
    """
    env = os.environ | {"JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", program]
    run = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    for ours, (_, one_device) in zip(json.loads(run.stdout), tiny_run.steps(5), strict=True):
        assert ours.keys() == one_device.keys()
        for name, value in one_device.items():
            tolerance = 1e-4 if name.startswith("loss/") else 1e-2
            # The adversarial term is a mean of logits that cancel.
            assert ours[name] == pytest.approx(value, rel=tolerance, abs=1e-5), name


def test_a_step_whose_loss_is_no_number_changes_nothing(tiny_run):
    broken = jax.tree.map(lambda array: array * np.nan, tiny_run.state.generator)
    state = tiny_run.state.replace(generator=broken)
    frozen = {"dino": tiny_run.dino}
    after, metrics = tiny_run.compiled(state, frozen, tiny_run.batch, True)
    assert np.isnan(metrics["loss/total"])
    assert (int(after.skipped), int(after.step)) == (1, 1)
    names = ("generator_optimizer", "discriminator", "discriminator_optimizer", "average")
    for name in names:
        jax.tree.map(
            np.testing.assert_array_equal, getattr(after, name), getattr(tiny_run.state, name)
        )


def test_the_average_follows_the_generator(tiny_run):
    states = [tiny_run.state] + [state for state, _ in tiny_run.steps(5)]
    average = states[0].generator
    for step, state in enumerate(states[1:]):
        decay = min(tiny_run.config.train.ema, (1 + step) / (10 + step))
        average = jax.tree.map(
            lambda old, new, decay=decay: decay * old + (1 - decay) * new, average, state.generator
        )
    for ours, expected in zip(
        jax.tree.leaves(states[-1].average), jax.tree.leaves(average), strict=True
    ):
        np.testing.assert_allclose(ours, expected, atol=1e-6)


# All that the published recipe does without.
TEXTURE = {
    "l1": 0.0,
    "hole_l1": 2.0,
    "known_l1": 1.0,
    "gan": 0.5,
    "features": 10.0,
    "spectrum": 10.0,
    "dino": 1.0,
    "composite": True,
    "adversarial": "logistic",
    "patch_labels": True,
    "r1": 1e-3,
    "r1_every": 3,
}


def first_step(tiny_run, parts, loss, **optimizer):
    config = copy.deepcopy(tiny_run.config)
    config.train.accumulate = parts
    config.loss.update(loss)
    config.optimizer.update(optimizer)
    step = jit(make_train_step(config, tiny_run.networks), static_argnums=3)
    return step(tiny_run.state, {"dino": tiny_run.dino}, tiny_run.batch, True)


@pytest.mark.slow
@pytest.mark.parametrize("loss", [{}, TEXTURE], ids=["published", "texture"])
def test_a_batch_in_parts_teaches_what_the_whole_does(tiny_run, loss):
    state, metrics = first_step(tiny_run, 2, loss)
    whole, expected = first_step(tiny_run, 1, loss) if loss else tiny_run.steps(5)[0]
    assert metrics.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-4, atol=1e-5, err_msg=name)
    for network in ("generator", "discriminator"):
        ours, theirs = (
            optax.tree.get(getattr(s, f"{network}_optimizer"), "mu") for s in (state, whole)
        )
        for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
            # Of a gradient of norm 1, whose moment is a tenth.
            np.testing.assert_allclose(one, other, atol=1e-6)


def test_the_hole_counts_alone_where_the_config_says(tiny_run):
    config = tiny_run.config.copy_and_resolve_references()
    config.loss.hole = 10.0
    step = make_train_step(config, tiny_run.networks)
    arguments = (tiny_run.state, {"dino": tiny_run.dino}, tiny_run.batch)
    _, metrics = jax.eval_shape(lambda *inputs: step(*inputs, False), *arguments)
    assert "loss/hole" in metrics
    assert "loss/hole" not in tiny_run.steps(1)[0][1]


@pytest.mark.slow
def test_r1_is_of_some_of_the_images_and_the_discriminator_has_a_rate_of_its_own(tiny_run):
    start, networks = tiny_run.state, tiny_run.networks
    state, metrics = first_step(tiny_run, 1, TEXTURE, discriminator_rate=2.0)
    without, _ = first_step(tiny_run, 1, TEXTURE | {"r1": 0.0}, discriminator_rate=2.0)
    slower, _ = first_step(tiny_run, 1, TEXTURE)

    @jit
    def slopes(images):
        return jax.grad(lambda x: networks.discriminator.apply(start.discriminator, x).sum())(
            images
        )

    found = slopes(unpack(tiny_run.batch)[0])
    expected = 0.5 * (found[jnp.array([0, 3])] ** 2).sum((1, 2, 3)).mean()
    assert metrics["loss/r1"] == pytest.approx(float(expected), rel=1e-4)

    def moved(state):
        moved = jax.tree.map(
            lambda one, other: one - other, state.discriminator, start.discriminator
        )
        return np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(moved)])

    assert np.abs(moved(state) - moved(without)).max() > 1e-4
    np.testing.assert_allclose(moved(state), 2 * moved(slower), atol=1e-6)
