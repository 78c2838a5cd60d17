"""The exception for mistakes that a user can fix, and helpers for its messages."""

import contextlib
import difflib
from collections.abc import Iterator


class UserError(Exception):
    """A mistake in the user's input, and how to fix it.

    Entry points print it as "where: what; remedy", without a traceback, and exit with 2.

    Attributes:
      where: the flag, config field or file. A function that does not know it leaves it empty,
        and a caller adds it with `at`.
      what: what is wrong.
      remedy: how to fix it; empty if `what` makes that clear. It begins with a line break if
        it should start on a new line.
    """

    def __init__(self, where: object, what: object, remedy: str = ""):
        super().__init__(where, what, remedy)
        self.where, self.what, self.remedy = str(where), str(what), remedy

    def __reduce__(self):  # includes the place that `at` has added
        return type(self), (self.where, self.what, self.remedy)

    def __str__(self) -> str:
        separator = "" if self.remedy.startswith("\n") or not self.remedy else "; "
        return ": ".join(filter(None, (self.where, self.what))) + separator + self.remedy


@contextlib.contextmanager
def at(where: object) -> Iterator[None]:
    """Adds a flag, config field or file to every UserError that the block raises.

    It precedes the place that the error already has, as in "--mask: holes.png: ...".
    """
    try:
        yield
    except UserError as error:
        error.where = ": ".join(filter(None, (str(where), error.where)))
        raise


def check_whole(value: object, least: int, field: str) -> None:
    """Raises UserError unless a field's value is a whole number of at least `least`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise UserError(field, f"{shown(repr(value))} is not a whole number of at least {least}")


def first_line(error: BaseException) -> str:
    """Returns the first line of an error's text, up to 200 characters, or its type if empty."""
    return shown((str(error).strip().splitlines() or [type(error).__name__])[0], 200)


def shown(name: object, most: int = 80) -> str:
    """Returns an untrusted name for use in a message: shortened, unprintable characters escaped."""
    text = str(name)[: most + 1]
    text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    return text if len(text) <= most else f"{text[:most]}…"


def suggestion(name: str, names: list[str]) -> str | None:
    """Returns the closest of `names`, or None; of dotted names, the last part counts most."""
    last = [other for other in names if other.split(".")[-1] == name.split(".")[-1]]
    matches = difflib.get_close_matches(name, last or names, 1, cutoff=0 if last else 0.5)
    return matches[0] if matches else None
