"""Parts of the run; the whole of it is in test_main."""

import numpy as np
import pytest

from gsjax import record
from gsjax.errors import UserError
from tests.tiny import make_config


@pytest.fixture
def workdir(tmp_path):
    record.write_config(tmp_path, make_config())
    return tmp_path


def changed(field, value):
    config = make_config()
    group, name = field.split(".")
    config[group][name] = value
    return config


def test_an_unchanged_config_is_resumed_without_a_word(workdir, caplog):
    with caplog.at_level("INFO", "absl"):
        record.check_changes(workdir, make_config())
    assert not caplog.records


@pytest.mark.parametrize(
    ("field", "value"),
    [("model.overlap", 2), ("model.residual_colors", False), ("dino.normalize", False)],
)
def test_networks_may_not_change_between_runs(workdir, field, value):
    with pytest.raises(UserError, match=rf"{field} was .* in this run so far and is {value} now"):
        record.check_changes(workdir, changed(field, value))


def test_data_may_change_with_a_warning(workdir, caplog):
    record.check_changes(workdir, changed("masks.kinds", ("center",)))
    assert "the steps to come see other data" in caplog.text


@pytest.mark.parametrize(
    ("field", "value"), [("train.steps", 7), ("model.backend", "xla"), ("log.every", 1)]
)
def test_what_changes_neither_is_only_noted(workdir, caplog, field, value):
    with caplog.at_level("INFO", "absl"):
        record.check_changes(workdir, changed(field, value))
    (noted,) = caplog.records
    assert noted.levelname == "INFO"
    assert f"{field} was" in noted.getMessage()


def test_a_folder_without_config_is_no_obstacle(tmp_path):
    record.check_changes(tmp_path, make_config())
    np.testing.assert_equal(list(tmp_path.iterdir()), [])
