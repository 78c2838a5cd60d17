"""Writes the page of all config fields: python -m gsjax.config.page > docs/configuration.md"""

from gsjax.config.fields import Field, expected
from gsjax.config.groups import FIELDS, Config

_HEAD = """\
# Config fields

<!-- Written by `python -m gsjax.config.page > docs/configuration.md`; do not edit. -->

A config file, one of `configs/`, starts from these defaults and sets the fields that differ. The
command line overrides both: `--config.train.steps=1000`. `python -m gsjax.main --config=FILE
--help` shows the values of that file. [Training](training.md) describes stages, and
[losses](losses.md) the terms of the loss.

**Resuming** is what happens if a field differs when the same command resumes a run:

- *fixed*: the change is refused, because the trained parameters would mean something else;
- *data*: a warning, because the remaining steps see other data than in an uninterrupted run;
- *weights*: a warning, because other weights change what the losses mean;
- *free*: the change is logged.

A field marked *stage* can also be set for a single [stage](training.md) of a run, with
`add_stage`.
"""


def page() -> str:
    """Returns the page, as Markdown."""
    sections = {"": _HEAD}
    for name, field in FIELDS.items():
        group = name.rpartition(".")[0]
        if group not in sections:
            sections[group] = f"## {group}\n\n{getattr(Config, group).__doc__}\n"
        if "\n| field |" not in sections[group]:
            sections[group] += (
                "\n| field | default | values | meaning | resuming |\n|---|---|---|---|---|\n"
            )
        sections[group] += _row(field)
    return "\n".join(sections.values())


def _row(field: Field) -> str:
    rule = f"{field.resume}, stage" if field.stage else field.resume
    cells = f"`{field.name}`", f"`{field.default!r}`", expected(field), field.help, rule
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |\n"


if __name__ == "__main__":
    print(page(), end="")
