"""A run, from its config to its last checkpoint."""

import contextlib
from pathlib import Path
from typing import NamedTuple

import jax
from ml_collections import ConfigDict

from gsjax import distributed
from gsjax.errors import UserError
from gsjax.progress import progress_bar
from gsjax.trained import checkpoints
from gsjax.training.agreement import Vote, start_vote
from gsjax.training.compiled_steps import TrainSteps
from gsjax.training.due import due_at
from gsjax.training.feed import Feed
from gsjax.training.open_run import open_run
from gsjax.training.preparation import prepare
from gsjax.training.reporting import announce, announce_stage, log_step
from gsjax.training.skips import Skips
from gsjax.training.stage_ends import save_stage_end
from gsjax.training.stages import plan, stage_of, with_total_steps
from gsjax.training.termination import termination
from gsjax.training.validator import Validator


class Outcome(NamedTuple):
    """The outcome of a run.

    Attributes:
      steps: total number of steps done.
      values: the metrics of the last validation; empty if the run was stopped.
      stopped: whether SIGTERM or Ctrl-C ended it; the state is saved, and the same command resumes.
    """

    steps: int
    values: dict[str, float]
    stopped: bool = False


def train(config: ConfigDict, workdir: Path) -> Outcome:
    """Trains up to the last step of the last stage, resuming from the checkpoints in `workdir`.

    Every stage ends with a checkpoint and a validation, whose images have the size that the config
    sets outside of its stages.

    Raises:
      UserError: the config is invalid, or data or weights are missing (raised before anything is
        written); or too many steps had a NaN or infinite loss.
    """
    config, trained = with_total_steps(config), False
    alone, first = jax.process_count() == 1, jax.process_index() == 0
    with contextlib.ExitStack() as stack:
        # With several processes, none may exit alone, even if there is nothing to save.
        stop_requested = stack.enter_context(termination(lambda: alone and not trained))
        prepared = prepare(config, workdir)
        stages = plan(config)  # after `prepare`, which completes config.dino
        run, state = open_run(config, workdir, prepared, stack)
        feed = Feed(config, prepared.sources.training, run.done)
        stack.callback(feed.close)
        # On a CPU, the compiler would compete with the running program for cores.
        ahead, mesh = jax.default_backend() != "cpu", prepared.mesh
        train_steps = TrainSteps(stages, prepared.networks, state, prepared.frozen, mesh, ahead)
        stack.callback(train_steps.close)
        validator = Validator(config, workdir, prepared, run, stop_requested)
        skips = Skips(workdir, config.train.max_skipped, int(state.skipped))
        announce(config, workdir, state, run.done)
        bar = progress_bar(config.train.steps, run.done, "training", active=first)
        stack.enter_context(bar)

        validator.catch_up(state)
        feed.restart()
        step, vote, values = run.done, Vote.CONTINUE, {}
        while step < config.train.steps:
            fetched = feed.fetch(mesh)
            all_votes = start_vote(stop_requested(), failed=fetched.failure is not None)
            skips.check()  # waits, so that at most one step runs while the next is fed
            if vote := all_votes():
                break
            step += 1
            stage = stage_of(stages, step)
            due = due_at(config, stage, step, run.done)
            if due.announcement:
                announce_stage(stage, len(stages), bar)
            state, metrics = train_steps(step, state, fetched.batch)
            trained = True
            skips.watch(step, metrics, fetched.local)
            if due.log:
                log_step(run.log, bar, step, stage, metrics, feed)
            bar.update()
            if due.validation:
                values = validator(step, state)
                feed.restart()
            if due.stage_end:  # first: a run that resumes from the checkpoint is past it
                save_stage_end(workdir, config, stage, state)
            if due.checkpoint:
                checkpoints.save(run.checkpoints, step, state)
        skips.check()
        if vote and step > run.done:
            checkpoints.save(run.checkpoints, step, state)
        checkpoints.finish(run.checkpoints)
        if vote == Vote.FAIL:
            raise fetched.failure or UserError("", distributed.OTHER_FAILED)
        if vote == Vote.STOP:
            return Outcome(step, {}, stopped=True)
        # There are none if the run was already complete, or its last validation was stopped.
        values = values or validator(step, state)
        return Outcome(step, values, stopped=not values)
