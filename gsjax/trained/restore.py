"""Reads untrusted or damaged checkpoints: checks them before Orbax reads them."""

import math
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from jaxtyping import PyTree

from gsjax.convert.arrays import check_claim, check_finite
from gsjax.errors import UserError, first_line, shown
from gsjax.files import read_json
from gsjax.trained import checkpoints

_METADATA = "_METADATA"  # Orbax's file with the tree's keys
_MOST_METADATA = 2**25  # maximum size in bytes
_DEEPEST = 32  # maximum depth of the tree
_SEQUENCE = 1  # Orbax's type of keys in tuples and lists


def restore_params(path: str | os.PathLike, *names: str) -> Any:
    """Reads one branch of the state in the newest checkpoint, and nothing else, from disk.

    Args:
      path: a run's workdir, its folder of checkpoints, or one checkpoint.
      *names: the keys of the branch, like "generator", "params".

    Returns:
      The branch as nested dicts (tuples as lists) of numpy arrays, all finite.

    Raises:
      UserError: if there is no checkpoint at the path, it cannot be read, or it has no such branch.
        The error names an older checkpoint that can be read.
    """
    checkpoint = checkpoints.find_checkpoint(path)
    return _read(checkpoint, lambda tree: _branch(checkpoint, tree, names))


def names_in(path: str | os.PathLike) -> set[str]:
    """Returns the names of the branches of the state in the newest checkpoint.

    Args:
      path: as for `restore_params`.

    Raises:
      UserError: if there is no checkpoint at the path, or it cannot be read.
    """
    return _read(checkpoints.find_checkpoint(path), _names)


def generator_in(path: str | os.PathLike) -> str:
    """Returns the name of the branch with the generator: its moving average, if there is one.

    Raises:
      UserError: as for `names_in`, or there is no generator in the checkpoint.
    """
    found = names_in(path)
    if "generator" not in found:
        names = ", ".join(shown(name) for name in sorted(found)[:12])
        raise UserError(path, f"it holds {names}, but no generator")
    return "average" if "average" in found else "generator"


def _read(checkpoint: epath.Path, use: Callable[[Any], Any]) -> Any:
    """Returns `use(tree of shapes)` for a checkpoint; damage becomes a UserError."""
    try:
        return use(_tree(checkpoint / checkpoints.STATE))
    except UserError:
        raise
    except Exception as error:  # on damaged files, Orbax raises errors of any type
        reason = shown(first_line(error), 120)
    older = next(filter(_can_be_read, _older(checkpoint)), None)
    instead = f"{older} can" if older else ""
    raise UserError(checkpoint, f"it cannot be read ({reason})", instead)


def _branch(checkpoint: epath.Path, tree: Any, names: tuple[str, ...]) -> Any:
    branch = tree
    for name in names:
        if not isinstance(branch, Mapping) or name not in branch:
            raise UserError(checkpoint, f"its state has no {'/'.join(names)}")
        branch = branch[name]
    return _arrays(checkpoint / checkpoints.STATE, tree, names)


def _names(tree: Any) -> set[str]:
    return {name for name, branch in tree.items() if jax.tree.leaves(branch)}


def _older(checkpoint: epath.Path) -> Iterator[epath.Path]:
    """Yields checkpoints that could be read instead: older ones beside it, or of the same run."""
    last = checkpoints.step_of(checkpoint.name)
    beside = checkpoint.parent
    for directory in dict.fromkeys((beside, beside.parent / "checkpoints")):
        for step in sorted(checkpoints.steps_in(directory), reverse=True):
            if directory != beside or (last is not None and step < last):
                yield directory / str(step)


def _can_be_read(checkpoint: epath.Path) -> bool:
    try:
        tree = _tree(checkpoint / checkpoints.STATE)
        names = _names(tree)
        name = next(name for name in ("average", "generator", *sorted(names)) if name in names)
        _arrays(checkpoint / checkpoints.STATE, tree, (name,))
        return True
    except Exception:
        return False


