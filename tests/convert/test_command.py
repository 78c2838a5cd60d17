"""python -m gsjax.convert, in processes of its own: what it writes, says and refuses."""

import os
import pickle
import re
import subprocess
import sys
import threading
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from gsjax import config as configs
from gsjax import convert
from gsjax.config import saved
from gsjax.convert import command
from gsjax.errors import UserError
from gsjax.models.inpainter import GaussianInpainter
from gsjax.trained import converted, restore
from gsjax.trained import dino as dino_weights
from tests import published

ROOT = Path(__file__).parents[2]


def run(*arguments):
    arguments = [sys.executable, "-m", "gsjax.convert", *map(str, arguments)]
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    return subprocess.run(arguments, cwd=ROOT, env=environment, capture_output=True, text=True)


def assert_same(one, other):
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(one), jax.device_get(other))


@pytest.fixture(scope="module")
def inpainter():
    return published.load("inpainter").state_dict


@pytest.fixture(scope="module")
def dino():
    return published.load("dinov2_registers").state_dict


@pytest.fixture(scope="module")
def written(inpainter, dino, tmp_path_factory):
    """What the command makes of a checkpoint of the published trainer, and what it said."""
    torch = pytest.importorskip("torch", reason="writes the file")
    path = tmp_path_factory.mktemp("published")
    inside = {f"dino_model.{key}": array for key, array in dino.items()}
    tensors = {f"module.{k}": torch.from_numpy(array) for k, array in (inpainter | inside).items()}
    torch.save({"model": tensors, "epoch": 7}, path / "last.pth")
    done = run("reference", f"--input={path / 'last.pth'}", f"--output={path / 'converted'}")
    assert done.returncode == 0, done.stderr
    return path / "converted", done.stdout


def test_a_published_checkpoint_becomes_a_folder_with_both_networks(written, inpainter, dino):
    path, _ = written
    expected, variables = convert.reference(inpainter)
    config = saved.read_config(path)
    assert GaussianInpainter(**config.model) == expected
    assert_same(restore.restore_params(path, "generator"), variables)
    assert_same(dino_weights.read_converted(path)[1], convert.dino(dino)[1])


def test_the_command_says_what_it_recognized(written):
    path, said = written
    assert "16 Gaussians of 12 features" in said
    assert "semantic branch of 768 channels" in said
    assert re.search(
        r"with DINOv2 .* positions learned at \d+×\d+ pixels, 3 heads, 4 registers", said
    )
    assert f"--config.initial={path} \\\n    --config.dino.weights={path}" in said
    assert "--config.model.gaussians=16" in said


def test_a_converted_config_has_the_published_behavior(written):
    assert saved.read_config(written[0]).dino.normalize is False


def test_a_converted_dino_keeps_what_no_config_names(dino, tmp_path):
    module, variables = convert.dino(dino, antialias=False, offset=0.25, heads=2)
    converted.write(tmp_path / "dino", {"dino": variables}, dino=module)
    again, restored = dino_weights.read_converted(tmp_path / "dino")
    assert again == module
    assert_same(restored, variables)


def test_a_dino_that_no_config_describes_is_trained_with(dino, tmp_path):
    module, variables = convert.dino(dino)
    converted.write(tmp_path / "dino", {"dino": variables}, dino=module)
    config = configs.default()
    config.dino.weights = str(tmp_path / "dino")
    dino_weights.check_dino(config)
    assert dino_weights.load_dino(config)[0] == module


def test_a_dino_is_converted_from_a_file_without_pytorch(dino, tmp_path):
    save_file(dino, tmp_path / "dino.safetensors")
    said = command.convert_dino(tmp_path / "dino.safetensors", tmp_path / "out")
    assert f"--config.dino.weights={tmp_path / 'out'}" in said
    assert_same(dino_weights.read_converted(tmp_path / "out")[1], convert.dino(dino)[1])


