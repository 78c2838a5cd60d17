"""What a run leaves in its workdir for people to read: metrics and pictures.

`metrics.jsonl` holds one JSON object a line: `step` and scalars by name. A step may
have several lines, with different scalars (training's and validation's). A scalar
that is NaN or infinite is null, which JSON has and which readers take for NaN.
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
    """An open record; see `open_record`. Without files, it takes everything and writes nothing."""

    workdir: Path
    metrics: BinaryIO | None = None
    # tensorboardX's EventsWriter. Its SummaryWriter writes in a thread, which a full disk ends,
    # after which it waits for that thread forever.
    events: Any = None

    def scalars(self, step: int, values: Mapping[str, Any]) -> None:
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
            (self.workdir / "metrics.jsonl").stat()  # writing to a file that was deleted works
            self.metrics.write(line.encode() + b"\n")
            self.metrics.flush()
            self._add_events(step, "scalar", finite)

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
        """Closes the files; everything is in them already."""
        if self.metrics is None:
            return
        with contextlib.suppress(OSError):  # from what could not be written, which was told
            self.events.close()
        with contextlib.suppress(OSError):
            self.metrics.close()
        self.metrics = None


def open_record(workdir: str | os.PathLike, step: int, active: bool = True) -> Record:
    """Opens the record of a run that resumes after `step`; 0 for a new run.

    What a killed run recorded after its last checkpoint is dropped, since its steps
    are run again: lines beyond `step`, and a line that was not finished. A run that
    starts anew where another left a record keeps that as `metrics.1.jsonl` and so on.

    Args:
      workdir: the run's folder; it is made if need be.
      step: that of the restored checkpoint.
      active: whether this process writes; of several processes, only one does.

    Raises:
      UserError: if the workdir cannot be made or written to.
    """
    workdir = Path(workdir)
    if not active:
        return Record(workdir)
    # Imports PyTorch where that is installed, which takes seconds.
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
        goes_on = any(workdir.glob("events.out.tfevents.*"))
        events = EventsWriter(str(workdir / "events"))
        if goes_on:  # TensorBoard then hides what earlier files say about this step and later
            start = SessionLog(status=SessionLog.START)
            events.write_event(Event(step=step + 1, wall_time=time.time(), session_log=start))
        events.flush()
    return Record(workdir, metrics, events)


def last_validation(workdir: str | os.PathLike, step: int) -> dict[str, float]:
    """Returns what a run's metrics hold of its last validation after that step, if anything."""
    path = Path(workdir) / "metrics.jsonl"
    content = path.read_bytes() if path.exists() else b""
    for line in reversed(content.splitlines()):
        if b'"val/' not in line:
            continue
        with contextlib.suppress(ValueError, RecursionError):  # a broken disk
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
