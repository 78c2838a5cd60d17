"""The config.json of a run."""

import json

import pytest
from ml_collections import ConfigDict

from gsjax import config as config_lib
from gsjax.config import saved
from gsjax.errors import UserError


def test_a_config_survives_being_written_and_read(tmp_path):
    config = config_lib.default()
    config.model.extra = ConfigDict({"none": None, "mixed": ((1, "x"), 2.5)})
    config.masks.curriculum = ((0, 0.2, 0.2), (1000, 0.2, 0.4))
    saved.write_config(tmp_path, config)
    assert json.loads((tmp_path / "config.json").read_text())["masks"]["curriculum"][1][0] == 1000
    assert saved.read_config(tmp_path) == config


@pytest.mark.parametrize("content", [None, '{"seed": ', "[1]"])
def test_a_missing_or_broken_config_is_named(tmp_path, content):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(UserError, match=r"config\.json"):
        saved.read_config(tmp_path)


def test_a_folder_that_cannot_be_written_to_is_the_users_error(tmp_path):
    (tmp_path / "file").write_text("")
    for workdir in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(UserError, match="--workdir"):
            saved.write_config(workdir, config_lib.default())
