"""The one exception for mistakes that a user can mend, and what its messages are made of."""

import difflib


class UserError(Exception):
    """A mistake in what the user passed in: a flag, a config field, a file.

    The message names the field or file, says what is wrong with it and what
    would be right. Entry points print it without a traceback and exit with 2.
    """


def check_whole(value: object, least: int, field: str) -> None:
    """Raises UserError unless a field's value is a whole number of at least `least`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise UserError(f"{field}: {shown(repr(value))} is not a whole number of at least {least}")


def first_line(error: BaseException) -> str:
    """Returns the first line of another error's text, at most 200 characters; else its type."""
    return shown((str(error).strip().splitlines() or [type(error).__name__])[0], 200)


def shown(name: object, most: int = 80) -> str:
    """Returns a name out of a file as part of a line: escaped where unprintable, and shortened."""
    text = str(name)[: most + 1]
    text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    return text if len(text) <= most else f"{text[:most]}…"


def suggestion(name: str, names: list[str]) -> str | None:
    """Returns the name that was probably meant: for dotted names, the last part counts most."""
    last = [other for other in names if other.split(".")[-1] == name.split(".")[-1]]
    matches = difflib.get_close_matches(name, last or names, 1, cutoff=0 if last else 0.5)
    return matches[0] if matches else None
