"""Records metrics and pictures of a run in its workdir.

`metrics.jsonl` has one JSON object per line: `step` and scalars by name. A step may have several
lines, with different scalars (of training and of validation). NaN and infinite scalars are written
as null, which is valid JSON and which readers take for NaN.
"""

import contextlib
import dataclasses
import json
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import UInt8

from gsjax.files import explained, set_aside, write_atomically
from gsjax.training.grids import write_png


@dataclasses.dataclass
class Record:
    """An open record; see `open_record`. Without files, it writes nothing."""

    workdir: Path
    metrics: BinaryIO | None = None
    # tensorboardX's EventsWriter. Its SummaryWriter writes in a thread; when a full disk kills the
    # thread, it would wait for it forever.
    events: Any = None

    def scalars(self, step: int | np.integer, values: Mapping[str, Any]) -> None:
        """Adds a line with these scalars (anything that `float` takes) and flushes it.

        Raises:
          UserError: if the workdir cannot be written to.
        """
        if self.metrics is None:
            return
        values = {name: float(value) for name, value in values.items()}
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        line = json.dumps({"step": int(step)} | values | dict.fromkeys(values.keys() - finite))
        with explained(self.workdir):
            (self.workdir / "metrics.jsonl").stat()  # detect deletion, which writing would not
            self.metrics.write(line.encode() + b"\n")
            self.metrics.flush()
            self._add_events(int(step), "scalar", finite)

    def image(self, step: int, name: str, image: UInt8[np.ndarray, "h w 3"]) -> None:
        """Writes `samples/NAME_STEP.png`, with eight digits for the step.

        Raises:
          UserError: if the workdir cannot be written to.
        """
        if self.metrics is None:
            return
        with explained(self.workdir):
            write_png(self.workdir / "samples" / f"{name}_{int(step):08d}.png", image)
            self._add_events(step, "image", {name: image}, dataformats="HWC")

    def _add_events(self, step: int, kind: str, values: Mapping[str, Any], **options: Any) -> None:
        from tensorboardX import summary
        from tensorboardX.proto.event_pb2 import Event

        for name, value in values.items():
            content = getattr(summary, kind)(name, value, **options)
            self.events.write_event(Event(step=int(step), wall_time=time.time(), summary=content))
        self.events.flush()

    def close(self) -> None:
        """Closes the files; everything has been flushed already."""
        if self.metrics is None:
            return
        with contextlib.suppress(OSError):  # errors have been reported already
            self.events.close()
        with contextlib.suppress(OSError):
            self.metrics.close()
        self.metrics = None


def open_record(workdir: str | os.PathLike, step: int, active: bool = True) -> Record:
    """Opens the record of a run that resumes after `step`; 0 for a new run.

    What a killed run recorded after its last checkpoint is dropped, since these steps run again:
    lines beyond `step`, and incomplete lines. A new run keeps the record of an earlier one as
    `metrics.1.jsonl` etc.

    Args:
      workdir: the run's folder; created if necessary.
      step: of the restored checkpoint.
      active: whether this process writes; only one of several does.

    Raises:
      UserError: if the workdir cannot be created or written to.
    """
    workdir = Path(workdir)
    if not active:
        return Record(workdir)
    # Imported here, since it imports PyTorch if installed, which takes seconds.
    from tensorboardX.event_file_writer import EventsWriter
    from tensorboardX.proto.event_pb2 import Event, SessionLog

    with explained(workdir):
        (workdir / "samples").mkdir(parents=True, exist_ok=True)
        path = workdir / "metrics.jsonl"
        if step:
            _drop_lines_after(path, step)
        elif path.exists() and path.stat().st_size:
            set_aside(path)
        metrics = open(path, "ab")  # noqa: SIM115
        has_events = any(workdir.glob("events.out.tfevents.*"))
        events = EventsWriter(str(workdir / "events"))
        if has_events:  # makes TensorBoard hide earlier events of this step and later
            start = SessionLog(status=SessionLog.START)
            events.write_event(Event(step=step + 1, wall_time=time.time(), session_log=start))
        events.flush()
    return Record(workdir, metrics, events)


def last_validation(workdir: str | os.PathLike, step: int) -> dict[str, float]:
    """Returns the metrics of the last validation that was recorded after a step, if any."""
    path = Path(workdir) / "metrics.jsonl"
    content = path.read_bytes() if path.exists() else b""
    for line in reversed(content.splitlines()):
        if b'"val/' not in line:
            continue
        with contextlib.suppress(ValueError, RecursionError):  # damaged lines
            values = json.loads(line)
            if isinstance(values, dict) and values.pop("step", None) == step:
                return values
    return {}


def _drop_lines_after(path: Path, step: int) -> None:
    if not path.exists():
        return
    content = path.read_bytes()
    kept = b"".join(line for line in content.splitlines(True) if _is_of_run(line, step))
    if kept != content:
        write_atomically(path, kept)


def _is_of_run(line: bytes, step: int) -> bool:
    try:
        return line.endswith(b"\n") and json.loads(line)["step"] <= step
    except (ValueError, KeyError, TypeError, RecursionError):
        return False
