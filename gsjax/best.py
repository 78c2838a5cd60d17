"""The generator that validated best, kept beside the last states of a run."""

import json
import math
from collections.abc import Mapping
from pathlib import Path

import jax
import orbax.checkpoint as ocp
from absl import logging
from jaxtyping import PyTree
from ml_collections import ConfigDict

from gsjax import checkpoints, distributed
from gsjax.files import write_atomically
from gsjax.workdir import set_aside

# Of metrics that start so, less is better; of all others, more.
_LESS_IS_BETTER = ("l1", "lpips")


class Best:
    """The folder `best` of a run: one checkpoint, and in `best.json` what is known of it."""

    def __init__(self, workdir: Path, config: ConfigDict, done: int):
        """Opens it.

        Args:
          workdir: the run's folder.
          config: its `checkpoint.best` is the name of a validation metric without `val/`.
          done: the step that the run goes on after. What was kept later, or by another
            metric or validation, does not compare and is set aside.
        """
        self._folder, self._metric = Path(workdir) / "best", config.checkpoint.best
        self._sign = -1.0 if self._metric.startswith(_LESS_IS_BETTER) else 1.0
        self._validation = _validation(config)
        self._best = self._known(done)
        of_another_run = self._best is None and self._holds_something()
        if distributed.highest(of_another_run):
            self._best = None
            if jax.process_index() == 0:
                aside = set_aside(self._folder)
                logging.warning(
                    "%s does not compare with what this run validates by; it is set aside as %s",
                    *(self._folder, aside.name),
                )
            distributed.highest(0)  # only now is it gone for all processes
        self._manager: ocp.CheckpointManager = checkpoints.open_manager(self._folder, keep=1)

    def _known(self, done: int) -> float | None:
        step = checkpoints.latest_step(self._folder)
        try:
            kept = json.loads((self._folder / "best.json").read_text())
            fits = kept["metric"] == self._metric and kept["step"] == step and step <= done
            fits = fits and kept["validation"] == self._validation
            return float(kept["value"]) if fits else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _holds_something(self) -> bool:
        # A run that ended before its first validation leaves the folder empty.
        known = (self._folder / "best.json").exists()
        return known or checkpoints.latest_step(self._folder) is not None

    def offer(self, step: int, values: Mapping[str, float], generator: PyTree) -> None:
        """Keeps the generator if its value is better than that of the one that is kept.

        A value that is no number is not.

        Args:
          step: after which it was validated.
          values: the metrics, as `val/NAME`.
          generator: its variables.

        Raises:
          UserError: if it cannot be written.
        """
        value = values[f"val/{self._metric}"]
        least = -math.inf if self._best is None else self._sign * self._best
        better = self._sign * value > least
        if better and checkpoints.save(self._manager, step, {"generator": generator}):
            checkpoints.finish(self._manager)  # only then may best.json speak of it
            self._best = value
            if jax.process_index() == 0:
                known = {"metric": self._metric, "step": step, "value": value}
                known["validation"] = self._validation
                write_atomically(self._folder / "best.json", json.dumps(known).encode() + b"\n")

    def close(self) -> None:
        """Closes the folder."""
        checkpoints.close(self._manager)


def _validation(config: ConfigDict) -> dict:
    """Returns, as JSON has it, what decides over the examples that are validated on.

    Without the path of the images: they may move.
    """
    fields = {
        "validate": ("images", "kinds", "bands", "center"),
        "data": ("image_size", "crop", "crop_scale"),
    }
    settings = {f"{g}.{name}": config[g][name] for g, names in fields.items() for name in names}
    return json.loads(json.dumps(settings | {"seed": config.seed}))
