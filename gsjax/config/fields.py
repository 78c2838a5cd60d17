"""Declares config fields, and checks values against their declarations.

Groups of fields are declared as classes in `gsjax.config.groups`: each attribute has a type, and
`field` adds the default, the help and the allowed values. Checks, `--help`, the rules of resuming
and of stages, and docs/configuration.md are all derived from these declarations.
"""

import dataclasses
import functools
import math
import typing
from typing import Any, ClassVar, Literal

from gsjax.errors import UserError, shown

# What happens if a field has changed when a run resumes:
#   fixed: the change is refused, because trained parameters would mean something else;
#   data: a warning, because the remaining steps see other data;
#   weights: a warning, because other weights change what the losses mean;
#   free: the change is logged.
Resume = Literal["fixed", "data", "weights", "free"]
_LARGEST = 2**63 - 1
_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a string"}
_COUNTS = {2: "two", 3: "three"}


@dataclasses.dataclass(frozen=True)
class Field:
    """A declared field.

    Attributes:
      name: with the name of its group, like `train.steps`.
      type: bool, int, float, str, or a tuple type of these, such as `tuple[int, int]` or
        `tuple[tuple[float, float], ...]`.
      default: its value unless something sets it.
      help: its meaning, in one line.
      least: inclusive lower bound; in a tuple, of every number.
      most: inclusive upper bound.
      above: exclusive lower bound.
      below: exclusive upper bound.
      choices: the allowed values; empty if they are not listed.
      resume: what happens if it has changed when a run resumes: fixed | data | weights | free.
      stage: whether a stage may set it.
    """

    name: str
    type: Any
    default: Any
    help: str
    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None
    choices: tuple = ()
    resume: Resume = "free"
    stage: bool = False


def field(default: Any, help: str, **options: Any) -> Any:
    """Declares a field as an attribute of a `Group`; the options are those of `Field`."""
    return functools.partial(Field, default=default, help=help, **options)


class Group:
    """A group of fields; class arguments set `resume` and `stage` for fields that do not."""

    rules: ClassVar[dict[str, Any]]

    def __init_subclass__(cls, resume: Resume = "free", stage: bool = False):
        cls.rules = {"resume": resume, "stage": stage}


def fields_of(group: type[Group], prefix: str = "") -> dict[str, Field]:
    """Returns the fields of a group and of its subgroups by name, in the order of declaration."""
    types, fields = typing.get_type_hints(group), {}
    for last, value in vars(group).items():
        name = prefix + last
        if isinstance(value, functools.partial):
            fields[name] = value(name=name, type=types[last], **group.rules | value.keywords)
        elif isinstance(value, type):
            fields |= fields_of(value, f"{name}.")
    return fields


def check_type(field: Field, value: Any) -> None:
    """Raises UserError, naming the field, unless a value has its type; lists may be tuples."""
    if not _has_type(value, field.type):
        raise UserError(field.name, _not_expected(field, value))


def check_value(field: Field, value: Any) -> None:
    """Raises UserError, naming the field, unless a value of its type is allowed."""
    if (field.choices and value not in field.choices) or not _within(field, value):
        raise UserError(field.name, _not_expected(field, value))


def expected(field: Field) -> str:
    """Describes the values that a field takes, like `a whole number from 1 to 16`."""
    return limits(field) if field.choices else f"{_in_words(field.type)} {limits(field)}".strip()


def limits(field: Field) -> str:
    """Describes the limits of a field, like `from 1 to 16`; empty if it has none."""
    if field.choices:
        return f"one of {', '.join(map(_shown_choice, field.choices))}"
    bounds = field.least, field.most, field.above, field.below
    if bounds == (None,) * 4:
        return ""
    least, most, above, below = (None if bound is None else f"{bound:,}" for bound in bounds)
    if above is None and below is None:
        return f"of at least {least}" if most is None else f"from {least} to {most}"
    if below is None and most is None:
        return f"greater than {above}"
    low = f"[{least}" if above is None else f"({above}"
    return f"in {low}, " + (f"{most}]" if below is None else f"{below})")


def _not_expected(field: Field, value: Any) -> str:
    like = f", such as {field.default!r}" if field.default not in ("", ()) else ""
    like = "" if field.choices or field.type is bool else like
    return f"{shown(repr(value))} is not {expected(field)}{like}"


def _shown_choice(choice: Any) -> str:
    return str(choice) if choice != "" else '""'


def _in_words(kind: Any) -> str:
    """Describes a type: `a number`, `two numbers`, `a list of (number, number)`."""
    if typing.get_origin(kind) is not tuple:
        return _WORDS[kind]
    items = typing.get_args(kind)
    if items[-1] is not ...:
        return f"{_COUNTS[len(items)]} {_in_words(items[0]).removeprefix('a ')}s"
    if typing.get_origin(items[0]) is not tuple:
        return f"a list of {_in_words(items[0]).removeprefix('a ')}s"
    parts = (_in_words(item).removeprefix("a ") for item in typing.get_args(items[0]))
    return f"a list of ({', '.join(parts)})"


def _has_type(value: Any, kind: Any) -> bool:
    if typing.get_origin(kind) is tuple:
        if not isinstance(value, tuple | list):
            return False
        kinds = typing.get_args(kind)
        if kinds[-1] is ...:
            kinds = kinds[:1] * len(value)
        return len(value) == len(kinds) and all(map(_has_type, value, kinds))
    if kind in (bool, str):
        return isinstance(value, kind)
    whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _LARGEST
    return whole or (kind is float and isinstance(value, float))


def _within(field: Field, value: Any) -> bool:
    if isinstance(value, tuple | list):
        return all(_within(field, item) for item in value)
    if isinstance(value, bool | str):
        return True
    return (
        math.isfinite(value)
        and (field.least is None or value >= field.least)
        and (field.most is None or value <= field.most)
        and (field.above is None or value > field.above)
        and (field.below is None or value < field.below)
    )
