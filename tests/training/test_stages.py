"""What a config with stages means; runs of them are in test_stage_runs."""

import pytest

from gsjax import config as configs
from gsjax.errors import UserError
from gsjax.training import stages


def staged():
    config = configs.default()
    config.data.image_size = (256, 256)
    config.train.batch_size = 4
    small = {"data.image_size": (128, 128), "train.batch_size": 16}
    configs.add_stage(config, "smooth", 30, small | {"loss.gan": 0, "optimizer.schedule": "cosine"})
    configs.add_stage(config, "texture", 20, small | {"loss.gan": 0.5})
    configs.add_stage(config, "large", 10, {"optimizer.learning_rate": 1e-4})
    return config


def test_a_stage_has_its_own_fields_and_the_runs_others():
    config = staged()
    smooth, texture, large = stages.plan(config)
    assert [stage.name for stage in (smooth, texture, large)] == ["smooth", "texture", "large"]
    assert smooth.config.data.image_size == (128, 128)
    assert smooth.config.optimizer.schedule == "cosine"
    assert texture.config.optimizer.schedule == "steps"
    assert large.config.data.image_size == config.data.image_size == (256, 256)
    assert large.config.loss.gan == config.loss.gan
    assert texture.config.loss.gan == 0.5


def test_a_stages_steps_are_those_that_its_schedules_see():
    assert [stage.config.train.steps for stage in stages.plan(staged())] == [30, 20, 10]


def test_steps_and_examples_continue_from_stage_to_stage():
    plan = stages.plan(staged())
    assert [(stage.first, stage.last) for stage in plan] == [(0, 30), (30, 50), (50, 60)]
    assert [stage.examples for stage in plan] == [0, 30 * 16, 50 * 16]
    names = [stages.stage_of(plan, step).name for step in (1, 30, 31, 50, 51, 60, 61)]
    assert names == ["smooth", "smooth", "texture", "texture", "large", "large", "large"]


def test_a_config_without_stages_is_one_stage_and_the_same_object():
    config = configs.default()
    (only,) = stages.plan(config)
    assert only.config is config
    assert (only.name, only.first, only.last, only.examples) == ("", 0, 100_000, 0)


def test_a_stages_config_has_no_stages_itself():
    texture = stages.plan(staged())[1].config
    (only,) = stages.plan(texture)
    assert only.last == 20


def test_numbers_keep_the_type_of_the_field():
    config = staged()
    assert isinstance(config.stages.smooth.loss.gan, float)
    with pytest.raises(TypeError):
        configs.add_stage(config, "more", 5, {"train.batch_size": 2.5})
    with pytest.raises(KeyError, match="learning_rate"):
        configs.add_stage(config, "more", 5, {"optimizer.learning_rat": 1.0})
    assert "more" not in config.stages


def set_to(name, value):
    def change(config):
        config.update_from_flattened_dict({name: value})

    return change


def stage_setting(field, value):
    def change(config):
        with config.unlocked():
            group, name = field.split(".")
            config.stages.texture[group] = {name: value}

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_to("train.steps", 70), "train.steps: 70 is not the sum of the stages' steps, 60"),
        (set_to("train.stages", ("smooth", "big")), "train.stages: 'big' is not described in stag"),
        (set_to("train.stages", ("large", "large")), "names a stage twice"),
        (set_to("stages.large.steps", 0), "stages.large.steps: 0 is not a whole number of at leas"),
        (lambda config: config.stages.large.__delitem__("steps"), "stages.large.steps: None is no"),
        (stage_setting("model.width", 32), "stages.texture.model.width: a stage cannot set model"),
        (stage_setting("train.stages", ("smooth",)), "stages.texture.train.stages: a stage cannot"),
        (
            stage_setting("loss.gam", 0.5),
            "there is no field loss.gam; did you mean loss.gan?",
        ),
        (stage_setting("data.crop", {"x": 1}), "data.crop.x=1: there is no field data.crop.x"),
        (stage_setting("loss.gan", "x"), "stages.texture.loss.gan: 'x' is not a number of at leas"),
        (stage_setting("train.ema", 0.0), "stages.texture.train.ema: 0.0 is not possible where"),
    ],
)
def test_a_mistake_in_a_stage_is_named(change, message):
    config = staged()
    change(config)
    with pytest.raises(UserError) as raised:
        stages.plan(config)
    assert message in str(raised.value)


@pytest.mark.parametrize("done", [0, 20, 30])
def test_stages_that_have_not_begun_may_change(done):
    now = staged()
    now.stages.texture.steps = 5
    now.train.stages = ("smooth", "large", "texture")
    stages.check_begun_stages(staged(), now, done)


def test_the_stage_that_runs_may_become_longer():
    now = staged()
    now.stages.texture.steps = 100
    stages.check_begun_stages(staged(), now, 40)


@pytest.mark.parametrize(
    "change", [set_to("stages.smooth.steps", 31), set_to("train.stages", ("texture", "large"))]
)
def test_stages_that_have_begun_may_not_move(change):
    now = staged()
    change(now)
    with pytest.raises(UserError, match="begun smooth after step 0, texture after step 30; now"):
        stages.check_begun_stages(staged(), now, 31)


def test_a_run_without_stages_does_not_resume_with_some():
    before = configs.default()
    stages.check_begun_stages(before, before, 40)
    with pytest.raises(UserError, match="it has begun no stages; now that would have been smooth"):
        stages.check_begun_stages(before, staged(), 40)
    stages.check_begun_stages(before, staged(), 0)
