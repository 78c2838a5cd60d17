"""A run, from its config to its last checkpoint."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from gsjax import checkpoints, guards, record, sharding
from gsjax.best import Best
from gsjax.checks import check_config
from gsjax.data.examples import bands
from gsjax.data.pipeline import (
    open_training_source,
    open_validation_source,
    training_batches,
    validation_batches,
    warn_unreadable,
)
from gsjax.perceptual import load_lpips
from gsjax.semantic import load_dino
from gsjax.state import (
    Networks,
    TrainState,
    abstract_state,
    build_networks,
    init_state,
    load_initial,
    pictured,
)
from gsjax.step import Batch, make_train_step
from gsjax.validation import make_validation_step, validate


class _StopAsked(Exception):
    """Ends a validation."""


class Outcome(NamedTuple):
    """How a run ended.

    Attributes:
      steps: those done in all.
      values: the metrics of the last validation; none if the run was stopped.
      stopped: whether SIGTERM ended it; the state is saved, the same command goes on.
    """

    steps: int
    values: dict[str, float]
    stopped: bool = False


def train(config: ConfigDict, workdir: Path) -> Outcome:
    """Trains up to step `config.train.steps`, going on from what is in `workdir`.

    Raises:
      UserError: a mistake in the config, or data or weights that are missing, said
        before anything is written; or too many steps whose loss is no number.
    """
    resumes = checkpoints.latest_step(workdir / "checkpoints") is not None
    check_config(config, resumes)
    mesh = sharding.make_mesh(config.mesh.data, config.mesh.fsdp)
    process, processes = jax.process_index(), jax.process_count()
    dino, dino_variables = load_dino(config)
    lpips, lpips_variables = load_lpips(config)
    networks = build_networks(config, dino, lpips)
    frozen = {"dino": dino_variables, "lpips": lpips_variables}
    where = {name: sharding.of_frozen(variables, mesh) for name, variables in frozen.items()}
    frozen = jax.device_put(frozen, where)
    validation_data = load_validation_data(config, process, processes)
    initial = {} if resumes else load_initial(config, networks)

    if resumes:
        record.check_changes(workdir, config)

    trained = False
    with contextlib.ExitStack() as stack:
        stop_asked = stack.enter_context(guards.termination(lambda: not trained))
        manager = checkpoints.open_manager(workdir / "checkpoints", config.checkpoint.keep)
        stack.callback(checkpoints.close, manager)
        restored = checkpoints.restore_latest(manager, abstract_state(config, networks, mesh))
        state, done = restored or (init_state(config, networks, mesh, initial), 0)
        log = record.open_record(workdir, done, active=process == 0)
        stack.callback(log.close)
        best = Best(workdir, config.checkpoint.best, done) if config.checkpoint.best else None
        if best:
            stack.callback(best.close)
        feed = Feed(config, process, processes, done)
        stack.callback(feed.close)
        if process == 0:
            record.write_config(workdir, config)
            announce(config, workdir, state, done)

        train_step, validation_step = jitted_steps(config, networks, state, mesh)

        def validation_feed() -> Iterator[Batch]:
            for batch in validation_data:
                if stop_asked():
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
            log.scalars(step, values)
            log.image(step, "validation", grid)
            if best:
                best.offer(step, values, pictured(state))
            return values

        values, metrics, fed = {}, None, None
        skips = guards.Skips(workdir, config.train.max_skipped, int(state.skipped))
        bar = record.progress_bar(config.train.steps, done, "training", active=process == 0)
        stack.enter_context(bar)
        due = 0 < done < config.train.steps and done % config.validate.every == 0
        if due and not record.has_validation(workdir, done):  # a stop or a kill came before it
            run_validation(done)
        feed.restart()
        stopped, step = False, done
        while step < config.train.steps and not (stopped := stop_asked()):
            try:
                fed, fed_before = next(feed), fed
            except Exception:
                # The data's processes may have been asked to stop as well.
                if stopped := stop_asked():
                    break
                raise
            step += 1
            batch = sharding.put_batch(fed, mesh)
            if metrics is not None:  # waits: one step computes while the next is fed, no more
                skips.check(step - 1, metrics, fed_before)
            adversarial = step > config.loss.gan_start and config.loss.gan > 0
            state, metrics = train_step(state, frozen, batch, adversarial=adversarial)
            trained = True
            last = step == config.train.steps
            save = last or step % config.checkpoint.every == 0
            if save or step == done + 1 or step % config.log.every == 0:
                scalars = {name: float(value) for name, value in metrics.items()} | feed.rates()
                log.scalars(step, scalars)
                loss, rate = scalars["loss/total"], scalars["images_per_second"]
                bar.set_postfix_str(f"loss {loss:.3f} · {rate:.0f} images/s", refresh=False)
            bar.update()
            if last or step % config.validate.every == 0:
                values = run_validation(step)
                feed.restart()
            if save:
                checkpoints.save(manager, step, state)
        if metrics is not None:
            skips.check(step, metrics, fed)
        if stopped:
            checkpoints.save(manager, step, state)
        checkpoints.finish(manager)
        if not stopped:
            values = values or run_validation(step)
            stopped = not values
        return Outcome(step, {} if stopped else values, stopped)


def jitted_steps(
    config: ConfigDict, networks: Networks, state: TrainState, mesh: Mesh
) -> tuple[Callable, Callable]:
    """Returns the train step, which takes the place of its state, and the validation step."""
    everywhere = sharding.replicated(mesh)
    train_step = jax.jit(
        sharding.on_mesh(make_train_step(config, networks), mesh),
        static_argnames="adversarial",
        donate_argnums=0,
        out_shardings=(sharding.of(state), everywhere),
    )
    validation_step = sharding.on_mesh(make_validation_step(config, networks), mesh)
    return train_step, jax.jit(validation_step, out_shardings=everywhere)


def load_validation_data(config: ConfigDict, process: int, processes: int) -> list[dict]:
    """Returns this process's part of the validation batches, after a look for unreadable images."""
    batches = validation_batches(config, config.train.batch_size, process, processes)
    source, seen = open_validation_source(config), set()
    for batch in batches:
        warn_unreadable(batch, source, seen)
        del batch["unreadable"]
    return batches


