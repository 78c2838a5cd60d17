"""Feeds training batches, stage after stage."""

import time
from collections.abc import Iterator
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from gsjax import sharding
from gsjax.data.images import ImageSource
from gsjax.data.pipeline import training_batches, warn_unreadable
from gsjax.training.batch import Batch
from gsjax.training.stages import Stage, plan, stage_of


class Fetched(NamedTuple):
    """The batch of the next step, or why this process has none; then both are empty.

    Attributes:
      local: this process's part, from `training_batches`.
      batch: the whole batch, on the devices of all processes.
      failure: the exception, raised only after the other processes know of it.
    """

    local: dict[str, np.ndarray]
    batch: Batch
    failure: Exception | None = None


class Feed(Iterator):
    """This process's training batches, and how long training waits for them."""

    def __init__(self, config: ConfigDict, source: ImageSource, done: int):
        """Starts the workers.

        Args:
          config: of the run.
          source: the opened `config.data.train`.
          done: number of steps done.
        """
        self._stages = plan(config)
        self._source = source
        self._unreadable: set[int] = set()
        self._done = done
        self._open(stage_of(self._stages, done + 1))
        self.restart()

    def _open(self, stage: Stage) -> None:
        self._stage = stage
        self._batches = training_batches(
            stage.config,
            jax.process_index(),
            jax.process_count(),
            first_step=self._done - stage.first,
            source=self._source,
            first_example=stage.examples,
        )

    def __next__(self):
        start = time.perf_counter()
        if (stage := stage_of(self._stages, self._done + 1)) is not self._stage:
            self.close()
            self._open(stage)
        batch = next(self._batches)
        self._waited += time.perf_counter() - start
        self._steps += 1
        self._done += 1
        warn_unreadable(batch, self._source, self._unreadable)
        return {name: array for name, array in batch.items() if name != "unreadable"}

    def fetch(self, mesh: Mesh) -> Fetched:
        """Returns the next batch; exceptions become `failure`."""
        try:
            local = next(self)
            return Fetched(local, sharding.put_batch(local, mesh))
        except Exception as error:
            return Fetched({}, {}, error)

    def rates(self) -> dict[str, float]:
        """Returns the speed since the last call, and the fraction of time waiting for data."""
        elapsed = time.perf_counter() - self._start
        rates = {
            "images_per_second": self._steps * self._stage.config.train.batch_size / elapsed,
            "data/wait_fraction": self._waited / elapsed,
            "data/unreadable": len(self._unreadable),
        }
        self.restart()
        return rates

    def close(self) -> None:
        """Ends the worker processes."""
        self._batches.close()

    def restart(self) -> None:
        """Restarts the clock, so that the time since the last rates does not count."""
        self._start, self._waited, self._steps = time.perf_counter(), 0.0, 0
