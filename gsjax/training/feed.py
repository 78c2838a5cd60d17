"""What a run is fed: training batches, stage after stage."""

import time
from collections.abc import Iterator

from ml_collections import ConfigDict

from gsjax.data.images import ImageSource
from gsjax.data.pipeline import training_batches, warn_unreadable
from gsjax.training.stages import Stage, plan, stage_of


class Feed(Iterator):
    """This process's training batches, and how long training waits for them."""

    def __init__(
        self, config: ConfigDict, source: ImageSource, process: int, processes: int, done: int
    ):
        """Starts the workers.

        Args:
          config: of the run.
          source: `config.data.train`, open.
          process: which of the processes this is.
          processes: how many there are.
          done: steps of the run that are done.
        """
        self._stages, self._process, self._processes = plan(config), process, processes
        self._source = source
        self._unreadable: set[int] = set()
        self._done = done
        self._open(stage_of(self._stages, done + 1))
        self.restart()

    def _open(self, stage: Stage) -> None:
        self._stage = stage
        self._batches = training_batches(
            stage.config,
            self._process,
            self._processes,
            self._done - stage.first,
            self._source,
            stage.examples,
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

    def rates(self) -> dict[str, float]:
        """Returns the speed since the last call, over all processes, and the data's part in it."""
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
        """Lets the time since the last rates go uncounted."""
        self._start, self._waited, self._steps = time.perf_counter(), 0.0, 0