def _tree(state: epath.Path) -> PyTree:
    """Returns the structure of a checkpoint: nested dicts and lists of shapes.

    Args:
      state: the folder written by Orbax.

    Returns:
      A tree of `jax.ShapeDtypeStruct`.

    Raises:
      Exception: of any type that Orbax raises for damaged files; ValueError for implausible claims.
    """
    held = _size(state)
    _check_keys(read_json(state / _METADATA, _MOST_METADATA))
    tree = _handler().metadata(state).tree
    if not isinstance(tree, Mapping) or not jax.tree.leaves(tree):
        raise ValueError("it holds no arrays")
    claimed = 0
    for leaf in jax.tree.leaves(tree):
        chunk = leaf.storage.chunk_shape if leaf.storage and leaf.storage.chunk_shape else ()
        values = max(math.prod(leaf.shape), math.prod(chunk))
        claimed += values * np.dtype(leaf.dtype).itemsize
    check_claim(claimed, held)
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), tree)


def _arrays(state: epath.Path, tree: PyTree, names: tuple[str, ...]) -> PyTree:
    """Reads one branch of a checkpoint: numpy arrays, all finite.

    Args:
      state: the folder written by Orbax.
      tree: from `_tree`.
      names: the keys of the branch, which must exist.

    Raises:
      Exception: as for `_tree`; also ValueError if values are NaN or infinite.
    """
    item = tree
    for name in names:
        item = item[name]
    for name in reversed(names):
        item = {name: item}
    restore_args = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), item)
    args = ocp.args.PyTreeRestore(item, restore_args=restore_args, partial_restore=True)
    branch = _handler().restore(state, args=args)
    for wanted, read in zip(jax.tree.leaves(item), jax.tree.leaves(branch), strict=True):
        if not isinstance(read, np.ndarray) or read.shape != wanted.shape:
            raise ValueError("what is in it is not what its metadata says")
    for name in names:
        branch = branch[name]
    leaves = jax.tree_util.tree_leaves_with_path(branch)
    check_finite(
        ("/".join([*names, jax.tree_util.keystr(path, simple=True, separator="/")]), leaf)
        for path, leaf in leaves
    )
    return branch


def _handler() -> ocp.PyTreeCheckpointHandler:
    """Returns a handler that does not wait for other processes."""
    process = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(
        primary_host=process, active_processes={process}, barrier_sync_key_prefix=f"of_{process}"
    )
    return ocp.PyTreeCheckpointHandler(multiprocessing_options=alone)


def _size(folder: epath.Path) -> int:
    """Returns the size of all files; raises ValueError if one is not regular, such as a FIFO."""
    if not folder.is_dir():
        raise ValueError(f"it has no folder {folder.name}")
    total = 0
    for parent, _, files in os.walk(folder):
        for name in files:
            status = os.stat(os.path.join(parent, name))
            if not stat.S_ISREG(status.st_mode):
                raise ValueError(f"{shown(name)} in it is not a regular file")
            total += status.st_size
    return total


def _check_keys(metadata: Any) -> None:
    """Raises ValueError unless the keys are those of a tree of moderate depth.

    Orbax would turn malicious keys into paths, and large numbers into long lists.
    """
    entries = metadata.get("tree_metadata") if isinstance(metadata, dict) else None
    if not isinstance(entries, dict):
        raise ValueError(f"{_METADATA} is none of Orbax's")
    for entry in entries.values():
        keys = entry.get("key_metadata") if isinstance(entry, dict) else None
        if not isinstance(keys, list) or not 0 < len(keys) <= _DEEPEST:
            raise ValueError(f"{_METADATA} has a key without parts, or with too many")
        for key in keys:
            name = key.get("key") if isinstance(key, dict) else None
            if not isinstance(name, str) or not re.fullmatch(r"[^/\0]+", name) or name in "..":
                raise ValueError(f"{_METADATA} has the key {shown(name)!r}")
            number = key.get("key_type") == _SEQUENCE
            if number and not (re.fullmatch("[0-9]{1,6}", name) and int(name) < len(entries)):
                raise ValueError(f"{_METADATA} has the key {shown(name)!r} in a list")
