"""Packed inpainters: a generator in half precision in one file, with its config beside it."""

import os
from pathlib import Path

import numpy as np
from flax.traverse_util import flatten_dict
from jaxtyping import PyTree
from ml_collections import ConfigDict
from safetensors import safe_open
from safetensors.numpy import save

from gsjax.config import saved
from gsjax.convert.arrays import nested, to_float32
from gsjax.errors import UserError, first_line
from gsjax.fetch import REMOTE
from gsjax.files import new_folder, write_atomically

FILE = "generator.safetensors"
_LARGEST = float(np.finfo(np.float16).max)


def is_packed(folder: str | os.PathLike) -> bool:
    """Returns whether the folder has a packed inpainter."""
    return (Path(folder) / FILE).is_file()


def write_packed(folder: str | os.PathLike, config: ConfigDict, generator: PyTree) -> int:
    """Writes a generator's variables and its config, atomically.

    Locations of data and weights are removed from the config.

    Args:
      folder: must not exist, or be empty.
      config: of the run.
      generator: nested dicts of float arrays.

    Returns:
      The size of the parameters' file in bytes.

    Raises:
      UserError: the folder is not empty or cannot be written, a parameter is too large for half
        precision, or the inpainter needs a DINO without a published name.
    """
    arrays = {}
    for name, array in flatten_dict(generator, sep="/").items():
        if not np.all(np.abs(array) <= _LARGEST):
            raise UserError("--checkpoint", f"{name} has values that half precision does not hold")
        arrays[name] = np.ascontiguousarray(array, np.float16)
    content = save(arrays)
    config = config.copy_and_resolve_references()
    config.initial = config.data.train = config.data.validation = config.data.help = ""
    config.lpips.weights = ""
    if not config.model.semantic:
        config.dino.weights = ""
    elif config.dino.weights not in (*REMOTE, "random"):
        raise UserError(
            "--checkpoint",
            f"it needs the DINO in {config.dino.weights}, which is not packed with it. If that is "
            'a published one, say so in the run\'s config.json, like "weights": '
            '"dinov2_vits14"',
        )
    with new_folder(folder) as unfinished:
        write_atomically(unfinished / saved.CONFIG, saved.encode_config(config))
        write_atomically(unfinished / FILE, content)
    return len(content)


def read_packed(folder: str | os.PathLike) -> PyTree:
    """Returns the generator's variables in single precision, as nested dicts of numpy arrays.

    Raises:
      UserError: the file cannot be read, is damaged, or has values that are NaN or infinite.
    """
    path = Path(folder) / FILE
    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {name: to_float32(name, file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
        return nested(arrays)
    except Exception as error:  # on damaged files, the reader raises errors of any type
        raise UserError(path, f"it cannot be read: {first_line(error)}") from None
