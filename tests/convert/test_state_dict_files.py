"""Reading state dicts from files, whole and broken."""

import os
import pickle
import sys

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from gsjax.convert.files import read_state_dict
from gsjax.errors import UserError

ARRAYS = {
    "a.weight": np.arange(600, dtype=np.float32).reshape(20, 30) / 7,
    "a.bias": np.float32([1.5]),
}
FORMATS = [".pth", ".pt", ".safetensors", ".npz"]


def write(path, arrays=ARRAYS):
    if path.suffix == ".npz":
        np.savez_compressed(path, **arrays)
    elif path.suffix == ".safetensors":
        save_file(arrays, path)
    else:
        torch = pytest.importorskip("torch", reason="writes the file")
        torch.save({key: torch.from_numpy(array) for key, array in arrays.items()}, path)
    return path


def refused(path):
    with pytest.raises(UserError) as error:
        read_state_dict(path, "--input")
    message = str(error.value)
    assert message.startswith(f"--input: {path}")
    assert "\n" not in message
    return message


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_format_gives_the_arrays(tmp_path, suffix):
    read = read_state_dict(write(tmp_path / f"w{suffix}"), "--input")
    assert read.keys() == ARRAYS.keys()
    for key, array in ARRAYS.items():
        np.testing.assert_array_equal(read[key], array)
        assert read[key].dtype == np.float32


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_half_precision_is_widened(tmp_path, dtype):
    path = write(tmp_path / "w.safetensors", {"a": np.asarray([0.5, -3.0], dtype)})
    read = read_state_dict(path, "--input")["a"]
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, [0.5, -3.0])


def test_a_trainers_checkpoint_gives_the_model(tmp_path):
    torch = pytest.importorskip("torch", reason="writes the file")
    path = tmp_path / "w.pth"
    weights = torch.nn.Parameter(torch.ones(2, dtype=torch.bfloat16))
    checkpoint = {"model": {"module.a": weights}, "epoch": 3, "optimizer": {"lr": 0.1}}
    torch.save(checkpoint, path)
    read = read_state_dict(path, "--input")
    assert list(read) == ["a"]
    np.testing.assert_array_equal(read["a"], [1, 1])


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("part", [0.3, 0.7, 0.98])
def test_a_truncated_file_is_refused(tmp_path, suffix, part):
    path = write(tmp_path / f"w{suffix}")
    path.write_bytes(path.read_bytes()[: int(part * path.stat().st_size)])
    assert "damaged" in refused(path)


@pytest.mark.parametrize("suffix", FORMATS)
def test_what_is_not_that_format_is_refused(tmp_path, suffix):
    pytest.importorskip("torch", reason="reads .pth")
    path = tmp_path / f"w{suffix}"
    path.write_bytes(b"<html>404: not found</html>" * 20)
    assert "damaged" in refused(path)


class _Code:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("zipped", [False, True])
def test_code_in_a_file_is_refused_and_not_run(tmp_path, zipped):
    torch = pytest.importorskip("torch", reason="writes the file")
    path, trace = tmp_path / "w.pth", tmp_path / "trace"
    if zipped:
        torch.save({"a": _Code(trace)}, path)
    else:
        path.write_bytes(pickle.dumps({"a": _Code(trace)}, protocol=2))
    assert "never run" in refused(path)
    assert not trace.exists()


def test_an_archive_of_objects_is_refused_and_not_run(tmp_path):
    path, trace = tmp_path / "w.npz", tmp_path / "trace"
    np.savez(path, a=np.array([_Code(trace)], dtype=object))
    assert "damaged or not a .npz file" in refused(path)
    assert not trace.exists()


def test_paths_that_are_no_weights_are_refused(tmp_path):
    assert "does not exist" in refused(tmp_path / "none.pth")
    assert "is a folder" in refused(tmp_path)
    (tmp_path / "empty.pth").touch()
    assert "is empty" in refused(tmp_path / "empty.pth")
    (tmp_path / "w.onnx").write_bytes(b"x")
    assert "unknown format; expected .pth" in refused(tmp_path / "w.onnx")


def test_files_without_arrays_are_refused(tmp_path):
    torch = pytest.importorskip("torch", reason="writes the files")
    path = tmp_path / "w.pth"
    torch.save(torch.ones(3), path)
    assert "holds a ndarray; expected a state dict" in refused(path)
    torch.save({}, path)
    assert "the state dict is empty" in refused(path)
    torch.save({"name": "dino"}, path)
    assert "'name' is a str; expected an array" in refused(path)


def test_without_pytorch_its_files_say_what_to_install(tmp_path, monkeypatch):
    path = tmp_path / "w.pth"
    path.write_bytes(b"x")
    monkeypatch.setitem(sys.modules, "torch", None)
    assert "pip install torch" in refused(path)
