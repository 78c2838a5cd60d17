"""Checks the arrays that a file claims to have, before memory is allocated for them.

Files may be hostile. Problems raise ValueError here; callers that know the name of the file turn it
into a `UserError`.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import numpy as np

from gsjax.errors import shown

_RATIO = 4  # more than half-precision values stored as float32 compress by
_ALWAYS = 2**28  # bytes always allowed, since constant arrays compress to nothing
_DEEPEST = 32  # maximum number of parts in the path of a parameter


def check_claim(claimed: int, held: int) -> None:
    """Raises ValueError if a file is too small for the arrays that it claims to have.

    Args:
      claimed: bytes of all arrays.
      held: bytes on disk, possibly compressed.
    """
    if claimed > _RATIO * held + _ALWAYS:
        raise ValueError(f"it claims arrays of {claimed:.2g} bytes but has {held:.2g} on disk")


def to_float32(name: str, array: np.ndarray) -> np.ndarray:
    """Converts an array of real numbers to float32; `name` is for errors.

    Raises:
      ValueError: values are not real numbers, NaN, infinite, or too large for float32.
    """
    # NumPy knows no kind for bfloat16.
    if array.dtype.kind not in "biuf" and not jax.dtypes.issubdtype(array.dtype, np.floating):
        raise ValueError(f"{shown(name)} is of type {array.dtype}; expected real numbers")
    with np.errstate(over="ignore"):
        array = array.astype(np.float32, copy=False)
    check_finite([(name, array)])
    return array


def check_finite(arrays: Iterable[tuple[str, np.ndarray]]) -> None:
    """Raises ValueError, which names the first array with NaN or infinite values."""
    for name, array in arrays:
        if jax.dtypes.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
            raise ValueError(f"{shown(name)} has values that are NaN or infinite")


def nested(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Converts arrays by paths joined with "/" to nested dicts.

    Raises:
      ValueError: there are no arrays, or a path is empty, too deep, or conflicts with another.
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
