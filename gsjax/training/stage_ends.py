"""Saves the generator at the end of each stage."""

import shutil
from pathlib import Path

import jax
from ml_collections import ConfigDict

from gsjax import distributed
from gsjax.config import saved
from gsjax.files import set_aside
from gsjax.trained import checkpoints
from gsjax.training.stages import Stage
from gsjax.training.state import TrainState, inference_variables


def set_aside_other_stages(workdir: Path, done: int) -> None:
    """Renames the folder `stages` of an earlier run, if this one is new."""
    if not done and jax.process_index() == 0 and (workdir / "stages").exists():
        set_aside(workdir / "stages")
    distributed.max_over_processes(0)  # only now is it gone for all processes


def save_stage_end(workdir: Path, config: ConfigDict, stage: Stage, state: TrainState) -> None:
    """Writes `stages/NAME`, a workdir with one checkpoint of the generator.

    Replaces what the run wrote there before it was killed.

    Args:
      workdir: of the run.
      config: of the run, with the size of crops.
      stage: the stage that has ended.
      state: after its last step.

    Raises:
      UserError: it cannot be written.
    """
    folder = workdir / "stages" / stage.name
    if jax.process_index() == 0:
        shutil.rmtree(folder, ignore_errors=True)
        saved.write_config(folder, config)
    distributed.max_over_processes(0)  # only now is it gone for all processes
    manager = checkpoints.open_manager(folder / "checkpoints", keep=1)
    try:
        checkpoints.save(manager, stage.last, {"generator": inference_variables(state)})
        checkpoints.finish(manager)
    finally:
        checkpoints.close(manager)
