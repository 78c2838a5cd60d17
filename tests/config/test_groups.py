"""What is declared of the fields, and all that follows from one declaration."""

import dataclasses
from pathlib import Path

import pytest
from absl import flags
from ml_collections.config_flags import config_flags

from gsjax import config as configs
from gsjax.config import flags as help_of_flags
from gsjax.config import page, saved, values
from gsjax.config.fields import (
    Field,
    Group,
    check_type,
    check_value,
    expected,
    field,
    fields_of,
)
from gsjax.config.groups import FIELDS
from gsjax.errors import UserError
from gsjax.kernels.backends import BACKENDS
from gsjax.models.dino import SIZES
from gsjax.models.losses import ADVERSARIAL, TERMS

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_has_one_line_of_help_and_a_default_that_it_allows(name):
    declared = FIELDS[name]
    assert declared.help
    assert "\n" not in declared.help
    check_type(declared, declared.default)
    check_value(declared, declared.default)


def test_choices_are_what_the_networks_offer():
    assert FIELDS["model.backend"].choices == ("auto", *BACKENDS)
    assert FIELDS["loss.adversarial"].choices == tuple(ADVERSARIAL)
    assert FIELDS["dino.size"].choices == (*SIZES, "")
    assert {f"loss.{name}" for name in TERMS} <= FIELDS.keys()


def test_the_page_of_all_fields_is_as_they_are_declared():
    """`python -m gsjax.config.page > docs/configuration.md` makes it so."""
    assert (ROOT / "docs" / "configuration.md").read_text() == page.page()


@pytest.fixture
def patience(monkeypatch):
    """A field that is declared in addition."""
    added = Field("train.patience", int, 3, "how long to wait", 1, 9, resume="data", stage=True)
    monkeypatch.setitem(FIELDS, added.name, added)
    return configs.default()


def test_a_declared_field_is_in_configs_their_help_and_the_docs(patience):
    assert patience.train.patience == 3
    config_flags.DEFINE_config_file("scratch", flag_values=(registered := flags.FlagValues()))
    lines = help_of_flags.help_lines(registered["scratch"], ["program"])
    assert "  train.patience=3  # how long to wait (from 1 to 9)" in lines
    row = "| `train.patience` | `3` | a whole number from 1 to 9 | how long to wait | data, stage |"
    assert row in page.page()


def test_a_declared_field_is_checked(patience):
    values.check_values(patience)
    patience.train.patience = 10
    with pytest.raises(UserError, match=r"^train\.patience: 10 is not a whole number from 1 to 9"):
        values.check_values(patience)
    with pytest.raises(UserError, match=r"^train\.patience: '3' is not a whole number"):
        values.check_types({"train": {"patience": "3"}})


def test_a_declared_field_says_what_a_resumed_run_and_a_stage_may_do(patience, caplog):
    now = configs.default()
    now.train.patience = 4
    saved.check_changes(patience, now)
    assert "train.patience was 3 in this run so far and is 4 now: the remaining" in caplog.text
    assert "train.patience" in values.stage_fields()


class Inner(Group, resume="fixed"):
    """A group."""

    size: int = field(1, "as the group says")
    place: str = field("", "as it says itself", resume="free", stage=True)


class Outer(Group):
    """A group in which there is another."""

    inner = Inner


def test_a_field_has_the_rules_of_its_group_unless_it_has_its_own():
    rules = {name: (field.resume, field.stage) for name, field in fields_of(Outer).items()}
    assert rules == {"inner.size": ("fixed", False), "inner.place": ("free", True)}


INT, FLOAT = Field("f", int, 2, ""), Field("f", float, 2.0, "")


@pytest.mark.parametrize(
    ("field", "words", "allowed", "refused"),
    [
        (INT, "a whole number", [0, -5, 2**62], [2.0, True, "2", None, 2**64]),
        (FLOAT, "a number", [0.5, 2, -1.0], [True, "2", (2.0,), float("nan"), float("inf")]),
        (dataclasses.replace(INT, least=0), "a whole number of at least 0", [0, 7], [-1]),
        (dataclasses.replace(INT, least=1, most=4096), "a whole number from 1 to 4,096",
         [1, 4096], [0, 4097]),
        (dataclasses.replace(FLOAT, above=0), "a number greater than 0", [0.1], [0, -1.0]),
        (dataclasses.replace(FLOAT, least=0, below=1), "a number in [0, 1)", [0, 0.9], [1.0]),
        (dataclasses.replace(FLOAT, above=0, most=1), "a number in (0, 1]", [0.1, 1], [0.0]),
        (Field("f", bool, True, ""), "true or false", [True, False], [1, "true"]),
        (Field("f", str, "x", ""), "a string", ["", "y"], [1, ("x",)]),
        (Field("f", str, "x", "", choices=("x", "")), 'one of x, ""', ["x", ""], ["y", 1]),
        (Field("f", tuple[int, int], (1, 1), "", least=1), "two whole numbers of at least 1",
         [(1, 2), [3, 4]], [(1,), (1, 2, 3), (0, 1), (1.0, 2), 1]),
        (Field("f", tuple[str, ...], (), ""), "a list of strings", [(), ("x",)], ["x", (1,)]),
        (Field("f", tuple[tuple[int, float], ...], (), ""), "a list of (whole number, number)",
         [(), ((1, 0.5), (2, 1))], [((0.5, 1),), ((1,),), (1, 2), (((1, 1),),)]),
    ],
)  # fmt: skip
def test_values_are_of_the_type_and_in_the_bounds_that_are_declared(field, words, allowed, refused):
    assert expected(field) == words
    for value in allowed:
        check_type(field, value)
        check_value(field, value)
    for value in refused:
        with pytest.raises(UserError, match=r"^f: .* is not "):
            check_type(field, value) or check_value(field, value)
