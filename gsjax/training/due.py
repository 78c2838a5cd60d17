"""What is due at a step of a run, beside training."""

from typing import NamedTuple

from ml_collections import ConfigDict

from gsjax.training.stages import Stage


class Due(NamedTuple):
    """What is due at a step.

    Attributes:
      announcement: before it: it is the first of its stage, or of this process in that stage.
      log: of its metrics.
      validation: of the generator after it.
      stage_end: the generator is kept as that of the stage.
      checkpoint: the state is saved.
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
      stage: that the step belongs to.
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
