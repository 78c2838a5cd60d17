"""Stages of a run: parts with their own crops, batches, losses and learning rates.

Everything that counts steps restarts with each stage: the learning rate and its warmup,
`gan_start`, the curriculum of the masks and the warmup of the average. Only the counts of steps and
of training examples continue, so that no two stages draw the same holes.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

from gsjax.config.fields import check_type
from gsjax.config.groups import FIELDS
from gsjax.config.values import stage_fields
from gsjax.errors import UserError, check_whole, suggestion
from gsjax.models import losses


class Stage(NamedTuple):
    """A stage of a run.

    Attributes:
      index: its index, from 0.
      name: in `config.stages`; "" if the run has no stages and is a single one.
      config: of a run that consists of this stage only, with its own `train.steps`.
      first: number of steps of the run that are done when it begins.
      last: number of steps of the run that are done when it ends.
      examples: number of training examples used by earlier stages.
    """

    index: int  # type: ignore[assignment]  # hides tuple.index
    name: str
    config: ConfigDict
    first: int
    last: int
    examples: int

    def adversarial(self, step: int) -> bool:
        """Whether the discriminator takes part in step number `step` of the run, from 1."""
        return losses.is_adversarial(self.config.loss, step - self.first)


def plan(config: ConfigDict) -> tuple[Stage, ...]:
    """Returns the stages in `config.train.stages`; a run without stages is a single one.

    Raises:
      UserError: a stage is not described, sets a field that stages may not set, or has no steps.
    """
    # Missing in the configs of older runs.
    names = config.train.get("stages", ())
    if not names:
        return (Stage(0, "", config, 0, config.train.steps, 0),)
    _check_names(names, config.stages)
    stages, steps, examples = [], 0, 0
    for index, name in enumerate(names):
        of_stage = _config_of(config, name)
        last = steps + of_stage.train.steps
        stages.append(Stage(index, name, of_stage, steps, last, examples))
        examples += of_stage.train.steps * of_stage.train.batch_size
        steps = last
    if config.train.steps not in (0, steps):
        raise UserError(
            "train.steps",
            f"{config.train.steps} is not the sum of the stages' steps, {steps}",
            f"leave it at 0 and set stages.{names[-1]}.steps or those of other stages",
        )
    return tuple(stages)


def stage_of(stages: Sequence[Stage], step: int) -> Stage:
    """Returns the stage of step number `step`, from 1; the last stage for steps beyond it."""
    return next((stage for stage in stages if step <= stage.last), stages[-1])


def with_total_steps(config: ConfigDict) -> ConfigDict:
    """Returns a run's config with `train.steps` set to the total of its stages.

    Raises:
      UserError: as for `plan`.
    """
    steps = plan(config)[-1].last
    if steps != config.train.steps:
        config = config.copy_and_resolve_references()
        config.train.steps = steps
    return config


def check_begun_stages(before: ConfigDict, now: ConfigDict, done: int) -> None:
    """Raises UserError unless two configs have the same stages up to step `done`.

    Stages that have not begun may change, and the current one may become longer or shorter.
    """
    was, here = (_begun(plan(config), done) for config in (before, now))
    if was != here:
        raise UserError(
            "train.stages",
            f"this run resumes after step {done}, until which it has begun {_as_text(was)}; now "
            f"that would have been {_as_text(here)}",
            "set stages.NAME.steps and train.stages back, or start another --workdir from this one "
            "with --config.initial",
        )


def _begun(stages: Sequence[Stage], done: int) -> list[tuple[str, int]]:
    return [(stage.name, stage.first) for stage in stages if stage.first < done]


def _as_text(begun: Sequence[tuple[str, int]]) -> str:
    if begun == [("", 0)]:
        return "no stages"
    return ", ".join(f"{name} after step {first}" for name, first in begun)


def _check_names(names: Sequence[str], described: ConfigDict) -> None:
    known = ", ".join(described) or "none"
    for name in names:
        if not isinstance(name, str) or not isinstance(described.get(name), ConfigDict):
            raise UserError(
                "train.stages", f"{name!r} is not described in stages", f"there are {known}"
            )
    if len(set(names)) < len(names):
        raise UserError("train.stages", f"{names} names a stage twice")


def _config_of(config: ConfigDict, name: str) -> ConfigDict:
    """Returns the config of a run that consists of one stage only."""
    fields = flatten_dict(config.stages[name].to_dict(), sep=".")
    steps = fields.pop("steps", None)
    check_whole(steps, 1, f"stages.{name}.steps")
    of_stage = config.copy_and_resolve_references()
    of_stage.stages, of_stage.train.stages, of_stage.train.steps = ConfigDict(), (), steps
    of_stage.lock()
    for field, value in fields.items():
        where = f"stages.{name}.{field}"
        if field not in FIELDS:
            meant = suggestion(field, list(FIELDS))
            hint = f"; did you mean {meant}?" if meant else ""
            raise UserError(f"{where}={value!r}", f"there is no field {field}{hint}")
        if not FIELDS[field].stage:
            raise UserError(
                where, f"a stage cannot set {field}", f"it can set {', '.join(stage_fields())}"
            )
        check_type(dataclasses.replace(FIELDS[field], name=where), value)
        of_stage.update_from_flattened_dict({field: value})
    if (of_stage.train.ema > 0) != (config.train.ema > 0):
        raise UserError(
            f"stages.{name}.train.ema",
            f"{of_stage.train.ema} is not possible where train.ema is {config.train.ema}: all "
            "stages keep an average of the generator, or none does",
        )
    return of_stage
