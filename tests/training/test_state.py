"""The beginning of a run: drawn, or taken from a checkpoint."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsjax import sharding
from gsjax.errors import UserError
from gsjax.models.build import build_networks
from gsjax.trained import checkpoints, converted
from gsjax.trained.initial import load_initial
from gsjax.training.optimizer import adamw
from gsjax.training.state import begin_stage, init_state
from tests.tiny import make_config
from tests.weights import random_variables


def assert_same(one, other):
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(one), jax.device_get(other))


@pytest.fixture(scope="module")
def variables(tiny_run):
    return random_variables(lambda key: tiny_run.state.generator)


def config_from(path):
    config = make_config()
    config.initial = str(path)
    return config


def test_a_converted_generator_is_trained_on(tiny_run, variables, tmp_path):
    converted.write(tmp_path / "converted", {"generator": variables})
    config = config_from(tmp_path / "converted")
    initial = load_initial(config, tiny_run.networks)
    state = init_state(config, tiny_run.networks, tiny_run.mesh, initial)
    assert_same(state.generator, variables)
    assert sharding.of(state.generator) == sharding.of(tiny_run.state.generator)
    assert_same(state.discriminator, tiny_run.state.discriminator)


def test_a_runs_average_and_discriminator_are_taken(tiny_run, variables, tmp_path):
    other = random_variables(lambda key: tiny_run.state.discriminator)
    state = tiny_run.state.replace(average=variables, discriminator=other)
    with checkpoints.open_manager(tmp_path / "run" / "checkpoints", keep=1) as manager:
        checkpoints.save(manager, 7, state)
    initial = load_initial(config_from(tmp_path / "run"), tiny_run.networks)
    assert_same(initial, {"generator": variables, "discriminator": other})


def test_what_shapes_do_not_show_is_warned_of(tiny_run, variables, tmp_path, caplog):
    before = make_config()
    before.model.overlap, before.dino.normalize = 2, False
    del before.model["crossfade"]  # as of a run that was before there was such a field
    converted.write(tmp_path / "converted", {"generator": variables}, before)
    with caplog.at_level("WARNING", "absl"):
        load_initial(config_from(tmp_path / "converted"), tiny_run.networks)
    assert "was trained with model.overlap=2; here it is 1" in caplog.text
    assert "was trained with dino.normalize=False; here it is True" in caplog.text
    assert len(caplog.records) == 2


def test_without_a_name_nothing_is_taken(tiny_run):
    assert load_initial(make_config(), tiny_run.networks) == {}


def test_a_path_without_checkpoint_is_the_users_error(tiny_run, tmp_path):
    with pytest.raises(UserError, match=r"^initial: .*nowhere: it does not exist"):
        load_initial(config_from(tmp_path / "nowhere"), tiny_run.networks)


def test_a_converted_dino_is_no_beginning(tiny_run, tmp_path):
    converted.write(tmp_path / "dino", {"dino": tiny_run.dino})
    with pytest.raises(UserError, match=r"^initial: .* holds dino, but no generator"):
        load_initial(config_from(tmp_path / "dino"), tiny_run.networks)


def test_another_architecture_names_the_first_difference(tiny_run, variables, tmp_path):
    converted.write(tmp_path / "converted", {"generator": variables})
    config = config_from(tmp_path / "converted")
    config.model.width = 32
    networks = build_networks(config, tiny_run.networks.dino)
    with pytest.raises(UserError, match=r"^initial: .* generator/params/\S+ is \d+\S* there and"):
        load_initial(config, networks)


def test_the_discriminator_may_have_a_precision_of_its_own():
    config = make_config()
    config.model.semantic = False
    config.train.precision = "bfloat16"
    assert build_networks(config).discriminator.dtype == "bfloat16"
    config.discriminator.precision = "float32"
    networks = build_networks(config)
    assert (networks.discriminator.dtype, networks.generator.dtype) == ("float32", "bfloat16")


def test_a_stage_begins_with_the_average_and_fresh_optimizers(tiny_run):
    before = jax.tree.map(jnp.copy, tiny_run.state)
    before = before.replace(
        step=before.step + 7,
        average=jax.tree.map(lambda array: array + 1, before.generator),
        discriminator_optimizer=jax.tree.map(jnp.ones_like, before.discriminator_optimizer),
        generator_optimizer=jax.tree.map(jnp.ones_like, before.generator_optimizer),
        skipped=before.skipped + 2,
    )
    was = jax.device_get(before.replace(key=jax.random.key_data(before.key)))
    state = begin_stage(tiny_run.config, before)
    assert_same(state.generator, was.average)
    assert_same(state.average, was.average)
    assert_same(state.generator_optimizer, adamw(tiny_run.config.optimizer).init(was.generator))
    assert_same(
        state.discriminator_optimizer, adamw(tiny_run.config.optimizer).init(was.discriminator)
    )
    assert_same(state.discriminator, was.discriminator)
    assert (int(state.step), int(state.skipped)) == (7, 2)
    assert_same(jax.random.key_data(state.key), was.key)
    assert sharding.of(state) == sharding.of(tiny_run.state)
