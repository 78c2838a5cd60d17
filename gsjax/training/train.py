"""A run, from its config to its last checkpoint."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import tqdm
from absl import logging
from jax.sharding import Mesh
from jaxtyping import PyTree
from ml_collections import ConfigDict

from gsjax import distributed, sharding
from gsjax.config import saved
from gsjax.data.examples import bands
from gsjax.data.images import ImageSource
from gsjax.data.pipeline import Sources, validation_batches, warn_unreadable
from gsjax.errors import UserError
from gsjax.models.build import Networks, build_networks
from gsjax.progress import progress_bar
from gsjax.trained import checkpoints
from gsjax.trained.dino import describe_dino, load_dino
from gsjax.trained.initial import load_initial
from gsjax.trained.lpips import load_lpips
from gsjax.training import guards, record
from gsjax.training.batch import Batch
from gsjax.training.best import Best
from gsjax.training.checks import check_config, check_resumed
from gsjax.training.compiled_steps import TrainSteps
from gsjax.training.feed import Feed
from gsjax.training.images_seen import note_images
from gsjax.training.stage_ends import keep_end, set_others_aside
from gsjax.training.stages import Stage, plan, stage_of, whole
from gsjax.training.state import (
    TrainState,
    abstract_state,
    init_state,
    pictured,
)
from gsjax.training.validation import make_validation_step, validate
from gsjax.training.workdir import check_shared, only_run

# What a process asks of all before a step; the highest is done.
_GO_ON, _STOP, _FAIL = range(3)


class _StopAsked(Exception):
    """Ends a validation."""


class Outcome(NamedTuple):
    """How a run ended.

    Attributes:
      steps: those done in all.
      values: the metrics of the last validation; none if the run was stopped.
      stopped: whether SIGTERM ended it; the state is saved, the same command resumes.
    """

    steps: int
    values: dict[str, float]
    stopped: bool = False


def train(config: ConfigDict, workdir: Path) -> Outcome:
    """Trains up to the last step of the last stage, resuming from what is in `workdir`.

    Every stage ends with a checkpoint and a validation, whose images have the size that the
    config names outside of stages.

    Raises:
      UserError: a mistake in the config, or data or weights that are missing, said
        before anything is written; or too many steps with a NaN or infinite loss.
    """
    process, processes = jax.process_index(), jax.process_count()
    config, trained = whole(config), False
    with contextlib.ExitStack() as stack:
        # Of several processes, one alone cannot just leave.
        stop_asked = stack.enter_context(guards.termination(lambda: processes == 1 and not trained))
        mesh, networks, frozen, sources, validation_data, initial = prepare(config, workdir)
        stages = plan(config)  # only now does config.dino say what its folder holds
        check_shared(workdir)
        stack.enter_context(only_run(workdir))
        manager = checkpoints.open_manager(workdir / "checkpoints", config.checkpoint.keep)
        stack.callback(checkpoints.close, manager)
        stack.enter_context(distributed.shared_fate(lambda: checkpoints.finish(manager)))
        restored = checkpoints.restore_latest(manager, abstract_state(config, networks, mesh))
        state, done = restored or (init_state(config, networks, mesh, initial), 0)
        log = record.open_record(workdir, done, active=process == 0)
        stack.callback(log.close)
        best = Best(workdir, config, done) if config.checkpoint.best else None
        if best:
            stack.callback(best.close)
        set_others_aside(workdir, done)
        feed = Feed(config, sources.training, process, processes, done)
        stack.callback(feed.close)
        if process == 0:
            saved.write_config(workdir, config)
            note_images(workdir, sources.training, resumes=done > 0)
            announce(config, workdir, state, done)

        # On a CPU, the compiler would take its cores from the program that runs.
        ahead = jax.default_backend() != "cpu"
        train_steps = TrainSteps(stages, networks, state, frozen, mesh, ahead)
        stack.callback(train_steps.close)
        validation_step = jitted_validation(config, networks, mesh)

        def validation_feed() -> Iterator[Batch]:
            for batch in validation_data:
                if distributed.highest(stop_asked()):
                    raise _StopAsked
                yield sharding.put_batch(batch, mesh)

        def run_validation(step: int) -> dict[str, float]:
            """Returns nothing if a stop is asked for on the way; it is made up for later."""
            try:
                values, grid = validate(
                    validation_step,
                    pictured(state),
                    frozen,
                    validation_feed(),
                    config.validate.samples,
                    [band.name for band in bands(config)],
                )
            except _StopAsked:
                return {}
            # First, since what is recorded is not validated again after a kill.
            if best:
                best.offer(step, values, pictured(state))
            # Of a run that was done, and is started again, it may be there already.
            if step > done or values != record.last_validation(workdir, step):
                log.scalars(step, values)
            log.image(step, "validation", grid)
            return values

        values = {}
        skips = guards.Skips(workdir, config.train.max_skipped, int(state.skipped))
        bar = progress_bar(config.train.steps, done, "training", active=process == 0)
        stack.enter_context(bar)
        ended = done == stage_of(stages, done).last
        due = 0 < done < config.train.steps and (ended or done % config.validate.every == 0)
        due = due and process == 0 and not record.last_validation(workdir, done)
        if distributed.highest(due):  # a stop or a kill came before it
            run_validation(done)
        feed.restart()
        step, last_step, verdict = done, None, _GO_ON
        while step < config.train.steps:
            failure = None
            try:
                fed = next(feed)
                batch = sharding.put_batch(fed, mesh)
            except Exception as error:
                failure = error
            # The data's processes may have been asked to stop as well, which is no failure.
            ask = _STOP if stop_asked() else _FAIL if failure else _GO_ON
            told = distributed.highest_later(ask)
            if last_step:  # waits: one step computes while the next is fed, no more
                skips.check(*last_step)
                last_step = None
            if verdict := told():
                break
            step += 1
            stage = stage_of(stages, step)
            if stage.name and step in (done + 1, stage.first + 1):
                announce_stage(stage, len(stages), bar)
            state, metrics = train_steps(step, state, batch)
            trained = True
            last_step = step, metrics, fed
            last = step == stage.last
            save = last or step % config.checkpoint.every == 0
            if save or step in (done + 1, stage.first + 1) or step % config.log.every == 0:
                scalars = {name: float(value) for name, value in metrics.items()} | feed.rates()
                scalars |= {"stage": stage.index + 1} if stage.name else {}
                log.scalars(step, scalars)
                loss, rate = scalars["loss/total"], scalars["images_per_second"]
                bar.set_postfix_str(f"loss {loss:.3f} · {rate:.0f} images/s", refresh=False)
            bar.update()
            if last or step % config.validate.every == 0:
                values = run_validation(step)
                feed.restart()
            if last and stage.name:  # first: from the checkpoint on, it is not done again
                keep_end(workdir, config, stage, state)
            if save:
                checkpoints.save(manager, step, state)
        if last_step:
            skips.check(*last_step)
        if verdict and step > done:
            checkpoints.save(manager, step, state)
        checkpoints.finish(manager)
        if verdict == _FAIL:
            raise failure or UserError(distributed.OTHER_FAILED)
        values = {} if verdict == _STOP else values or run_validation(step)
        return Outcome(step, values, stopped=not values)


class Prepared(NamedTuple):
    """What a run needs beside its state.

    Attributes:
      mesh: of all devices.
      networks: the modules.
      frozen: the variables of dino and lpips.
      sources: the images.
      validation_data: this process's batches.
      initial: networks to start from, if any.
    """

    mesh: Mesh
    networks: Networks
    frozen: PyTree
    sources: Sources
    validation_data: list[dict]
    initial: dict[str, PyTree]


def prepare(config: ConfigDict, workdir: Path) -> Prepared:
    """Checks the config and loads data and weights; nothing is written.

    Raises:
      UserError: as `train`, on all processes if on one.
    """
    process, processes = jax.process_index(), jax.process_count()
    found = process == 0 and checkpoints.latest_step(workdir / "checkpoints") is not None
    resumes = bool(distributed.highest(found))
    with distributed.together():
        describe_dino(config)
        sources = check_config(config, resumes)
        mesh = sharding.make_mesh(config.mesh.data, config.mesh.fsdp)
    for first in (True, False):  # machines that share a cache of weights share no locks in it
        with distributed.together():
            if first == (process == 0):
                dino, dino_variables = load_dino(config)
                lpips, lpips_variables = load_lpips(config)
    with distributed.together():
        networks = build_networks(config, dino, lpips)
        validation_data = load_validation_data(config, sources.validation, process, processes)
        initial = {} if resumes else load_initial(config, networks)
        if resumes and process == 0:
            done = checkpoints.latest_step(workdir / "checkpoints")
            check_resumed(workdir, config, done)
    if dino is not None and config.dino.weights == "random" and process == 0:
        logging.warning(
            "dino.weights is 'random': the semantic branch runs on an UNTRAINED DINO %s; "
            "its loss means little. Give a file of weights for real training.",
            config.dino.size,
        )
    frozen = {"dino": dino_variables, "lpips": lpips_variables}
    frozen = {
        name: sharding.put(variables, sharding.of_frozen(variables, mesh))
        for name, variables in frozen.items()
    }
    return Prepared(mesh, networks, frozen, sources, validation_data, initial)


def jitted_validation(config: ConfigDict, networks: Networks, mesh: Mesh) -> Callable:
    """Returns the validation step."""
    step = sharding.on_mesh(make_validation_step(config, networks), mesh)
    return jax.jit(step, out_shardings=sharding.replicated(mesh))


def load_validation_data(
    config: ConfigDict, source: ImageSource, process: int, processes: int
) -> list[dict]:
    """Returns this process's part of the validation batches, after a look for unreadable images."""
    batches = validation_batches(config, config.train.batch_size, process, processes, source)
    seen = set()
    for batch in batches:
        warn_unreadable(batch, source, seen)
        del batch["unreadable"]
    return batches


