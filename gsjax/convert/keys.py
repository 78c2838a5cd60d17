"""Shared by all conversions: tables from published keys to our parameters, and their checks.

A table maps each key of a PyTorch state dict to the path of a parameter in our tree and to the
layout of its axes. The same table converts in both directions.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from gsjax.convert.arrays import to_float32
from gsjax.errors import UserError, first_line, shown

_NESTED_UNDER = ("model", "state_dict")
_LISTED = 12  # maximum number of keys of one kind in an error
_DIGITS = 9  # maximum number of digits of a layer's number
_LAYERS = 256  # maximum number of layers of a kind; far more than published networks have


class Layout(NamedTuple):
    """The permutation from a published array's axes to ours; empty for the same order."""

    axes: tuple[int, ...] = ()

    def ours(self, array: np.ndarray) -> np.ndarray:
        """Converts a published array to ours."""
        return np.transpose(array, self.axes) if self.axes else array

    def published(self, array: np.ndarray) -> np.ndarray:
        """Converts our array to the published layout."""
        array = np.transpose(array, np.argsort(self.axes)) if self.axes else array
        return np.ascontiguousarray(array)

    def published_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Returns the published shape of our parameter."""
        return tuple(shape[i] for i in np.argsort(self.axes)) if self.axes else tuple(shape)


SAME = Layout()
LINEAR = Layout((1, 0))  # [out, in] -> [in, out]
# OIHW -> HWIO. Transposed convolutions are IOHW -> HWOI, with `transpose_kernel` in Flax.
CONV = Layout((2, 3, 1, 0))

Table = dict[str, tuple[str, Layout]]  # published key -> path joined by "/", layout


def weighted(key: str, path: str, layout: Layout) -> Table:
    """Returns the two entries of a layer with a kernel and a bias."""
    return {f"{key}.weight": (f"{path}/kernel", layout), f"{key}.bias": (f"{path}/bias", SAME)}


def norm(key: str, path: str) -> Table:
    """Returns the two entries of a LayerNorm or GroupNorm."""
    return {f"{key}.weight": (f"{path}/scale", SAME), f"{key}.bias": (f"{path}/bias", SAME)}


def inner_state_dict(state_dict: Mapping) -> Mapping:
    """Returns the state dict inside of wrappers such as `{"model": {...}}`."""
    for name in _NESTED_UNDER:
        if isinstance(state_dict.get(name), Mapping):
            state_dict = state_dict[name]
    return state_dict


def unwrap(state_dict: Mapping, network: str) -> dict[str, np.ndarray]:
    """Returns the arrays of a state dict in float32, without what trainers wrap around them.

    Accepts `{"model": {...}, "epoch": 3}`, and the "module." prefix of `DistributedDataParallel`.

    Raises:
      UserError: it is empty, or has something else than arrays of finite numbers.
    """
    state_dict = inner_state_dict(state_dict)
    if not state_dict:
        raise UserError(network, "the state dict is empty", "expected arrays by key")
    arrays = {}
    for key, value in state_dict.items():
        if hasattr(value, "detach"):  # a tensor of PyTorch, which may not be installed
            value = _from_torch(value)
        if not isinstance(value, np.ndarray | np.generic | jax.Array | int | float):
            kind = type(value).__name__
            raise UserError(network, f"{shown(key)!r} is a {kind}", "expected an array")
        try:
            arrays[str(key).removeprefix("module.")] = to_float32(key, np.asarray(value))
        except (ValueError, OverflowError) as error:
            raise UserError(network, first_line(error)) from None
    return arrays


def _from_torch(tensor: Any) -> Any:
    """Returns the values of a tensor, or the tensor itself if it has no real values."""
    if tensor.is_complex():
        return tensor
    try:
        return tensor.detach().float().numpy()  # through float32 because NumPy has no bfloat16
    except (RuntimeError, TypeError, NotImplementedError):
        return tensor


def require(state_dict: Mapping[str, np.ndarray], ranks: Mapping[str, int], network: str) -> None:
    """Checks the keys that determine an architecture: their presence and number of axes.

    Raises:
      UserError: lists all missing or wrong keys.
    """
    missing = [key for key in ranks if key not in state_dict]
    wrong = [
        f"{shown(key)} {list(state_dict[key].shape)}, expected {rank} axes"
        for key, rank in ranks.items()
        if key in state_dict and (state_dict[key].ndim != rank or not state_dict[key].size)
    ]
    if missing:
        example = ", ".join(map(shown, list(state_dict)[:3]))
        problems = _problems(missing, (), wrong)
        raise UserError(network, f"{problems} (the file has {example}, …)")
    if wrong:
        raise UserError(network, _problems(missing, (), wrong))


def count(arrays: Mapping[str, Any], prefix: str, network: str) -> int:
    """Counts layers: returns one more than the highest number after `prefix`.

    Gaps show up later as missing keys.

    Raises:
      UserError: the number is implausible for a layer.
    """
    numbers = [key.removeprefix(prefix).split(".")[0] for key in arrays if key.startswith(prefix)]
    numbers = [number for number in numbers if re.fullmatch("[0-9]+", number)]
    for number in numbers:
        # Python is slow to parse numbers of thousands of digits, or refuses to.
        if len(number) > _DIGITS or int(number) >= min(len(arrays), _LAYERS):
            raise UserError(
                network,
                f"there is a key {shown(prefix + number)}, but only {len(arrays)} keys",
                f"expected up to {_LAYERS} layers, from 0 on",
            )
    return max(map(int, numbers), default=-1) + 1


def to_params(state_dict: Mapping[str, np.ndarray], table: Table, params, network: str) -> dict:
    """Returns the parameter tree that a state dict describes.

    Args:
      state_dict: published keys to arrays.
      table: where each key goes.
      params: the tree to fill: anything with shapes.
      network: its name in errors.

    Raises:
      UserError: keys are missing, left over or have wrong shapes (lists all of them).
    """
    shapes = {path: leaf.shape for path, leaf in flatten_dict(params, sep="/").items()}
    if shapes.keys() != {path for path, _ in table.values()}:
        raise AssertionError(f"{network}: the table and the parameters do not match")
    expected = {key: layout.published_shape(shapes[path]) for key, (path, layout) in table.items()}
    missing = [key for key in expected if key not in state_dict]
    left_over = [shown(key) for key in state_dict if key not in expected]
    wrong = [
        f"{shown(key)} {list(state_dict[key].shape)}, expected {list(shape)}"
        for key, shape in expected.items()
        if key in state_dict and state_dict[key].shape != shape
    ]
    if missing or left_over or wrong:
        raise UserError(network, _problems(missing, left_over, wrong))
    ours = {
        path: jnp.asarray(layout.ours(state_dict[key])) for key, (path, layout) in table.items()
    }
    return unflatten_dict(ours, sep="/")


def to_published(params, table: Table) -> dict[str, np.ndarray]:
    """The inverse of `to_params`, bit for bit."""
    flat = flatten_dict(jax.device_get(params), sep="/")
    return {key: layout.published(np.asarray(flat[path])) for key, (path, layout) in table.items()}


def _problems(missing: Iterable, left_over: Iterable, wrong: Iterable) -> str:
    kinds = (("missing", missing), ("left over", left_over), ("wrongly shaped", wrong))
    return "; ".join(_listed(name, list(keys)) for name, keys in kinds if keys)


def _listed(name: str, keys: list[str]) -> str:
    rest = f" and {len(keys) - _LISTED} more" if len(keys) > _LISTED else ""
    return f"{len(keys)} {name}: {', '.join(keys[:_LISTED])}{rest}"
