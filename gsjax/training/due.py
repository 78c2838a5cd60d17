"""Decides what is due at a step: logging, validation, checkpoints."""

from typing import NamedTuple

from ml_collections import ConfigDict

from gsjax.training.stages import Stage


class Due(NamedTuple):
    """What is due at a step.

    Attributes:
      announcement: announce the stage; the step is its first, or the first of this process in it.
      log: log its metrics.
      validation: validate the generator after the step.
      stage_end: save the generator as that of the stage.
      checkpoint: save the state.
    """

    announcement: bool
    log: bool
    validation: bool
    stage_end: bool
    checkpoint: bool


def due_at(config: ConfigDict, stage: Stage, step: int, done: int) -> Due:
    """Returns what is due at a step.

    Args:
      config: of the run.
      stage: the stage of the step.
      step: its number, from 1.
      done: the step that the run resumed after; 0 for a new run.
    """
    first, last = step in (done + 1, stage.first + 1), step == stage.last
    checkpoint = last or step % config.checkpoint.every == 0
    return Due(
        announcement=first and bool(stage.name),
        log=first or checkpoint or step % config.log.every == 0,
        validation=last or step % config.validate.every == 0,
        stage_end=last and bool(stage.name),
        checkpoint=checkpoint,
    )
