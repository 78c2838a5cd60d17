"""The types of a config's fields, whether a config file, a flag or a config.json sets them."""

import math
from collections.abc import Mapping
from typing import Any

from gsjax.config import default
from gsjax.errors import UserError, shown

_KINDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    tuple: "a list",
}
_LARGEST = 2**63 - 1
_DEEPEST = 3  # tuples in tuples


def check_types(fields: Mapping[str, Any]) -> None:
    """Raises UserError, naming the field, unless all known fields have values of their type.

    Fields may be missing, and there may be others.

    Args:
      fields: groups of fields as nested mappings.
    """
    _check_group(fields, default().to_dict(), "")


def completed(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Returns fields of a config with all that are missing as by default: older runs lack some."""
    return _merged(default().to_dict(), fields)


def _check_group(fields: Mapping[str, Any], known: Mapping[str, Any], prefix: str) -> None:
    for name, value in fields.items():
        if name not in known:
            continue
        field, like = prefix + name, known[name]
        if isinstance(like, dict):
            if not isinstance(value, Mapping):
                raise UserError(f"{field}: {shown(repr(value))} is not a group of fields")
            if like:
                _check_group(value, like, f"{field}.")
        elif not _is_like(value, like):
            kind, example = (
                _KINDS[type(like)],
                f", such as {like!r}" if like not in ("", ()) else "",
            )
            raise UserError(f"{field}: {shown(repr(value))} is not {kind}{example}")


def _is_like(value: Any, like: Any) -> bool:
    if isinstance(like, tuple):
        return isinstance(value, tuple | list) and _is_plain(value, _DEEPEST)
    if isinstance(like, bool | str):
        return isinstance(value, type(like))
    whole = _is_whole(value)
    return whole or (isinstance(like, float) and isinstance(value, float))


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _LARGEST


def _is_plain(value: Any, depth: int) -> bool:
    if isinstance(value, tuple | list):
        return depth > 0 and all(_is_plain(item, depth - 1) for item in value)
    finite = isinstance(value, float) and math.isfinite(value)
    return finite or isinstance(value, bool | str) or _is_whole(value)


def _merged(known: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    both = known.keys() & fields.keys()
    groups = [name for name in both if isinstance(known[name], dict)]
    return {**known, **fields} | {name: _merged(known[name], fields[name]) for name in groups}
