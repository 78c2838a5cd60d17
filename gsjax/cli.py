"""How every command starts: flags, configs, and mistakes told in one line.

A mistake in a flag, a config field or a config file, and any `UserError`, ends the
command with `error: …` on stderr and exit code 2. Anything else is a bug of ours and
keeps its traceback.
"""

import difflib
import functools
import inspect
import logging as python_logging
import os
import re
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from absl import app, flags, logging
from ml_collections import ConfigDict
from ml_collections.config_flags import config_flags

from gsjax import config as config_lib
from gsjax.errors import UserError, shown, suggestion

_EXAMPLE = "configs/photos.py"
_HELP = {f"{dashes}{name}" for dashes in ("-", "--") for name in ("help", "helpshort", "h", "?")}


def run(main: Callable[..., Any], commands: tuple[str, ...] = ()) -> NoReturn:
    """Parses the flags, calls `main`, and exits with 0, 2 (a mistake) or 130 (interrupted).

    With `commands`, one of them must be the first argument, and `main` is given it.
    """
    try:
        app.run(
            lambda argv: main(*argv[1:]),
            flags_parser=functools.partial(_parse, commands=commands),
        )
    except UserError as error:
        _exit(str(error))
    except (AssertionError, RuntimeError):
        if "jax" in sys.modules:  # a backend that cannot start is a mistake, not a bug
            from gsjax.kernels.backends import check_platform

            try:
                check_platform()
            except UserError as error:
                _exit(str(error))
        raise
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def field_names(config: ConfigDict, prefix: str = "") -> list[str]:
    """Returns the dotted names of all fields, like `train.steps`, in alphabetical order."""
    names = []
    for name, value in sorted(config.items()):
        if isinstance(value, ConfigDict):
            names += field_names(value, f"{prefix}{name}.")
        else:
            names.append(prefix + name)
    return names


def _exit(message: str) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


def _parse(argv: list[str], commands: tuple[str, ...]) -> list[str]:
    """A flags parser for `app.run`."""
    _quiet_libraries()
    config_flag = _config_flag()
    if _HELP.intersection(argv[1:]):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `--help | head` is no error
        print(_help(config_flag, argv))
        sys.exit(0)
    path = _config_path(config_flag, argv)
    if path and not path.is_file():
        _exit(_missing_file(config_flag, path))
    if config_flag is not None and f"--{config_flag.name}=" in argv:
        _exit(_missing_flag(config_flag))
    if commands:
        _check_command(argv[1:2], commands)
    argv = _without_repeats(config_flag, argv)
    try:
        rest = flags.FLAGS(argv)[1:]
    except Exception as error:
        message = _explanation(error, config_flag, path, argv)
        if message is None:
            raise
        _exit(message)
    command, rest = rest[: bool(commands)], rest[bool(commands) :]
    if rest:
        _exit(f"unexpected argument {rest[0]!r}: options look like --name=value")
    return argv[:1] + command


def _check_command(given: list[str], commands: tuple[str, ...]) -> None:
    if not given or given[0] not in commands:
        meant = suggestion(given[0], list(commands)) if given else None
        hint = f"; did you mean {meant}?" if meant else ""
        was = f"is {given[0]!r}" if given else "is missing"
        _exit(f"the first argument {was}: it must be one of {', '.join(commands)}{hint}")


class _Plain(python_logging.Formatter):
    """Logs as errors are told: `warning: …`, without the time and the line of code."""

    def format(self, record: python_logging.LogRecord) -> str:
        return f"{record.levelname.lower()}: {super().format(record)}"


def _quiet_libraries() -> None:
    """Shows what libraries log only from warnings on; of our own, everything.

    Orbax alone logs some thirty lines a checkpoint, which hide what matters. When it cannot
    save one it raises an error, which becomes one line, and logs a hundred tracebacks.
    """
    package = os.path.dirname(__file__)
    main = os.path.abspath(sys.argv[0])

    def matters(record):
        if flags.FLAGS["verbosity"].present or record.pathname == main:
            return True
        if "/orbax/" in record.pathname and record.levelno > python_logging.WARNING:
            return False
        return record.levelno >= python_logging.WARNING or record.pathname.startswith(package)

    logging.get_absl_handler().addFilter(matters)
    logging.get_absl_handler().setFormatter(_Plain())
    python_logging.getLogger("asyncio").setLevel(python_logging.CRITICAL)
    warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
    warnings.filterwarnings("ignore", module=r"PIL\.")  # of metadata, which is read without it
    sys.unraisablehook = _except_for_closed_loops


