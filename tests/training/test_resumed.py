"""What a run may change when it resumes."""

import pytest

from gsjax import config as config_lib
from gsjax.config import saved
from gsjax.errors import UserError
from gsjax.training.checks import check_resumed
from tests.tiny import make_config


@pytest.fixture
def workdir(tmp_path):
    saved.write_config(tmp_path, make_config())
    return tmp_path


def changed(field, value):
    config = make_config()
    group, name = field.split(".")
    config[group][name] = value
    return config


def test_an_unchanged_config_is_resumed_without_a_word(workdir, caplog):
    with caplog.at_level("INFO", "absl"):
        check_resumed(workdir, make_config(), 40)
    assert not caplog.records


@pytest.mark.parametrize(
    ("field", "value"),
    [("model.overlap", 2), ("model.residual_colors", False), ("dino.normalize", False)],
)
def test_networks_may_not_change_between_runs(workdir, field, value):
    with pytest.raises(UserError, match=rf"{field}: it was .* in this run .* is {value} now"):
        check_resumed(workdir, changed(field, value), 40)


def test_data_may_change_with_a_warning(workdir, caplog):
    check_resumed(workdir, changed("masks.kinds", ("center",)), 40)
    assert "the remaining steps see other data" in caplog.text


@pytest.mark.parametrize(
    ("field", "value"), [("train.steps", 7), ("model.backend", "xla"), ("log.every", 1)]
)
def test_what_changes_neither_is_only_noted(workdir, caplog, field, value):
    with caplog.at_level("INFO", "absl"):
        check_resumed(workdir, changed(field, value), 40)
    (noted,) = caplog.records
    assert noted.levelname == "INFO"
    assert f"{field} was" in noted.getMessage()


def in_stages(batch=2, **first):
    config = make_config()
    fields = {name.replace("__", "."): value for name, value in first.items()}
    config_lib.add_stage(config, "first", 30, fields)
    config_lib.add_stage(config, "second", 30, {"train.batch_size": batch})
    return config


@pytest.mark.parametrize(
    ("now", "told"),
    [
        (
            in_stages(batch=3),
            "WARNING stages.second.train.batch_size was 2 in this run so far and is 3 now: the",
        ),
        (
            in_stages(masks__kinds=("center",)),
            "WARNING stages.first.masks.kinds was unset in this run so far and is ('center',) now",
        ),
        (in_stages(loss__gan=0.5), "INFO stages.first.loss.gan was unset"),
    ],
)
def test_what_changes_in_a_stage_is_told_like_what_changes_in_a_run(tmp_path, caplog, now, told):
    saved.write_config(tmp_path, in_stages())
    with caplog.at_level("INFO", "absl"):
        check_resumed(tmp_path, now, 40)
    (noted,) = caplog.records
    assert f"{noted.levelname} {noted.getMessage()}".startswith(told)


def test_stages_that_were_run_may_not_move(tmp_path):
    saved.write_config(tmp_path, in_stages())
    now = in_stages()
    now.stages.first.steps = 20
    check_resumed(tmp_path, now, 0)
    with pytest.raises(UserError, match="this run resumes after step 40, until which it has begun"):
        check_resumed(tmp_path, now, 40)


def test_a_folder_without_config_is_no_obstacle(tmp_path):
    check_resumed(tmp_path, make_config(), 40)
    assert not list(tmp_path.iterdir())
