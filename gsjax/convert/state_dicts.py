"""Reads state dicts from disk: .pth, .pt, .bin, .safetensors and .npz."""

import math
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gsjax.convert import keys
from gsjax.convert.arrays import check_claim
from gsjax.errors import UserError, first_line, shown


def read_state_dict(path: str | Path) -> dict[str, np.ndarray]:
    """Reads the arrays of a file of weights, in float32, by their published keys.

    Code in the file is never run: PyTorch files are read with `weights_only`, and archives without
    pickles.

    Args:
      path: the file; its suffix determines the format.

    Raises:
      UserError: the file is missing, of another format, damaged, contains code, or has no arrays.
    """
    path = Path(path)
    if path.is_dir():
        raise UserError(path, "this is a folder", "expected a file of weights")
    if not path.exists():
        raise UserError(path, "it does not exist", "expected a file of weights")
    if not path.is_file():  # reading a device may never end
        raise UserError(path, "this is not a regular file", "expected a file of weights")
    suffix = path.suffix.lower()
    if suffix not in _READERS:
        raise UserError(path, "the format is unknown", f"expected {', '.join(_READERS)}")
    if not path.stat().st_size:
        raise UserError(path, "the file is empty", "expected a file of weights")
    try:
        _check_archive(path)
        loaded = _READERS[suffix](path)
        if isinstance(loaded, Mapping):
            loaded = keys.inner_state_dict(loaded)
            _check_sizes(loaded, path.stat().st_size)
    except ImportError as error:
        raise UserError(
            path,
            f"reading it needs {error.name}",
            f"pip install {error.name}, or convert the file to .safetensors",
        ) from None
    except pickle.UnpicklingError:
        raise UserError(
            path,
            "it is damaged, or holds code or objects besides arrays, which are never run",
            "save the state_dict() alone",
        ) from None
    except Exception as error:  # on damaged files, readers raise errors of any type
        reason = first_line(error)
        raise UserError(path, f"it is damaged or not a {path.suffix} file ({reason})") from None
    if not isinstance(loaded, Mapping):
        kind = type(loaded).__name__
        raise UserError(path, f"it holds a {kind}", "expected a state dict, arrays by key")
    return keys.unwrap(loaded, str(path))


def _check_archive(path: Path) -> None:
    """Raises ValueError if a ZIP archive (.npz, .pth) claims an implausible unpacked size."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            check_claim(sum(entry.file_size for entry in archive.infolist()), path.stat().st_size)


def _check_sizes(arrays: Mapping, held: int) -> None:
    """Raises ValueError if tensors claim more values than the file has, with strides of 0."""
    claimed = 0
    for key, value in arrays.items():
        if hasattr(value, "untyped_storage"):
            size = value.numel() * value.element_size()
            if size > value.untyped_storage().nbytes():
                raise ValueError(f"{shown(key)} claims {value.numel()} values and has fewer")
            claimed += 4 * value.numel()
    check_claim(claimed, held)


def _torch(path: Path) -> Any:
    import torch  # large, and needed for this format only

    return torch.load(path, map_location="cpu", weights_only=True)


def _safetensors(path: Path) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    return load_file(path)


def _npz(path: Path) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            _check_header(archive, entry)
    with np.load(path, allow_pickle=False) as archive:
        return {key: archive[key] for key in archive.files}


def _check_header(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> None:
    """Raises ValueError if the array in an entry claims to be larger than the entry."""
    readers = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}
    with archive.open(entry) as file:
        major, _ = np.lib.format.read_magic(file)
        shape, _, dtype = readers[major](file)
    if math.prod(shape) * dtype.itemsize > entry.file_size:
        raise ValueError(f"{shown(entry.filename)} claims {math.prod(shape)} values and has fewer")


_READERS = {
    ".pth": _torch,
    ".pt": _torch,
    ".bin": _torch,
    ".safetensors": _safetensors,
    ".npz": _npz,
}
