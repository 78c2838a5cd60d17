"""Checkpoints of a run with Orbax: everything that training changes.

The position in the data is not saved, since a step's number determines what it sees (see
`data.pipeline.training_batches`). So a run may resume with a different number of data workers,
processes or devices; each process reads the parts that it holds.

A checkpoint is a folder named by its step. It is written under a temporary name and renamed when
it is complete. So a folder with a number for a name is complete, even if the run is killed.
"""

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import orbax.checkpoint as ocp
from absl import logging
from etils import epath

from gsjax import distributed
from gsjax.errors import UserError, first_line, shown
from gsjax.files import absolute

STATE = "state"  # the item of a checkpoint with the training state


def open_manager(directory: str | os.PathLike, keep: int) -> ocp.CheckpointManager:
    """Opens a run's folder of checkpoints, to save to and restore from.

    Creates the folder if necessary, and removes what interrupted saves left behind. Every process
    must open it, with the same arguments. Close it with `close`.

    Args:
      directory: the folder.
      keep: how many checkpoints to keep; older ones are deleted after a save.

    Raises:
      UserError: if the folder cannot be created or read.
    """
    options = ocp.CheckpointManagerOptions(
        preservation_policy=ocp.checkpoint_managers.LatestN(keep),
        cleanup_tmp_directories=True,
    )
    try:
        return ocp.CheckpointManager(
            epath.Path(absolute(directory)), options=options, handler_registry=_handlers()
        )
    except OSError as error:
        raise UserError(
            directory,
            f"cannot keep checkpoints there: {error.strerror or error}",
            "point --workdir to a folder that can be written to",
        ) from error


def save(manager: ocp.CheckpointManager, step: int, state: Any) -> bool:
    """Starts saving a checkpoint; the arrays may be donated as soon as this returns.

    Writing happens in the background. The next save and `manager.wait_until_finished()` wait for
    it, and raise its errors.

    Args:
      manager: from `open_manager`.
      step: the number of steps done; must increase.
      state: a pytree of arrays; PRNG keys may be typed.

    Returns:
      False if this step has been saved before, otherwise True.

    Raises:
      UserError: if this checkpoint or the previous one cannot be written.
    """
    with _explained(manager):
        return manager.save(step, args=ocp.args.Composite(**{STATE: ocp.args.StandardSave(state)}))


def finish(manager: ocp.CheckpointManager) -> None:
    """Waits until everything is on disk.

    Raises:
      UserError: if the last checkpoint cannot be written.
    """
    with _explained(manager):
        manager.wait_until_finished()


def close(manager: ocp.CheckpointManager) -> None:
    """Waits for the last save and closes the folder; call `finish` first to detect errors."""
    with contextlib.suppress(OSError, ValueError):
        manager.close()


@contextlib.contextmanager
def _explained(manager: ocp.CheckpointManager) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        raise UserError(
            manager.directory,
            f"cannot write a checkpoint: {_reason(error)}. Earlier ones are intact",
            "make room or repair the folder, and the same command resumes from the last",
        ) from error


def _reason(error: OSError | ValueError) -> str:
    """Extracts the system's message from an error of TensorStore.

    These are ValueErrors, even for a full disk. Their text has paths and settings in no fixed
    order, and the system's error number.
    """
    number = re.search(r"os_error_code='(\d+)'", str(error))
    return os.strerror(int(number[1])) if number else first_line(error)


def save_single(directory: str | os.PathLike, state: Any) -> None:
    """Writes the only checkpoint of a new folder, at step 0, synchronously.

    Raises:
      OSError: if it cannot be written, for example on a full disk.
    """
    options = ocp.CheckpointManagerOptions(enable_async_checkpointing=False)
    args = ocp.args.Composite(**{STATE: ocp.args.StandardSave(state)})
    try:
        with ocp.CheckpointManager(absolute(directory), options=options) as manager:
            manager.save(0, args=args)
    except ValueError as error:  # TensorStore's, for any error of the system
        raise OSError(_reason(error)) from error


def restore_latest(manager: ocp.CheckpointManager, state_like: Any) -> tuple[Any, int] | None:
    """Restores the newest readable checkpoint, with the shardings of `state_like`.

    Newer checkpoints that cannot be read are renamed to `corrupt_STEP`, with a warning. What one
    process cannot read counts as unreadable for all.

    Args:
      manager: from `open_manager`.
      state_like: the state's tree of `jax.ShapeDtypeStruct` with shardings.

    Returns:
      The state and its step, or None if there is no checkpoint yet.

    Raises:
      UserError: if the checkpoint has another architecture, or none can be read.
    """
    manager.wait_until_finished()
    broken: dict[int, str] = {}
    for step in sorted(manager.all_steps(), reverse=True):
        path = manager.directory / str(step)
        state, reason = None, "another process could not"
        with distributed.shared_errors():
            try:
                state = _restore(path, state_like)
            except UserError:
                raise
            except Exception as error:  # a broken byte leads Orbax to errors of any type
                reason = first_line(error)
        if distributed.max_over_processes(state is None):
            broken[step] = reason
        else:
            _set_aside(manager, broken)
            return state, step
    if broken:
        reasons = "; ".join(f"{step}: {reason}" for step, reason in broken.items())
        raise UserError(
            manager.directory,
            f"none of the checkpoints can be read ({reasons})",
            "if they are lost, choose another --workdir",
        )
    return None


