"""The generator that validated best, kept beside the last states of a run."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import jax
import orbax.checkpoint as ocp
from absl import logging
from jaxtyping import PyTree

from gsjax import checkpoints, distributed
from gsjax.files import write_atomically

# Of metrics that start so, less is better; of all others, more.
_LESS_IS_BETTER = ("l1", "lpips")


class Best:
    """The folder `best` of a run: one checkpoint, and in `best.json` what is known of it."""

    def __init__(self, workdir: Path, metric: str, done: int):
        """Opens it.

        Args:
          workdir: the run's folder.
          metric: the name of a validation metric without `val/`.
          done: the step that the run goes on after. What was kept later, or by another
            metric, is not of this run any more and makes way for the next.
        """
        self._folder, self._metric = Path(workdir) / "best", metric
        self._sign = -1.0 if metric.startswith(_LESS_IS_BETTER) else 1.0
        self._best = self._known(done)
        of_another_run = self._best is None and self._holds_something()
        if distributed.highest(of_another_run):
            self._best = None
            if jax.process_index() == 0:
                logging.warning("%s is not of this metric and run and is replaced", self._folder)
                shutil.rmtree(self._folder)
        self._manager: ocp.CheckpointManager = checkpoints.open_manager(self._folder, keep=1)

    def _known(self, done: int) -> float | None:
        step = checkpoints.latest_step(self._folder)
        try:
            kept = json.loads((self._folder / "best.json").read_text())
            fits = kept["metric"] == self._metric and kept["step"] == step and step <= done
            return float(kept["value"]) if fits else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _holds_something(self) -> bool:
        # A run that ended before its first validation leaves the folder empty.
        known = (self._folder / "best.json").exists()
        return known or checkpoints.latest_step(self._folder) is not None

    def offer(self, step: int, values: Mapping[str, float], generator: PyTree) -> None:
        """Keeps the generator if its value is better than that of the one that is kept.

        Args:
          step: after which it was validated.
          values: the metrics, as `val/NAME`.
          generator: its variables.

        Raises:
          UserError: if it cannot be written.
        """
        value = values[f"val/{self._metric}"]
        better = self._best is None or self._sign * value > self._sign * self._best
        if better and checkpoints.save(self._manager, step, {"generator": generator}):
            checkpoints.finish(self._manager)  # only then may best.json speak of it
            self._best = value
            if jax.process_index() == 0:
                known = {"metric": self._metric, "step": step, "value": value}
                write_atomically(self._folder / "best.json", json.dumps(known).encode() + b"\n")

    def close(self) -> None:
        """Closes the folder."""
        checkpoints.close(self._manager)