def announce(config: ConfigDict, workdir: Path, state: TrainState, done: int) -> None:
    """Says what is about to run, on stderr."""
    sizes = [
        sum(array.size for array in jax.tree.leaves(network)) / 1e6
        for network in (state.generator, state.discriminator)
    ]
    device = jax.devices()[0]
    of = f" of {jax.process_count()} processes" if jax.process_count() > 1 else ""
    resuming = f", resuming after step {done}" if done else ""
    parts = [
        f"{stage.config.train.steps} steps of {stage.config.train.batch_size} images"
        + (f" of {_size(stage)} ({stage.name})" if stage.name else "")
        for stage in plan(config)
    ]
    print(
        f"{workdir}: generator {sizes[0]:.1f} M parameters, discriminator {sizes[1]:.1f} M; "
        f"{jax.device_count()} {device.device_kind} device(s){of}, {', '.join(parts)}{resuming}",
        file=sys.stderr,
    )


def announce_stage(stage: Stage, stages: int, bar: tqdm.tqdm) -> None:
    """Says which stage is about to run, on stderr and in front of the progress bar."""
    bar.set_description_str(f"training, stage {stage.name}", refresh=False)
    if jax.process_index() == 0:
        logging.info(
            "stage %s, %d of %d: up to step %d, %d images of %s a step",
            *(stage.name, stage.index + 1, stages, stage.last),
            *(stage.config.train.batch_size, _size(stage)),
        )


def _size(stage: Stage) -> str:
    return "×".join(map(str, stage.config.data.image_size))
