"""Checks a config before any work starts."""

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
from ml_collections import ConfigDict

from gsjax.config import saved
from gsjax.config.values import check_types, check_values
from gsjax.errors import UserError, at
from gsjax.models import limits, losses
from gsjax.models.metrics import BEST
from gsjax.trained.dino import check_dino, describe_networks
from gsjax.trained.initial import check_initial
from gsjax.trained.lpips import check_lpips
from gsjax.training.stages import check_begun_stages, plan

if TYPE_CHECKING:
    from gsjax.data.pipeline import Sources


def check_config(config: ConfigDict, resumes: bool = False) -> "Sources":
    """Checks that `config` can be run, and returns the image sources that it opens to do so.

    Missing data is reported first, since it takes the longest to fix. A run that
    `resumes` no longer needs the checkpoint of `config.initial`.

    Raises:
      UserError: the config cannot be run; names the field, and what would be right.
    """
    from gsjax.data.pipeline import check_data  # with Grain, which reading a run does not need

    check_types(config.to_dict())
    plan(config)
    sources = _open_inputs(config, resumes)
    _in_each_stage(check_data, config)
    check_without_inputs(config, jax.device_count())
    return sources


def check_without_inputs(config: ConfigDict, devices: int) -> None:
    """Raises UserError for mistakes in a config that show without its data and weights."""
    check_types(config.to_dict())

    def check(config: ConfigDict) -> None:
        check_values(config)
        _check_steps(config.train.steps)
        _check_best(config)
        _check_losses(config.loss)
        networks = describe_networks(config)
        limits.check_networks(networks, config.data.image_size, config.dino.image_size)
        _check_batch(config.train, devices)
        _check_decay(config.optimizer)

    _in_each_stage(check, config)


def check_resumed(workdir: str | os.PathLike, config: ConfigDict, done: int) -> None:
    """Logs what has changed since a run's `config.json` was written.

    Most fields may change. Data may change, with a warning, since the remaining steps then differ
    from those of an uninterrupted run. Networks, and stages that have begun, may not change.

    Args:
      workdir: the run's folder.
      config: the present config.
      done: the step that the run resumes after.

    Raises:
      UserError: the networks have changed, or the stages up to step `done`.
    """
    if (Path(workdir) / saved.CONFIG).exists():
        before = saved.read_config(workdir)
        saved.check_changes(before, config)
        check_begun_stages(before, config, done)


def _in_each_stage(check: Callable[[ConfigDict], None], config: ConfigDict) -> None:
    """Calls a check with the config of each stage, and with that of validation."""
    stages = plan(config)
    if not stages[0].name:
        return check(config)
    for stage in stages:
        with at(f"stage {stage.name}"):
            check(stage.config)
    validation = stages[-1].config.copy_and_resolve_references()
    validation.data = config.data
    validation.train.update(batch_size=config.train.batch_size, accumulate=1)
    check(validation)


def _open_inputs(config: ConfigDict, resumes: bool) -> "Sources":
    """Opens the images and checks the weights; a single error names everything that is missing.

    That saves time, since images and weights take long to get.
    """
    from gsjax.data import pipeline

    results: list[Any] = []
    problems: list[str] = []
    check_lpips_of_stages = functools.partial(_in_each_stage, check_lpips)
    inputs: list[Callable[[ConfigDict], Any]] = [
        *(pipeline.open_training_source, pipeline.open_validation_source),
        *(check_dino, check_lpips_of_stages),
    ]
    for open_or_check in inputs if resumes else [*inputs, check_initial]:
        try:
            results.append(open_or_check(config))
        except UserError as error:
            text, help = str(error), config.data.help
            # How to get the data set is said once.
            problems.append(text.replace(f"\n{help}", "") if problems and help else text)
    if problems:
        raise UserError("", "\n\n".join(problems))
    return pipeline.Sources(*results[:2])


def _check_best(config: ConfigDict) -> None:
    best = config.checkpoint.best
    if best and best not in BEST:
        raise UserError(
            "checkpoint.best",
            f"{best!r} is not a validation metric",
            f"there are {', '.join(BEST)}",
        )
    if best == "lpips" and not config.lpips.weights:
        raise UserError("checkpoint.best", "lpips needs lpips.weights")


def _check_losses(options: ConfigDict) -> None:
    if options.patch_labels and not options.composite:
        raise UserError(
            "loss.patch_labels",
            "needs loss.composite: without it the generator also draws the known pixels, which "
            "are not real then",
        )
    if not any(options[name] > 0 for name in losses.TERMS):
        raise UserError(
            "loss",
            "every weight is 0, so nothing is learned",
            f"set one of {', '.join(losses.TERMS)}",
        )


def _check_steps(steps: int) -> None:
    if not steps:
        raise UserError("train.steps", "0 is for a run with stages, which have their own")


def _check_batch(options: ConfigDict, devices: int) -> None:
    parts = options.accumulate * devices
    if options.batch_size % parts:
        of = f" of {jax.process_count()} processes" if jax.process_count() > 1 else ""
        raise UserError(
            "train.batch_size",
            f"{options.batch_size} is not a multiple of {parts}, for "
            f"train.accumulate={options.accumulate} on {devices} devices{of}",
        )


def _check_decay(options: ConfigDict) -> None:
    at = options.decay_at
    if list(at) != sorted(set(at)):
        raise UserError(
            "optimizer.decay_at", f"{at} must be steps in ascending order, like (1000, 2000)"
        )
    if at and options.schedule != "steps":
        raise UserError(
            "optimizer.decay_at",
            f"needs optimizer.schedule=steps, not {options.schedule}",
        )
