"""Steps that are skipped because a loss or gradient is NaN or infinite."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import logging

from gsjax.errors import UserError
from gsjax.files import write_atomically


class Skips:
    """Detects skipped steps, and ends a run that skips too many in a row."""

    def __init__(self, workdir: Path, allowed: int, skipped: int):
        """Starts to watch.

        Args:
          workdir: the run's folder; the batch of the first skipped step in a row is saved in
            `skipped/`.
          allowed: number of skipped steps in a row that end the run.
          skipped: the count in the state so far.
        """
        self._folder, self._allowed, self._skipped = workdir / "skipped", allowed, skipped
        self._row = 0
        self._watched: tuple[int, Mapping, Mapping[str, np.ndarray]] | None = None

    def watch(self, step: int, metrics: Mapping, batch: Mapping[str, np.ndarray]) -> None:
        """Registers a step that was started, to be checked when it has ended.

        Args:
          step: its number.
          metrics: from the train step.
          batch: this process's part of the batch.
        """
        self._watched = step, metrics, batch

    def check(self) -> None:
        """Waits for the watched step, if any, and checks whether it was skipped.

        Raises:
          UserError: too many steps in a row were skipped.
        """
        if self._watched is None:
            return
        (step, metrics, batch), self._watched = self._watched, None
        before, self._skipped = self._skipped, int(metrics["skipped"])
        if self._skipped == before:
            self._row = 0
            return
        self._row += 1
        if self._row == 1:
            self._keep(step, metrics, batch)
        if self._row >= self._allowed:
            raise UserError(
                "",
                f"training has diverged: {self._row} steps in a row, up to step {step}, had a loss "
                "or gradient that is NaN or infinite and were skipped. Their first batch is in "
                f"{self._folder}; all checkpoints are intact",
                "lower optimizer.learning_rate or optimizer.clip_norm, or look for broken images; "
                "train.max_skipped allows more",
            )

    def _keep(self, step: int, metrics: Mapping, batch: Mapping[str, np.ndarray]) -> None:
        """Saves the batch of a skipped step, if possible."""
        process = jax.process_index()
        part = f"_process_{process}" if process else ""
        path = self._folder / f"step_{step:08d}{part}.npz"
        logging.warning(
            "step %d was skipped: loss %s, gradient norm %s; its batch is in %s",
            step, float(metrics["loss/total"]), float(metrics["gradient_norm"]), path,
        )  # fmt: skip
        content = io.BytesIO()
        arrays: dict[str, Any] = dict(batch)
        np.savez(content, **arrays)
        try:
            path.parent.mkdir(exist_ok=True)
            write_atomically(path, content.getvalue())
        except OSError as error:  # not worth ending the run
            logging.warning("the batch could not be kept: %s", error)
