"""The generator that validated best, kept beside the last states of a run."""

import os
from collections.abc import Mapping

import jax
import numpy as np
import orbax.checkpoint as ocp
from jaxtyping import PyTree

from gsjax import checkpoints

# Of metrics that start so, less is better; of all others, more.
_LESS_IS_BETTER = ("l1", "lpips")


class Best:
    """The folder `best` of a run, which holds one checkpoint and the value that it has."""

    def __init__(self, workdir: str | os.PathLike, metric: str):
        """Opens it; `metric` is the name of a validation metric without `val/`."""
        folder = os.path.join(os.fspath(workdir), "best")
        self._metric = metric
        self._sign = -1.0 if metric.startswith(_LESS_IS_BETTER) else 1.0
        self._best = -np.inf
        if checkpoints.latest_step(folder) is not None:
            self._best = self._sign * float(checkpoints.restore_params(folder, "value"))
        self._manager: ocp.CheckpointManager = checkpoints.open_manager(folder, keep=1)

    def offer(self, step: int, values: Mapping[str, float], generator: PyTree) -> None:
        """Keeps the generator if its value is better than that of the one that is kept.

        Args:
          step: after which it was validated.
          values: the metrics, as `val/NAME`.
          generator: its variables.

        Raises:
          UserError: if it cannot be written.
        """
        value = self._sign * values[f"val/{self._metric}"]
        if value > self._best:
            self._best = value
            kept = {"generator": generator, "value": np.float32(self._sign * value)}
            checkpoints.save(self._manager, step, jax.tree.map(jax.numpy.asarray, kept))

    def close(self) -> None:
        """Waits until all is on disk."""
        checkpoints.finish(self._manager)
        self._manager.close()
