"""Reading state dicts from files, whole and broken."""

import os
import pickle
import sys
import zipfile

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from gsjax.convert.state_dicts import read_state_dict
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
        read_state_dict(path)
    message = str(error.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_format_gives_the_arrays(tmp_path, suffix):
    read = read_state_dict(write(tmp_path / f"w{suffix}"))
    assert read.keys() == ARRAYS.keys()
    for key, array in ARRAYS.items():
        np.testing.assert_array_equal(read[key], array)
        assert read[key].dtype == np.float32


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_half_precision_is_widened(tmp_path, dtype):
    path = write(tmp_path / "w.safetensors", {"a": np.asarray([0.5, -3.0], dtype)})
    read = read_state_dict(path)["a"]
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, [0.5, -3.0])


def test_a_trainers_checkpoint_gives_the_model(tmp_path):
    torch = pytest.importorskip("torch", reason="writes the file")
    path = tmp_path / "w.pth"
    weights = torch.nn.Parameter(torch.ones(2, dtype=torch.bfloat16))
    checkpoint = {"model": {"module.a": weights}, "epoch": 3, "optimizer": {"lr": 0.1}}
    torch.save(checkpoint, path)
    read = read_state_dict(path)
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


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_values_that_float32_does_not_hold_are_refused_by_name(tmp_path, suffix, value):
    arrays = ARRAYS | {"b.weight": np.array([1.0, value])}
    assert "b.weight has values that are NaN or infinite" in refused(
        write(tmp_path / f"w{suffix}", arrays)
    )


def test_a_tensor_that_claims_more_than_it_has_is_refused(tmp_path):
    torch = pytest.importorskip("torch", reason="writes the files")
    path = tmp_path / "w.pth"
    torch.save({"a": torch.ones(1, 8).expand(10**10, 8)}, path)
    assert "a claims 80000000000 values and has fewer" in refused(path)
    whole = torch.ones(10**5)
    torch.save({f"a{i}": whole.view(1, -1) for i in range(1000)}, path)  # 400 MB of one array
    assert "it claims arrays of 4e+08 bytes but has 4" in refused(path)


def test_an_archive_that_claims_more_than_it_has_is_refused(tmp_path):
    path = write(tmp_path / "w.npz", {"a": np.zeros((10, 4), np.float32)})
    with zipfile.ZipFile(path) as archive:
        array = archive.read("a.npy")
    with zipfile.ZipFile(path, "w") as archive:
        longer = array.replace(b"(10, 4), }       ", b"(4, 999999999), }")
        archive.writestr("a.npy", longer)
    assert "a.npy claims 3999999996 values and has fewer" in refused(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", array)
    content = bytearray(path.read_bytes())
    size = content.rindex(b"PK\x01\x02") + 24  # of the entry, uncompressed
    content[size : size + 4] = (2**31).to_bytes(4, "little")
    path.write_bytes(content)
    assert "it claims arrays of 2.1e+09 bytes" in refused(path)


def test_nested_groups_of_a_file_are_not_followed(tmp_path):
    torch = pytest.importorskip("torch", reason="writes the file")
    tree = {"a": torch.ones(2)}
    for _ in range(60):  # 2⁶⁰ paths through it
        tree = {"a": tree, "b": tree}
    torch.save(tree, tmp_path / "w.pth")
    assert "'a' is a dict; expected an array" in refused(tmp_path / "w.pth")
    tree = {}
    tree["model"] = tree["state_dict"] = tree
    torch.save(tree, tmp_path / "w.pth")
    assert "'model' is a dict; expected an array" in refused(tmp_path / "w.pth")


def test_complex_numbers_are_no_weights(tmp_path):
    torch = pytest.importorskip("torch", reason="writes the file")
    torch.save({"a": torch.ones(2, dtype=torch.complex64)}, tmp_path / "w.pth")
    assert "'a' is a Tensor; expected an array" in refused(tmp_path / "w.pth")
    np.savez(tmp_path / "w.npz", a=np.ones(2, complex))
    assert "a is of type complex128; expected real numbers" in refused(tmp_path / "w.npz")


def test_a_fifo_is_not_waited_for(tmp_path):
    for suffix in FORMATS:
        os.mkfifo(tmp_path / f"w{suffix}")
        assert "is not a regular file" in refused(tmp_path / f"w{suffix}")


def test_paths_that_are_no_weights_are_refused(tmp_path):
    assert "does not exist" in refused(tmp_path / "none.pth")
    assert "is a folder" in refused(tmp_path)
    (tmp_path / "empty.pth").touch()
    assert "is empty" in refused(tmp_path / "empty.pth")
    (tmp_path / "w.onnx").write_bytes(b"x")
    assert "the format is unknown; expected .pth" in refused(tmp_path / "w.onnx")


def test_files_without_arrays_are_refused(tmp_path):
    torch = pytest.importorskip("torch", reason="writes the files")
    path = tmp_path / "w.pth"
    torch.save(torch.ones(3), path)
    assert "holds a Tensor; expected a state dict" in refused(path)
    torch.save({}, path)
    assert "the state dict is empty" in refused(path)
    torch.save({"name": "dino"}, path)
    assert "'name' is a str; expected an array" in refused(path)


def test_without_pytorch_its_files_say_what_to_install(tmp_path, monkeypatch):
    path = tmp_path / "w.pth"
    path.write_bytes(b"x")
    monkeypatch.setitem(sys.modules, "torch", None)
    assert "pip install torch" in refused(path)
