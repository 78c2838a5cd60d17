"""Accesses the values of a config by dotted names like `train.steps`, and checks all of them."""

import re
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from gsjax.config.fields import Field, check_type, check_value
from gsjax.config.groups import FIELDS
from gsjax.errors import UserError, shown


def check_types(values: Mapping[str, Any]) -> None:
    """Raises UserError, naming the field, unless all declared fields have values of their type.

    Fields may be missing, and there may be others.

    Args:
      values: groups of fields as nested mappings.
    """
    groups = {name.partition(".")[0] for name in FIELDS if "." in name} | {"stages"}
    for group in sorted(groups & values.keys()):
        if not isinstance(values[group], Mapping):
            raise UserError(group, f"{shown(repr(values[group]))} is not a group of fields")
    for name, value in flat(values).items():
        if name in FIELDS:
            check_type(FIELDS[name], value)


def check_values(config: ConfigDict) -> None:
    """Raises UserError, naming the field, unless every field has an allowed value of its type."""
    for field in FIELDS.values():
        check_value(field, value_of(config, field.name))


def value_of(config: ConfigDict, name: str) -> Any:
    """Returns the value of a field, or the group of that name."""
    value: Any = config
    for part in name.split("."):
        value = value[part]
    return value


def flat(values: Mapping[str, Any] | ConfigDict, prefix: str = "") -> dict[str, Any]:
    """Returns all values of nested mappings by dotted names, in alphabetical order."""
    found: dict[str, Any] = {}
    for name, value in sorted(values.items()):
        if isinstance(value, Mapping | ConfigDict):
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = value
    return found


def declared(name: str) -> Field | None:
    """Returns the declaration of a field; a field of a stage has that of the run's field."""
    return FIELDS.get(re.sub(r"^stages\.\w+\.", "", name))


def stage_fields() -> list[str]:
    """Returns the fields that a stage may set; GROUP.* if it may set the whole group."""
    names = []
    for name, field in FIELDS.items():
        group = name.rpartition(".")[0]
        whole = all(FIELDS[other].stage for other in FIELDS if other.startswith(f"{group}."))
        shown = f"{group}.*" if whole else name
        if field.stage and shown not in names:
            names.append(shown)
    return names