def test_a_dino_that_was_cut_says_all_about_itself(dino, tmp_path):
    save_file(dino, tmp_path / "dino.safetensors")
    options = {"blocks": 1, "offset": 0.0}
    said = command.convert_dino(tmp_path / "dino.safetensors", tmp_path / "out", **options)
    assert "channels, 1 blocks" in said
    module, variables = convert.dino(dino, **options)
    again, restored = dino_weights.read_converted(tmp_path / "out")
    assert again == module
    assert_same(restored, variables)
    config = configs.default()
    config.dino.update({"weights": str(tmp_path / "out"), "size": "g"})
    assert dino_weights.find_module(config.dino) == module
    dino_weights.complete_dino_config(config)
    assert (config.dino.size, config.dino.registers) == ("", 4)
    config.dino.weights = "/nowhere"
    with pytest.raises(UserError, match=r"dino\.weights: there is no folder '/nowhere', and"):
        dino_weights.check_dino(config)


def test_of_several_that_write_the_same_one_wins(dino, tmp_path):
    module, variables = convert.dino(dino)
    errors = []

    def write():
        try:
            converted.write(tmp_path / "dino", {"dino": variables}, dino=module)
        except UserError as error:
            errors.append(error)

    threads = [threading.Thread(target=write) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(errors) == 2
    assert_same(dino_weights.read_converted(tmp_path / "dino")[1], variables)
    assert [path.name for path in tmp_path.iterdir()] == ["dino"]


class _Code:
    def __reduce__(self):
        return os.mkdir, ("trace",)


@pytest.fixture(scope="module")
def bad_files(inpainter, dino, tmp_path_factory):
    path = tmp_path_factory.mktemp("bad")
    save_file(inpainter, path / "inpainter.safetensors")
    save_file(inpainter | {"encoder.conv_out.bias": np.zeros(3, np.float32)}, path / "shape.npz")
    whole = (path / "inpainter.safetensors").read_bytes()
    (path / "truncated.safetensors").write_bytes(whole[: len(whole) // 2])
    (path / "code.pth").write_bytes(pickle.dumps({"a": _Code()}, protocol=2))
    save_file(dino, path / "dino.safetensors")
    np.savez(path / "empty.npz")
    os.rename(path / "shape.npz", path / "shape.safetensors")
    return path


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("truncated.safetensors", "damaged"),
        ("code.pth", "never run"),
        ("dino.safetensors", "missing: encoder"),
        ("shape.safetensors", r"encoder.conv_out.bias [3], expected [192]"),
        ("empty.npz", "is empty"),
        ("nowhere.pth", "does not exist"),
    ],
)
def test_a_bad_file_is_one_line_and_nothing_is_written(bad_files, tmp_path, name, why):
    output = tmp_path / "out"
    with pytest.raises(UserError) as error:
        command.convert_reference(str(bad_files / name), str(output), 1)
    message = str(error.value)
    assert message.startswith(f"--input: {bad_files / name}")
    assert why in message
    assert "\n" not in message
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_model_ends_the_command_with_code_2(bad_files, tmp_path):
    path = bad_files / "inpainter.safetensors"
    done = run("dino", f"--input={path}", f"--output={tmp_path / 'out'}")
    assert done.returncode == 2
    assert done.stdout == ""
    assert re.fullmatch(r"error: --input: .*inpainter\.safetensors: DINO .*\n", done.stderr)
    assert list(tmp_path.iterdir()) == []


def test_a_mistyped_command_says_which_there_are():
    done = run("refrence", "--input=x", "--output=y")
    assert done.returncode == 2
    assert "did you mean reference?" in done.stderr


@pytest.mark.parametrize("overlap", [-1, 9])
def test_an_overlap_that_patches_do_not_allow_is_refused(bad_files, tmp_path, overlap):
    path = bad_files / "inpainter.safetensors"
    with pytest.raises(UserError, match=r"overlap: .* is not from 0 to half"):
        command.convert_reference(str(path), str(tmp_path / "out"), overlap)


def test_nothing_is_overwritten(bad_files):
    path = bad_files / "inpainter.safetensors"
    with pytest.raises(UserError, match=r"--output: .* exists"):
        command.convert_reference(str(path), str(bad_files), 1)


def test_a_folder_that_cannot_be_written_leaves_nothing(bad_files, tmp_path):
    (tmp_path / "file").touch()
    path = bad_files / "dino.safetensors"
    with pytest.raises(UserError, match="--output: cannot"):
        command.convert_dino(str(path), str(tmp_path / "file" / "out"))
