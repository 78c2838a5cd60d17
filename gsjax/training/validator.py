"""Runs and records the validations of a run, and makes up for an interrupted one."""

from collections.abc import Callable, Iterator
from pathlib import Path

import jax
from ml_collections import ConfigDict

from gsjax import distributed, sharding
from gsjax.data.examples import bands
from gsjax.models.build import Networks
from gsjax.training import record
from gsjax.training.agreement import StopRequested, until_stop
from gsjax.training.batch import Batch
from gsjax.training.dino_scores import TokenMeans, make_token_means, token_means
from gsjax.training.due import due_at
from gsjax.training.open_run import OpenRun
from gsjax.training.preparation import Prepared
from gsjax.training.stages import plan, stage_of
from gsjax.training.state import TrainState, inference_variables
from gsjax.training.validation import make_validation_step, validate


class Validator:
    """Validates the generator of a run, records how good it is, and keeps the best."""

    def __init__(
        self,
        config: ConfigDict,
        workdir: Path,
        prepared: Prepared,
        run: OpenRun,
        stop_requested: Callable[[], bool],
    ):
        """Compiles nothing yet.

        Args:
          config: of the run.
          workdir: its folder.
          prepared: from `prepare`.
          run: from `open_run`.
          stop_requested: returns whether this process was requested to stop.
        """
        self._config, self._workdir, self._prepared, self._run = config, workdir, prepared, run
        self._stop_requested = stop_requested
        self._step = jitted_validation(config, prepared.networks, prepared.mesh)
        self._means: TokenMeans | None = None  # from the first validation on

    def __call__(self, step: int, state: TrainState) -> dict[str, float]:
        """Returns the metrics after a step, as `val/NAME`.

        Empty if a stop was requested before the last batch. Then nothing is recorded, and the run
        validates when it resumes.
        """
        prepared, config, generator = self._prepared, self._config, inference_variables(state)
        try:
            if config.validate.dino and self._means is None:
                sums = jitted_means(config, prepared.networks, prepared.mesh)
                self._means = token_means(sums, prepared.frozen, self._batches())
            values, grid = validate(
                self._step,
                generator,
                prepared.frozen | ({} if self._means is None else {"dino_means": self._means}),
                self._batches(),
                config.validate.samples,
                [band.name for band in bands(config.validate)],
            )
        except StopRequested:
            return {}
        # Before recording, since a recorded validation is not repeated after a kill.
        if self._run.best:
            self._run.best.offer(step, values, generator)
        # A complete run that is started again may have recorded the same values already.
        if step > self._run.done or values != record.last_validation(self._workdir, step):
            self._run.log.scalars(step, values)
        self._run.log.image(step, "validation", grid)
        return values

    def _batches(self) -> Iterator[Batch]:
        """Yields the batches; raises StopRequested in between."""
        for batch in until_stop(self._prepared.validation_data, self._stop_requested):
            yield sharding.put_batch(batch, self._prepared.mesh)

    def catch_up(self, state: TrainState) -> None:
        """Validates the state that the run resumes from, if its validation was interrupted."""
        config, done = self._config, self._run.done
        stage = stage_of(plan(config), done)
        due = 0 < done < config.train.steps and due_at(config, stage, done, done).validation
        missed = due and not record.last_validation(self._workdir, done)
        if distributed.max_over_processes(missed and jax.process_index() == 0):
            self(done, state)


def jitted_validation(config: ConfigDict, networks: Networks, mesh: jax.sharding.Mesh) -> Callable:
    """Returns the validation step."""
    step = sharding.on_mesh(make_validation_step(config, networks), mesh)
    return jax.jit(step, out_shardings=sharding.replicated(mesh))


def jitted_means(config: ConfigDict, networks: Networks, mesh: jax.sharding.Mesh) -> Callable:
    """Returns the step of `token_means`."""
    step = sharding.on_mesh(make_token_means(config, networks), mesh)
    return jax.jit(step, out_shardings=sharding.replicated(mesh))
