"""What a file of arrays may claim: checked before memory is taken and before they are used.

Files come from anywhere. What is wrong with one is a ValueError here, whose text says what;
whoever knows the file's name makes a `UserError` of it.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import numpy as np

from gsjax.errors import shown

_RATIO = 4  # half-precision values kept as float32 compress by less
_ALWAYS = 2**28  # bytes that arrays of a single value may claim: they compress to nothing
_DEEPEST = 32  # parts of the path of a parameter


def check_claim(claimed: int, held: int) -> None:
    """Raises ValueError if a file cannot hold the arrays that it claims to hold.

    Args:
      claimed: bytes of all arrays.
      held: bytes on disk, maybe compressed.
    """
    if claimed > _RATIO * held + _ALWAYS:
        raise ValueError(f"it claims arrays of {claimed:.2g} bytes but has {held:.2g} on disk")


def to_float32(name: str, array: np.ndarray) -> np.ndarray:
    """Returns real numbers in single precision; `name` is for the error.

    Raises:
      ValueError: they are no real numbers, or one is NaN, infinite, or too large for float32.
    """
    # bfloat16 is of no kind that NumPy knows.
    if array.dtype.kind not in "biuf" and not jax.dtypes.issubdtype(array.dtype, np.floating):
        raise ValueError(f"{shown(name)} is of type {array.dtype}; expected real numbers")
    with np.errstate(over="ignore"):
        array = array.astype(np.float32, copy=False)
    check_finite([(name, array)])
    return array


def check_finite(arrays: Iterable[tuple[str, np.ndarray]]) -> None:
    """Raises ValueError, naming the first array that has NaN or infinite values."""
    for name, array in arrays:
        if jax.dtypes.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
            raise ValueError(f"{shown(name)} has values that are NaN or infinite")


def nested(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Returns arrays by paths joined with "/" as nested dicts.

    Raises:
      ValueError: there is none, or a path is empty, too deep, or goes through another array.
    """
    if not arrays:
        raise ValueError("there are no arrays in it")
    tree: dict[str, Any] = {}
    for path, array in arrays.items():
        *groups, name = path.split("/")
        if not all((*groups, name)):
            raise ValueError(f"the key {shown(path)!r} has an empty part")
        if len(groups) >= _DEEPEST:
            raise ValueError(f"the key {shown(path)!r} has more than {_DEEPEST} parts")
        branch = tree
        for group in groups:
            branch = branch.setdefault(group, {})
            if not isinstance(branch, dict):
                break
        if not isinstance(branch, dict) or name in branch:
            raise ValueError(f"the key {shown(path)!r} conflicts with another")
        branch[name] = array
    return tree
