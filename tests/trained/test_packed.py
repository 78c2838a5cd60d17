"""Packed inpainters: what they keep of a run, and what is refused."""

import json
import shutil
import sys

import jax
import numpy as np
import pytest

from gsjax.errors import UserError
from gsjax.models.build import build_networks
from gsjax.trained import converted, packed
from gsjax.trained.initial import check_initial, load_initial
from gsjax.trained.load import load_trained, read_generator
from gsjax.trained.place import check_path
from tests.runs import run
from tests.tiny import make_config
from tests.weights import random_variables


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A converted folder with a tiny inpainter without DINO, and its variables."""
    config = make_config()
    config.model.semantic = False
    config.data.train = "folder:/home/me/pictures"
    config.dino.weights = "pictures/dino.safetensors"
    generator = build_networks(config).generator
    image = np.zeros((1, 24, 32, 3), np.float32)
    variables = random_variables(generator.init, image, None, image[..., :1])
    path = tmp_path_factory.mktemp("run") / "run"
    converted.write(path, {"generator": variables}, config)
    return path, variables


@pytest.fixture(scope="module")
def packed_run(trained, tmp_path_factory):
    """What `python -m gsjax.pack` makes of it, and the command's output."""
    folder = tmp_path_factory.mktemp("packed") / "mine"
    command = [sys.executable, "-m", "gsjax.pack", f"--checkpoint={trained[0]}"]
    result = run([*command, f"--output={folder}"], tmp_path_factory.mktemp("cache"))
    assert result.returncode == 0, result.stderr
    again = run([*command, f"--output={folder}"], tmp_path_factory.mktemp("cache"))
    return folder, result.stdout, again


def test_two_files_hold_all_that_filling_needs(trained, packed_run):
    folder, output, _ = packed_run
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", packed.FILE]
    assert f"fill with --checkpoint={folder}" in output
    parameters = sum(array.size for array in jax.tree.leaves(trained[1]))
    size = (folder / packed.FILE).stat().st_size
    assert 2 * parameters < size < 2 * parameters + 20_000
    assert load_trained(folder).config.data.image_size == (24, 32)


def test_parameters_are_those_of_the_run_in_half_precision(trained, packed_run):
    config, generator = read_generator(packed_run[0])
    assert config.model.to_dict() == make_config().model.to_dict() | {"semantic": False}
    jax.tree.map(
        lambda ours, run: np.testing.assert_array_equal(ours, run.astype(np.float16)),
        generator,
        trained[1],
    )
    assert {array.dtype for array in jax.tree.leaves(generator)} == {np.dtype(np.float32)}


def test_an_inpainter_that_has_not_known_all_fields_is_read(packed_run, tmp_path):
    folder = tmp_path / "older"
    shutil.copytree(packed_run[0], folder)
    config = json.loads((folder / "config.json").read_text())
    kept = {"model": config["model"], "data": {"image_size": [24, 32]}}
    (folder / "config.json").write_text(json.dumps(kept))
    assert load_trained(folder).module == load_trained(packed_run[0]).module


def test_where_the_data_was_is_not_given_away(packed_run):
    assert "pictures" not in (packed_run[0] / "config.json").read_text()


def test_a_run_can_start_from_it(packed_run):
    config = make_config()
    config.model.semantic = False
    config.initial = str(packed_run[0])
    check_initial(config)
    initial = load_initial(config, build_networks(config))
    _, generator = read_generator(packed_run[0])
    jax.tree.map(np.testing.assert_array_equal, initial, {"generator": generator})


def test_a_dino_that_the_receiver_does_not_have_is_refused(tmp_path):
    config = make_config()
    config.dino.weights = "/home/me/dino.safetensors"
    config.lpips.weights = "/home/me/lpips"
    with pytest.raises(UserError, match=r"^--checkpoint: it needs the DINO in /home/me/dino"):
        packed.write_packed(tmp_path / "x", config, {})
    config.dino.weights = "dinov2_vits14"
    packed.write_packed(tmp_path / "x", config, {})
    assert "/home/me" not in (tmp_path / "x" / "config.json").read_text()


def test_nothing_is_overwritten(packed_run):
    folder, _, again = packed_run
    assert again.returncode == 2
    assert f"{folder} exists; nothing is overwritten" in again.stderr
    assert "Traceback" not in again.stderr


def test_only_what_is_pushed_can_be_private(trained, tmp_path):
    command = [sys.executable, "-m", "gsjax.pack", f"--checkpoint={trained[0]}", "--private"]
    result = run([*command, f"--output={tmp_path / 'mine'}"], tmp_path)
    assert result.returncode == 2
    assert "--private: only a repository can be private" in result.stderr
    assert not (tmp_path / "mine").exists()


def test_what_half_precision_does_not_hold_is_not_packed(tmp_path):
    for value in (1e5, np.inf, np.nan):
        with pytest.raises(UserError, match=r"^--checkpoint: params/a has values"):
            packed.write_packed(tmp_path / "x", make_config(), {"params": {"a": np.full(2, value)}})
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("damage", ["cut", "empty", "text"])
def test_a_damaged_file_is_named(packed_run, tmp_path, damage):
    content = (packed_run[0] / packed.FILE).read_bytes()
    content = {"cut": content[: len(content) // 2], "empty": b"", "text": b"no weights"}[damage]
    (tmp_path / packed.FILE).write_bytes(content)
    (tmp_path / "config.json").write_text((packed_run[0] / "config.json").read_text())
    with pytest.raises(
        UserError, match=rf"^checkpoint: {tmp_path}/{packed.FILE}: it cannot be read"
    ):
        load_trained(tmp_path)


def test_parameters_of_another_architecture_are_refused(packed_run, tmp_path):
    (tmp_path / packed.FILE).write_bytes((packed_run[0] / packed.FILE).read_bytes())
    config = json.loads((packed_run[0] / "config.json").read_text())
    config["model"]["blocks"] += 1
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"another architecture: params/encoder/block_1"):
        load_trained(tmp_path)


@pytest.mark.parametrize(
    ("name", "meant"), [("phtos", "photos"), ("photos_smooth", "photos-smooth")]
)
def test_a_mistyped_name_of_weights_is_answered_with_the_right_one(name, meant):
    config = make_config()
    config.initial = name
    for refused in (lambda: check_path(name), lambda: check_initial(config)):
        with pytest.raises(UserError, match=rf"did you mean {meant}\?$"):
            refused()
    with pytest.raises(UserError, match=r"photos, photos-smooth$"):
        check_path("runs/mine")
