"""State dicts on disk: .pth, .pt and .bin, .safetensors, .npz."""

import pickle
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from gsjax.convert import keys
from gsjax.errors import UserError


def read_state_dict(path: str | Path, field: str) -> dict[str, np.ndarray]:
    """Reads the arrays of a file of weights, in float32, by their published keys.

    Nothing in the file is ever run: PyTorch files are read as weights only, and
    archives without pickles.

    Args:
      path: the file; its suffix tells the format.
      field: the flag or config field that named it, for errors.

    Raises:
      UserError: no such file, another format, damaged, with code in it, or without arrays.
    """
    path = Path(path)
    named = f"{field}: {path}"
    if path.is_dir():
        raise UserError(f"{named} is a folder; expected a file of weights")
    if not path.exists():
        raise UserError(f"{named} does not exist; expected a file of weights")
    suffix = path.suffix.lower()
    if suffix not in _READERS:
        raise UserError(f"{named} is in an unknown format; expected {', '.join(_READERS)}")
    if not path.stat().st_size:
        raise UserError(f"{named} is empty; expected a file of weights")
    try:
        loaded = _READERS[suffix](path)
    except ImportError as error:
        raise UserError(
            f"{named} needs {error.name} to be read: "
            f"pip install {error.name}, or convert the file to .safetensors"
        ) from None
    except pickle.UnpicklingError:
        raise UserError(
            f"{named} is damaged, or holds code or objects besides arrays, which are never run; "
            "save the state_dict() alone"
        ) from None
    except Exception as error:  # a broken byte leads the readers to errors of any type
        reason = (str(error).strip() or type(error).__name__).split("\n")[0][:120]
        raise UserError(f"{named} is damaged or not a {path.suffix} file ({reason})") from None
    if not isinstance(loaded, Mapping):
        kind = type(loaded).__name__
        raise UserError(f"{named} holds a {kind}; expected a state dict, arrays by their key")
    return keys.unwrap(loaded, named)


def _torch(path: Path):
    import torch  # large, and needed for this format only

    def numpy(value):
        if isinstance(value, Mapping):
            return {key: numpy(item) for key, item in value.items()}
        # Through float32 because NumPy has no bfloat16.
        return value.detach().float().numpy() if isinstance(value, torch.Tensor) else value

    return numpy(torch.load(path, map_location="cpu", weights_only=True))


def _safetensors(path: Path) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    return load_file(path)


def _npz(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as archive:
        return {key: archive[key] for key in archive.files}


_READERS = {
    ".pth": _torch,
    ".pt": _torch,
    ".bin": _torch,
    ".safetensors": _safetensors,
    ".npz": _npz,
}