def _restore(path: epath.Path, state_like: Any) -> Any:
    """Reads a checkpoint, without waiting for other processes, which may be unable to read it."""
    with _open_to_read(path) as opened:
        step = int(path.name)
        check_same_shapes(
            path,
            opened.item_metadata(step)[STATE].tree,
            state_like,
            "resume with the model, discriminator, dino and train.ema it was trained with, or "
            "choose another --workdir",
        )
        args = ocp.args.Composite(**{STATE: ocp.args.StandardRestore(state_like)})
        return opened.restore(step, args=args)[STATE]


def _set_aside(manager: ocp.CheckpointManager, broken: Mapping[int, str]) -> None:
    """Renames unreadable checkpoints, once an older one is known to be intact."""
    for step, reason in broken.items() if jax.process_index() == 0 else ():
        path = manager.directory / str(step)
        names = (f"corrupt_{step}", *(f"corrupt_{step}.{i}" for i in range(1, 1000)))
        aside = next(a for a in map(path.with_name, names) if not a.exists())
        logging.warning("%s cannot be read (%s); it is set aside as %s", path, reason, aside.name)
        path.rename(aside)
    if broken:
        distributed.max_over_processes(0)  # wait until they are renamed for all processes
        manager.reload()


def find_checkpoint(path: str | os.PathLike) -> epath.Path:
    """Returns the newest checkpoint of a workdir or folder of checkpoints, or a checkpoint itself.

    Raises:
      UserError: if there is none.
    """
    folder = epath.Path(absolute(path))
    if step_of(folder.name) is not None and (folder / STATE).exists():
        return folder
    for directory in (folder / "checkpoints", folder):
        step = latest_step(directory)
        if step is not None:
            return directory / str(step)
    reason = "it holds no finished checkpoint" if folder.exists() else "it does not exist"
    raise UserError(folder, reason, "give a run's workdir or one of its checkpoints")


def latest_step(directory: str | os.PathLike) -> int | None:
    """Returns the step of the newest finished checkpoint in a folder, or None."""
    return max(steps_in(epath.Path(absolute(directory))), default=None)


def steps_in(directory: epath.Path) -> list[int]:
    """Returns the steps of all finished checkpoints in a folder, unordered."""
    if not directory.is_dir():
        return []
    steps = [step_of(path.name) for path in directory.iterdir()]
    return [step for step in steps if step is not None]


def step_of(name: str) -> int | None:
    """Returns the step in the name of a checkpoint's folder; None if it is not such a name."""
    # str.isdigit would also accept superscripts and the digits of other scripts.
    return int(name) if re.fullmatch("0|[1-9][0-9]{0,17}", name) else None


def _open_to_read(checkpoint: epath.Path) -> ocp.CheckpointManager:
    """Opens a folder of checkpoints for reading, independently of other processes."""
    process = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(
        primary_host=process, active_processes={process}, barrier_sync_key_prefix=f"of_{process}"
    )
    return ocp.CheckpointManager(
        checkpoint.parent,
        handler_registry=_handlers(),
        options=ocp.CheckpointManagerOptions(create=False, multiprocessing_options=alone),
    )


def _handlers() -> ocp.handlers.DefaultCheckpointHandlerRegistry:
    """Returns what saves and restores the state."""
    registry = ocp.handlers.DefaultCheckpointHandlerRegistry()
    handler = ocp.StandardCheckpointHandler()
    for args in (ocp.args.StandardSave, ocp.args.StandardRestore):
        registry.add(STATE, args, handler)
    return registry


def check_same_shapes(path: str | os.PathLike, saved: Any, wanted: Any, advice: str) -> None:
    """Raises UserError, which names the first difference, unless both trees have the same shapes.

    Args:
      path: of the checkpoint, for the error.
      saved: the tree in the checkpoint: anything with shapes.
      wanted: the expected tree.
      advice: what to do about it, for the error.
    """
    saved, wanted = _shapes(saved), _shapes(wanted)
    for name in [*wanted, *saved]:
        if saved.get(name) != wanted.get(name):
            raise UserError(
                path,
                f"a checkpoint of another architecture: {shown(name)} is {_as_text(saved, name)} "
                f"there and {_as_text(wanted, name)} here",
                advice,
            )


def _shapes(tree):
    def shape(leaf):
        # Typed PRNG keys are stored as integers.
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.eval_shape(jax.random.key_data, leaf).shape
        return tuple(leaf.shape)

    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): shape(leaf) for path, leaf in leaves
    }


def _as_text(shapes, name):
    return "missing" if name not in shapes else "×".join(map(str, shapes[name])) or "a scalar"
