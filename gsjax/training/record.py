"""What a run leaves in its workdir for people to read: config, metrics, pictures.

`metrics.jsonl` holds one JSON object a line: `step` and scalars by name. A step may
have several lines, with different scalars (training's and validation's). A scalar
that is NaN or infinite is null, which JSON has and which readers take for NaN.
"""

import contextlib
import dataclasses
import json
import math
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from absl import logging
from jaxtyping import UInt8
from ml_collections import ConfigDict

from gsjax.config.fields import check_types, completed
from gsjax.errors import UserError, first_line
from gsjax.files import explained, read_json, set_aside, write_atomically
from gsjax.training.grids import write_png

CONFIG = "config.json"


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


def write_config(workdir: str | os.PathLike, config: ConfigDict) -> None:
    """Writes `config.json`; tuples become lists.

    Raises:
      UserError: if the workdir cannot be made or written to.
    """
    workdir = Path(workdir)
    with explained(workdir):
        workdir.mkdir(parents=True, exist_ok=True)
        write_atomically(workdir / CONFIG, encode_config(config))


def encode_config(config: ConfigDict) -> bytes:
    """Returns the content of `config.json`."""
    return (json.dumps(config.to_dict(), indent=2) + "\n").encode()


# No run has ever been without these.
_ALWAYS = (("model", "patch_size"), ("model", "gaussians"), ("data", "image_size"))


def read_config(workdir: str | os.PathLike) -> ConfigDict:
    """Reads what `write_config` wrote; lists become tuples again.

    Fields that an older run has not known are as by default.

    Raises:
      UserError: if there is no config.json, it is not one of ours, or a field is of another type.
    """
    path = Path(workdir) / CONFIG
    try:
        fields = read_json(path)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; is {workdir} a run's workdir?") from error
    except ValueError as error:
        raise UserError(f"{path} is not a run's config: {first_line(error)}") from error
    if not isinstance(fields, dict):
        raise UserError(f"{path} is not a run's config: it is no group of fields")
    try:
        check_types(fields)
        for group, name in _ALWAYS:
            if name not in fields.get(group, {}):
                raise UserError(f"it does not describe a run: it has no {group}.{name}")
        return ConfigDict(_with_tuples(completed(fields)))
    except (UserError, ValueError, AttributeError) as error:  # ConfigDict refuses some names
        raise UserError(f"{path}: {first_line(error)}") from error


# Groups of fields that decide what the parameters mean, though not their shapes, and those
# that decide which data a step sees.
_ARCHITECTURE = ("dino.size", "dino.patch_size", "dino.registers")
_FIXED = (
    *("model.", "discriminator.width", "discriminator.layers"),
    *("dino.normalize", "dino.image_size"),
    *_ARCHITECTURE,
)
_DATA = ("seed", "data.train", "data.image_size", "data.crop", "data.flip", "masks.")
_WEIGHTS = ("dino.weights", "lpips.")


def check_changes(workdir: str | os.PathLike, config: ConfigDict, done: int) -> None:
    """Says what has changed since a run's `config.json` was written.

    Most fields may change between runs. Data may, with a warning: the steps to come are no
    longer those of an uninterrupted run. The networks may not, nor the stages up to now.

    Args:
      workdir: the run's folder.
      config: as it is now.
      done: the step that the run resumes after.

    Raises:
      UserError: the networks have changed, or the place of step `done` among the stages.
    """
    from gsjax.training.stages import check_same_past  # with JAX, which a record does not need

    if not (Path(workdir) / CONFIG).exists():
        return
    recorded = read_config(workdir)
    before, now = (_flat(fields) for fields in (recorded.to_dict(), config.to_dict()))
    changed = [name for name in now if name in before and now[name] != before[name]]
    if Path(config.dino.weights or "-").is_dir():  # it says itself what it is
        changed = [name for name in changed if name not in _ARCHITECTURE]
    changed += sorted(name for name in before.keys() ^ now.keys() if name.startswith("stages."))
    for name in changed:
        was, here = (repr(fields[name]) if name in fields else "unset" for fields in (before, now))
        told = f"{name} was {was} in this run so far and is {here} now"
        # What a stage's field means, the field of the run does.
        field = re.sub(r"^stages\.\w+\.", "", name)
        if field.startswith(_FIXED) and field != "model.backend":
            raise UserError(
                f"{told}; that would change what the trained parameters mean. Set it back, or "
                "start another --workdir from this one with --config.initial"
            )
        if field.startswith(_DATA) or field == "train.batch_size":
            logging.warning("%s: the steps to come see other data than without the change", told)
        elif field.startswith(_WEIGHTS):
            logging.warning("%s: if these are other weights, so is what the losses mean", told)
        else:
            logging.info("%s", told)
    check_same_past(recorded, config, done)


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


def _flat(fields: Mapping, prefix: str = "") -> dict[str, Any]:
    flat = {}
    for name, value in fields.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            # JSON knows no tuples, and config.json is read back with all lists as tuples.
            flat[prefix + name] = _with_tuples(json.loads(json.dumps(value)))
    return flat


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


def _with_tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _with_tuples(field) for name, field in value.items()}
    return tuple(_with_tuples(item) for item in value) if isinstance(value, list) else value
