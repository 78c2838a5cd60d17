"""The `config.json` of a run or of trained weights: writes, reads and compares it."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from absl import logging
from ml_collections import ConfigDict

from gsjax.config import default
from gsjax.config.values import check_types, declared, flat
from gsjax.errors import UserError, first_line
from gsjax.files import explained, read_json, write_atomically

CONFIG = "config.json"
# Fields that every version of gsjax has written.
_ALWAYS = (("model", "patch_size"), ("model", "gaussians"), ("data", "image_size"))
# A converted folder of DINO's weights sets these itself.
_ARCHITECTURE = ("dino.size", "dino.patch_size", "dino.registers")


def write_config(workdir: str | os.PathLike, config: ConfigDict) -> None:
    """Writes `config.json`; tuples become lists.

    Raises:
      UserError: if the workdir cannot be created or written to.
    """
    workdir = Path(workdir)
    with explained(workdir):
        workdir.mkdir(parents=True, exist_ok=True)
        write_atomically(workdir / CONFIG, encode_config(config))


def encode_config(config: ConfigDict) -> bytes:
    """Returns the content of `config.json`."""
    return (json.dumps(config.to_dict(), indent=2) + "\n").encode()


def read_config(workdir: str | os.PathLike) -> ConfigDict:
    """Reads what `write_config` wrote; lists become tuples again.

    Fields that are missing, because the run is older than they are, get their defaults.

    Raises:
      UserError: if there is no config.json, gsjax did not write it, or a field has another type.
    """
    path = Path(workdir) / CONFIG
    try:
        values = read_json(path)
    except OSError as error:
        raise UserError(path, error.strerror, f"is {workdir} a run's workdir?") from error
    except ValueError as error:
        raise UserError(path, f"this is not a run's config: {first_line(error)}") from error
    if not isinstance(values, dict):
        raise UserError(path, "this is not a run's config: it is not a group of fields")
    try:
        check_types(values)
        for group, name in _ALWAYS:
            if name not in values.get(group, {}):
                raise UserError("", f"it does not describe a run: it has no {group}.{name}")
        return ConfigDict(_merged(default().to_dict(), _with_tuples(values)))
    except (UserError, ValueError, AttributeError) as error:  # ConfigDict refuses some names
        raise UserError(path, first_line(error)) from error


def check_changes(before: ConfigDict, now: ConfigDict) -> None:
    """Logs or refuses changes between the config of a run and the one that it resumes with.

    `resume` in the declaration of a field says which; see `gsjax.config.fields.Resume`.

    Raises:
      UserError: the change of a field would change what the trained parameters mean.
    """
    was, here = _comparable(before), _comparable(now)
    changed = [name for name in here if name in was and here[name] != was[name]]
    if Path(now.dino.weights or "-").is_dir():
        changed = [name for name in changed if name not in _ARCHITECTURE]
    changed += sorted(name for name in was.keys() ^ here.keys() if name.startswith("stages."))
    for name in changed:
        old, new = (repr(values[name]) if name in values else "unset" for values in (was, here))
        change = f"was {old} in this run so far and is {new} now"
        field = declared(name)
        match field.resume if field else "free":
            case "fixed":
                raise UserError(
                    name,
                    f"it {change}, which would change what the trained parameters mean",
                    "set it back, or start another --workdir from this one with --config.initial",
                )
            case "data":
                logging.warning("%s %s: the remaining steps see other data", name, change)
            case "weights":
                logging.warning(
                    "%s %s: with other weights, the losses mean something else", name, change
                )
            case _:
                logging.info("%s %s", name, change)


def _comparable(config: ConfigDict) -> dict[str, Any]:
    # Converted as in a round trip through config.json, which turns lists into tuples.
    return flat(_with_tuples(json.loads(encode_config(config))))


def _with_tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _with_tuples(field) for name, field in value.items()}
    return tuple(_with_tuples(item) for item in value) if isinstance(value, list) else value


def _merged(known: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    both = known.keys() & values.keys()
    groups = [name for name in both if isinstance(known[name], dict)]
    return {**known, **values} | {name: _merged(known[name], values[name]) for name in groups}
