"""Opens the folder of a run: its checkpoints, its record, its best generator."""

import contextlib
from pathlib import Path
from typing import NamedTuple

import jax
import orbax.checkpoint as ocp
from ml_collections import ConfigDict

from gsjax import distributed
from gsjax.config import saved
from gsjax.trained import checkpoints
from gsjax.training import record
from gsjax.training.best import Best
from gsjax.training.images_seen import record_images
from gsjax.training.preparation import Prepared
from gsjax.training.stage_ends import set_aside_other_stages
from gsjax.training.state import TrainState, abstract_state, init_state
from gsjax.training.workdir import check_shared, lock_workdir


class OpenRun(NamedTuple):
    """The opened folder of a run.

    Attributes:
      done: the step that it resumes after; 0 for a new run.
      checkpoints: of the state.
      log: its record.
      best: the generator that validated best; None if it is not kept.
    """

    done: int
    checkpoints: ocp.CheckpointManager
    log: record.Record
    best: Best | None


def open_run(
    config: ConfigDict, workdir: Path, prepared: Prepared, stack: contextlib.ExitStack
) -> tuple[OpenRun, TrainState]:
    """Opens the folder of a run; returns it, and the state to train from.

    From here on, the folder is locked, and a process that fails ends the others.

    Args:
      config: of the run.
      workdir: the folder.
      prepared: from `prepare`.
      stack: closes all of it.

    Raises:
      UserError: another run has the folder, or it cannot be read or written to.
    """
    first = jax.process_index() == 0
    check_shared(workdir)
    stack.enter_context(lock_workdir(workdir))
    manager = checkpoints.open_manager(workdir / "checkpoints", config.checkpoint.keep)
    stack.callback(checkpoints.close, manager)
    stack.enter_context(distributed.exit_on_failure(lambda: checkpoints.finish(manager)))
    networks, mesh = prepared.networks, prepared.mesh
    restored = checkpoints.restore_latest(manager, abstract_state(config, networks, mesh))
    state, done = restored or (init_state(config, networks, mesh, prepared.initial), 0)
    log = record.open_record(workdir, done, active=first)
    stack.callback(log.close)
    best = Best(workdir, config, done) if config.checkpoint.best else None
    if best:
        stack.callback(best.close)
    set_aside_other_stages(workdir, done)
    if first:
        saved.write_config(workdir, config)
        record_images(workdir, prepared.sources.training, resumes=done > 0)
    return OpenRun(done, manager, log, best), state
