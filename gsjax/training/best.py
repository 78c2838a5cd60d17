"""The generator that validated best, saved beside the last states of a run."""

import enum
import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path

import jax
import orbax.checkpoint as ocp
from absl import logging
from jaxtyping import PyTree
from ml_collections import ConfigDict

from gsjax import distributed
from gsjax.files import read_json, set_aside, write_atomically
from gsjax.models.metrics import VALIDATED
from gsjax.trained import checkpoints


class _Content(enum.IntEnum):
    """What the folder holds at the start; if processes see different things, the highest counts."""

    NOTHING = 0
    BEST = 1  # of this run up to now
    LATER = 2  # of a step that this run will repeat
    OTHER = 3  # of another run, metric or validation, or damaged


class Best:
    """The folder `best` of a run: one checkpoint, and a description of it in `best.json`."""

    def __init__(self, workdir: Path, config: ConfigDict, done: int):
        """Opens it.

        Args:
          workdir: the run's folder.
          config: its `checkpoint.best` is one of `gsjax.models.metrics.BEST`.
          done: the step that the run resumes after. A generator of a later step is removed, since
            the run repeats that step. One of another run, metric or validation is not
            comparable, and is set aside.
        """
        self._folder, self._metric = Path(workdir) / "best", config.checkpoint.best
        # LPIPS has an entry for each backbone; a run has one of them.
        entries = [m for m in VALIDATED if self._metric in (m.name, m.needs)]
        self._names = [f"val/{metric.name}" for metric in entries]
        self._sign = 1.0 if entries[0].better == "higher" else -1.0
        self._validation = _validation(config)
        self._best, content = self._read(done)
        content = _Content(distributed.max_over_processes(content))
        if content in (_Content.LATER, _Content.OTHER):
            self._best = None
            if jax.process_index() == 0:
                self._clear(content)
            distributed.max_over_processes(0)  # only now is it gone for all processes
        self._manager: ocp.CheckpointManager = checkpoints.open_manager(self._folder, keep=1)

    def _read(self, done: int) -> tuple[float | None, _Content]:
        """Returns the value of the saved generator, if it is comparable, and the content."""
        step = checkpoints.latest_step(self._folder)
        file = self._folder / "best.json"
        if step is None and not file.exists():  # a run may end before its first validation
            return None, _Content.NOTHING
        try:
            kept = read_json(file)
            # Missing in older runs; then assume that it has not changed.
            validation = kept.get("validation", self._validation)
            # Older runs know one distribution.
            validation = {"data.crop_distribution": "uniform"} | validation
            if (kept["metric"], validation) != (self._metric, self._validation):
                return None, _Content.OTHER
            if kept["step"] == step and step is not None and step <= done:
                return float(kept["value"]), _Content.BEST
            # A run that is killed between the two has a new checkpoint and an old best.json.
            later = 0 < done < max(kept["step"], step or 0)
            return None, _Content.LATER if later else _Content.OTHER
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None, _Content.OTHER

    def _clear(self, content: _Content) -> None:
        if content == _Content.LATER:
            logging.info("%s is of a later step and is removed: this run repeats it", self._folder)
            shutil.rmtree(self._folder)
            return
        aside = set_aside(self._folder)
        logging.warning(
            "%s is not comparable with the validations of this run; it is set aside as %s",
            *(self._folder, aside.name),
        )

    def offer(self, step: int, values: Mapping[str, float], generator: PyTree) -> None:
        """Saves the generator if it validated better than the saved one.

        NaN and infinite values are never better.

        Args:
          step: the step after which it was validated.
          values: the metrics, as `val/NAME`.
          generator: its variables.

        Raises:
          UserError: it cannot be written.
        """
        value = next(values[name] for name in self._names if name in values)
        least = -math.inf if self._best is None else self._sign * self._best
        better = self._sign * value > least
        if better and checkpoints.save(self._manager, step, {"generator": generator}):
            checkpoints.finish(self._manager)  # best.json may describe it only then
            self._best = value
            if jax.process_index() == 0:
                description = {"metric": self._metric, "step": step, "value": value}
                description["validation"] = self._validation
                write_atomically(
                    self._folder / "best.json", json.dumps(description).encode() + b"\n"
                )

    def close(self) -> None:
        """Closes the folder."""
        checkpoints.close(self._manager)


def _validation(config: ConfigDict) -> dict:
    """Returns the fields that determine the validation examples, as they are after JSON.

    Without the path of the images, which may move.
    """
    fields = {
        "validate": ("images", "kinds", "bands", "center"),
        "data": ("image_size", "crop", "crop_scale", "crop_distribution"),
    }
    settings = {f"{g}.{name}": config[g][name] for g, names in fields.items() for name in names}
    return json.loads(json.dumps(settings | {"seed": config.seed}))
