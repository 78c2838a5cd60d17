"""The --config flag and the fields set after it: their help, and one-line errors for mistakes."""

import difflib
import inspect
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections.config_flags import config_flags

from gsjax.config import default, recipes
from gsjax.config.fields import expected, limits
from gsjax.config.values import declared, flat, value_of
from gsjax.errors import UserError, shown, suggestion

_EXAMPLE = "photos"


def find_flag() -> flags.Flag | None:
    """Returns the flag of the config file, if the program has one."""
    registered = (flags.FLAGS[name] for name in flags.FLAGS)
    return next((flag for flag in registered if config_flags.is_config_flag(flag)), None)


def path_in(flag: flags.Flag, argv: list[str]) -> Path | None:
    """Returns the requested config file, without the argument that may follow a colon."""
    given = flag.default or ""
    for i, arg in enumerate(argv[1:], start=1):
        name, equals, value = arg.partition("=")
        if name in (f"-{flag.name}", f"--{flag.name}"):
            given = value if equals else "".join(argv[i + 1 : i + 2])
    return Path(given.partition(":")[0]) if given else None


def with_recipes(flag: flags.Flag, argv: list[str]) -> list[str]:
    """Replaces names of recipes that come with gsjax by their files."""
    argv, names = list(argv), (f"-{flag.name}", f"--{flag.name}")
    for i, arg in enumerate(argv[1:], start=1):
        name, equals, value = arg.partition("=")
        if name in names and equals:
            argv[i] = f"{name}={recipes.find(value)}"
        elif argv[i - 1] in names:
            argv[i] = recipes.find(arg)
    return argv


def without_repeats(flag: flags.Flag, argv: list[str]) -> list[str]:
    """Removes settings that a later argument overrides; ml_collections would join the tuples."""
    names = [next((name for name, _ in _overrides(flag, ["", arg])), None) for arg in argv]
    last = {name: i for i, name in enumerate(names)}
    return [
        arg
        for i, (arg, name) in enumerate(zip(argv, names, strict=True))
        if name is None or "=" not in arg or last[name] == i
    ]


def mistake(flag: flags.Flag, argv: list[str]) -> str | None:
    """Returns a message about a missing config file or flag, before the file is read; else None."""
    path = path_in(flag, argv)
    if path and not path.is_file():
        return _missing_file(flag, path)
    return _missing_flag(flag) if f"--{flag.name}=" in argv else None


def explanation(error: Exception, flag: flags.Flag, argv: list[str]) -> str | None:
    """Returns a message about a mistake in the config or a field; None for other errors."""
    path, overrides = path_in(flag, argv), dict(_overrides(flag, argv))
    if path and (message := _error_in_file(error, path)):
        return message
    if isinstance(error, config_flags.FlagOrderError):
        return f"--{flag.name}=FILE must come before the fields that are set: {error}"
    if path and overrides and (message := _wrong_override(error, flag, path, overrides)):
        return message
    if path is None and (overrides or re.match(r"flag --\S+=None: ", str(error))):
        return _missing_flag(flag)
    return None


def help_lines(flag: flags.Flag, argv: list[str]) -> list[str]:
    """Returns a line for each field of the requested config, or of the default without one."""
    path = path_in(flag, argv)
    if path and path.is_file():
        config, source = flag.parser.parse(str(path)), str(path)
    else:
        config, source = default(), "the defaults"
    lines = [f"Config fields, set with --{flag.name}.NAME=VALUE ({source}):"]
    for name, value in flat(config).items():
        field = declared(name)
        comment = f"  # {field.help}" if field else ""
        if field and (limit := limits(field)):
            comment += f" ({limit.removeprefix('of ')})"
        lines.append(f"  {name}={value!r}{comment}")
    return lines


def _missing_file(flag: flags.Flag, path: Path) -> str:
    folders = {path.parent, Path("configs")} - {Path(".")}
    files = sorted(file for folder in folders for file in folder.glob("*.py"))
    local = [file.as_posix() for file in files if file.stem != "__init__"]
    names = [*local, *recipes.names()]
    meant = [name for name in names if Path(name).stem == path.stem]
    meant += difflib.get_close_matches(path.as_posix(), names, 1)
    what = "recipe or file" if recipes.is_name(path.as_posix()) else "file"
    message = f"--{flag.name}: there is no {what} {path.as_posix()}"
    if meant:
        return f"{message}; did you mean {meant[0]}?"
    return f"{message}; there are {', '.join(local or names)}"


def _missing_flag(flag: flags.Flag) -> str:
    return f"--{flag.name} is missing, for example --{flag.name}={_EXAMPLE}"


def _error_in_file(error: BaseException | None, path: Path) -> str | None:
    """Returns a message about an exception raised in the config file, even if it was wrapped."""
    found = None
    while error is not None:
        frames = inspect.getinnerframes(error.__traceback__) if error.__traceback__ else []
        lines = [frame.lineno for frame in frames if _same_file(frame.filename, path)]
        if isinstance(error, SyntaxError) and _same_file(error.filename or "", path):
            lines.append(error.lineno or 0)
        if lines:
            text = error.msg if isinstance(error, SyntaxError) else _text(error)
            kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
            found = f"{path}, line {lines[-1]}: {kind}{' '.join(str(text).split())}"
        elif isinstance(error, AttributeError) and "get_config" in str(error):
            found = f"{path} has no function get_config() that returns the config"
        error = error.__cause__ or error.__context__
    return found


def _text(error: BaseException) -> str:
    # ml_collections raises AttributeError(KeyError(text)), which str() would quote twice.
    while len(error.args) == 1 and isinstance(error.args[0], BaseException):
        error = error.args[0]
    return error.args[0] if isinstance(error, KeyError) and error.args else str(error)


def _same_file(name: str, path: Path) -> bool:
    return os.path.abspath(name) == os.path.abspath(path)


def _overrides(flag: flags.Flag, argv: list[str]) -> Iterator[tuple[str, str | None]]:
    """Yields the config fields that the command line sets, with the text after the `=`."""
    for arg in argv[1:]:
        if match := re.match(rf"--?(?:no)?{flag.name}\.([^=]*)(?:=(.*))?$", arg, re.DOTALL):
            yield match[1], match[2]


def _wrong_override(
    error: Exception, flag: flags.Flag, path: Path, overrides: dict[str, str | None]
) -> str | None:
    config: Any = flag.parser.parse(str(path))  # flag.value is set only after parsing succeeds
    names = list(flat(config))
    for name, text in overrides.items():
        field = f"--{flag.name}.{name}"
        inside = [other for other in names if other.startswith(f"{name}.")]
        if inside:
            return f"{field} is a group of fields; set one, like --{flag.name}.{inside[0]}"
        if name not in names and (of_stage := re.fullmatch(r"stages\.(\w+)\.(.+)", name)):
            stage, other = of_stage.groups()
            if stage in config.stages and other in names:
                return (
                    f"{field}: stage {stage} does not set {other}; add it to the stage in {path}, "
                    f"or set --{flag.name}.{other} for all stages that do not"
                )
        if name not in names:
            meant = suggestion(name, names)
            hint = f"did you mean --{flag.name}.{meant}?" if meant else "see --help for all of them"
            return f"{field}: the config has no such field; {hint}"
        if f"{flag.name}.{name}" in str(error):
            value = "" if text is None else f"={shown(text)}"
            known = declared(name)
            wanted = expected(known) if known else "a whole number"  # the steps of a stage
            return f"{field}{value} is not {wanted}, such as {value_of(config, name)!r}"
    return None