class Feed(Iterator):
    """This process's training batches, and how long training waits for them."""

    def __init__(self, config: ConfigDict, process: int, processes: int, done: int):
        self._source = open_training_source(config)
        self._batches = training_batches(config, process, processes, done, self._source)
        self._batch_size = config.train.batch_size
        self._unreadable: set[int] = set()
        self.restart()

    def __next__(self):
        start = time.perf_counter()
        batch = next(self._batches)
        self._waited += time.perf_counter() - start
        self._steps += 1
        warn_unreadable(batch, self._source, self._unreadable)
        return {name: array for name, array in batch.items() if name != "unreadable"}

    def rates(self) -> dict[str, float]:
        """Returns the speed since the last call, over all processes, and the data's part in it."""
        elapsed = time.perf_counter() - self._start
        rates = {
            "images_per_second": self._steps * self._batch_size / elapsed,
            "data/wait_fraction": self._waited / elapsed,
            "data/unreadable": len(self._unreadable),
        }
        self.restart()
        return rates

    def close(self) -> None:
        """Ends the worker processes."""
        self._batches.close()

    def restart(self) -> None:
        """Lets the time since the last rates go uncounted."""
        self._start, self._waited, self._steps = time.perf_counter(), 0.0, 0


def announce(config: ConfigDict, workdir: Path, state: TrainState, done: int) -> None:
    """Says what is about to run, on stderr."""
    sizes = [
        sum(array.size for array in jax.tree.leaves(network)) / 1e6
        for network in (state.generator, state.discriminator)
    ]
    device = jax.devices()[0]
    goes_on = f", going on after step {done}" if done else ""
    print(
        f"{workdir}: generator {sizes[0]:.1f} M parameters, discriminator {sizes[1]:.1f} M; "
        f"{jax.device_count()} {device.device_kind} device(s), "
        f"{config.train.steps} steps of {config.train.batch_size} images{goes_on}",
        file=sys.stderr,
    )