def _except_for_closed_loops(unraisable) -> None:
    """Shows what cannot be raised, unless it is of the other writes of a save that failed."""
    if str(unraisable.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(unraisable)


def _config_flag() -> flags.Flag | None:
    registered = (flags.FLAGS[name] for name in flags.FLAGS)
    return next((flag for flag in registered if config_flags.is_config_flag(flag)), None)


def _config_path(flag: flags.Flag | None, argv: list[str]) -> Path | None:
    """Returns the config file asked for, without the argument that may follow a colon."""
    if flag is None:
        return None
    given = flag.default or ""
    for i, arg in enumerate(argv[1:], start=1):
        name, equals, value = arg.partition("=")
        if name in (f"-{flag.name}", f"--{flag.name}"):
            given = value if equals else "".join(argv[i + 1 : i + 2])
    return Path(given.partition(":")[0]) if given else None


def _missing_file(flag: flags.Flag, path: Path) -> str:
    folders = {path.parent, Path("configs")} - {Path(".")}
    files = sorted(file for folder in folders for file in folder.glob("*.py"))
    names = [file.as_posix() for file in files if file.stem != "__init__"]
    meant = [name for name in names if Path(name).stem == path.stem]
    meant += difflib.get_close_matches(path.as_posix(), names, 1)
    message = f"--{flag.name}: there is no file {path.as_posix()}"
    if meant:
        return f"{message}; did you mean {meant[0]}?"
    return f"{message}; there are {', '.join(names)}" if names else message


def _missing_flag(flag: flags.Flag) -> str:
    return f"--{flag.name} is missing, for example --{flag.name}={_EXAMPLE}"


def _explanation(error, flag, path, argv) -> str | None:
    """Says what was wrong with the command line; None if the error has another cause."""
    if path and (message := _error_in_file(error, path)):
        return message
    if isinstance(error, config_flags.FlagOrderError):
        return f"--{flag.name}=FILE must come before the fields that are set: {error}"
    overrides = dict(_overrides(flag, argv))
    if path and overrides and (message := _wrong_override(error, flag, path, overrides)):
        return message
    required = re.match(r"flag --(\S+)=None: ", str(error))
    if flag is not None and path is None and (overrides or required):
        return _missing_flag(flag)
    if required:
        return f"--{required[1]} is missing: {flags.FLAGS[required[1]].help}"
    if isinstance(error, flags.UnrecognizedFlagError):
        meant = suggestion(error.flagname, [known.name for known in _own_flags()])
        hint = f"did you mean --{meant}?" if meant else "see --help for all of them"
        return f"there is no flag --{error.flagname}; {hint}"
    if isinstance(error, flags.Error):
        text = str(error).removeprefix("flag ")
        # A wrong boolean has the arguments of absl's ValueError for a message.
        return re.sub(r"\('(.*)', '.*'\)$", r"\1", text)
    return None


def _error_in_file(error: BaseException | None, path: Path) -> str | None:
    """Explains what the config file itself raised, through whatever wraps it."""
    found = None
    while error is not None:
        frames = inspect.getinnerframes(error.__traceback__) if error.__traceback__ else []
        lines = [frame.lineno for frame in frames if _same_file(frame.filename, path)]
        if isinstance(error, SyntaxError) and _same_file(error.filename or "", path):
            lines.append(error.lineno)
        if lines:
            text = error.msg if isinstance(error, SyntaxError) else _text(error)
            kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
            found = f"{path}, line {lines[-1]}: {kind}{' '.join(str(text).split())}"
        elif isinstance(error, AttributeError) and "get_config" in str(error):
            found = f"{path} has no function get_config() that returns the config"
        error = error.__cause__ or error.__context__
    return found


def _text(error: BaseException) -> str:
    # ml_collections raises AttributeError(KeyError(text)), which str() shows twice quoted.
    while len(error.args) == 1 and isinstance(error.args[0], BaseException):
        error = error.args[0]
    return error.args[0] if isinstance(error, KeyError) and error.args else str(error)


def _same_file(name: str, path: Path) -> bool:
    return os.path.abspath(name) == os.path.abspath(path)


def _overrides(flag: flags.Flag | None, argv: list[str]) -> Iterator[tuple[str, str | None]]:
    """Yields the config fields that the command line sets, with the text behind the `=`."""
    if flag is None:
        return
    for arg in argv[1:]:
        if match := re.match(rf"--?(?:no)?{flag.name}\.([^=]*)(?:=(.*))?$", arg, re.DOTALL):
            yield match[1], match[2]


def _without_repeats(flag: flags.Flag | None, argv: list[str]) -> list[str]:
    """Leaves out fields that a later argument sets again: of tuples, ml_collections makes one."""
    names = [next((name for name, _ in _overrides(flag, ["", arg])), None) for arg in argv]
    last = {name: i for i, name in enumerate(names)}
    return [
        arg
        for i, (arg, name) in enumerate(zip(argv, names, strict=True))
        if name is None or "=" not in arg or last[name] == i
    ]


def _wrong_override(error, flag, path, overrides) -> str | None:
    config = flag.parser.parse(str(path))  # flag.value is only set once all is well
    names = field_names(config)
    for name, text in overrides.items():
        field = f"--{flag.name}.{name}"
        inside = [other for other in names if other.startswith(f"{name}.")]
        if inside:
            return f"{field} is a group of fields; set one, like --{flag.name}.{inside[0]}"
        if name not in names and (of_stage := re.fullmatch(r"stages\.(\w+)\.(.+)", name)):
            stage, other = of_stage.groups()
            if stage in config.stages and other in names:
                return (
                    f"{field}: stage {stage} does not set {other}; let it do so in {path}, or set "
                    f"--{flag.name}.{other} for all stages that do not"
                )
        if name not in names:
            meant = suggestion(name, names)
            hint = f"did you mean --{flag.name}.{meant}?" if meant else "see --help for all of them"
            return f"{field}: the config has no such field; {hint}"
        if f"{flag.name}.{name}" in str(error):
            default = _lookup(config, name)
            kind = type(default).__name__
            value = "" if text is None else f"={shown(text)}"
            return f"{field}{value}: this field is of type {kind}, like {default!r}"
    return None


def _lookup(config: ConfigDict, name: str) -> Any:
    for part in name.split("."):
        config = config[part]
    return config


def _own_flags() -> list[flags.Flag]:
    return flags.FLAGS.get_key_flags_for_module(sys.argv[0])


def _help(config_flag: flags.Flag | None, argv: list[str]) -> str:
    lines = [(sys.modules["__main__"].__doc__ or "").strip(), "", "Flags:"]
    for flag in _own_flags():
        default = ",".join(flag.default) if isinstance(flag.default, list) else flag.default
        default = f" (default: {default})" if default not in (None, "") else ""
        lines.append(f"  --{flag.name}: {flag.help}{default}")
    if config_flag is None:
        return "\n".join(lines)
    path = _config_path(config_flag, argv)
    if path and path.is_file():
        config, source = config_flag.parser.parse(str(path)), str(path)
    else:
        config, source = config_lib.default(), "the defaults"
    comments = _field_comments()
    lines += ["", f"Config fields, each to be set with --{config_flag.name}.NAME=VALUE ({source}):"]
    for name in field_names(config):
        field = re.sub(r"^stages\.\w+\.", "", name)
        comment = f"  # {comments[field]}" if field in comments else ""
        lines.append(f"  {name}={_lookup(config, name)!r}{comment}")
    return "\n".join(lines)


def _field_comments() -> dict[str, str]:
    """Returns what `config.default` says about each field, beside it or in the line above."""
    comments, above = {}, ""
    for line in inspect.getsource(config_lib.default).splitlines():
        code, _, comment = line.strip().partition("# ")
        if match := re.match(r"config\.([\w.]+) = ", code):
            if comment or above:
                comments[match[1]] = comment or above
            above = ""
        elif not code:
            above = f"{above} {comment}".strip()
    return comments
