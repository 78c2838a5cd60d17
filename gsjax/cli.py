"""How every command starts: parses flags and configs, and reports mistakes in one line.

A mistake in a flag, a config field or a config file, and any `UserError`, ends the command with
`error: …` on stderr and exit code 2. Anything else is a bug and keeps its traceback.
"""

import functools
import logging as python_logging
import os
import re
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from typing import Any, NoReturn

from absl import app, flags, logging

from gsjax import signals
from gsjax.config import flags as config_flags
from gsjax.errors import UserError, suggestion

_CLEAN_UP = 2  # seconds
_HELP = {f"{dashes}{name}" for dashes in ("-", "--") for name in ("help", "helpshort", "h", "?")}


def run(
    main: Callable[..., Any], commands: tuple[str, ...] = (), cleans_up: bool = False
) -> NoReturn:
    """Parses the flags, calls `main`, and exits with 0, 2 (a mistake) or 130 (interrupted).

    Ctrl-C ends the process at once, unless `main` handles it itself.

    Args:
      main: what the command does.
      commands: if any, one of them must be the first argument, and `main` is given it.
      cleans_up: Ctrl-C raises KeyboardInterrupt in `main`, which then has two seconds to clean
        up, and ends the process at once if it is pressed again.
    """
    _end_on_interrupt(cleans_up)
    try:
        app.run(
            lambda argv: main(*argv[1:]),
            flags_parser=functools.partial(_parse, commands=commands),
        )
    except UserError as error:
        _exit(str(error))
    except (AssertionError, RuntimeError):
        if "jax" in sys.modules:  # a backend that cannot start is not a bug
            from gsjax.kernels.backends import check_platform

            try:
                check_platform()
            except UserError as error:
                _exit(str(error))
        raise
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def _end_on_interrupt(cleans_up: bool) -> None:
    """Has Ctrl-C end the process, as `run` says."""
    pressed = False

    def at_once(number: int) -> None:
        nonlocal pressed
        del number
        if pressed or not cleans_up:
            signals.end_interrupted()
        pressed = True
        timer = threading.Timer(_CLEAN_UP, signals.end_interrupted)
        timer.daemon = True
        timer.start()

    # KeyboardInterrupt waits for a compilation, is lost in a callback of JAX's, and comes out of
    # some imports as another error.
    handler = signal.default_int_handler if cleans_up else lambda *_: None
    signals.listen([signal.SIGINT], at_once, handler)


def enable_compilation_cache() -> None:
    """Caches compiled programs on disk, unless JAX's cache is already configured."""
    import jax  # imported here, since --help needs no JAX

    from gsjax.fetch import cache_folder

    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "programs"))
        jax.config.update("jax_compilation_cache_max_size", 2**31)  # bytes
        # Filling a picture compiles many small programs, which take a second together.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def _exit(message: str) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


def _parse(argv: list[str], commands: tuple[str, ...]) -> list[str]:
    """A flags parser for `app.run`."""
    _quiet_libraries()
    config_flag = config_flags.find_flag()
    if config_flag is not None:
        argv = config_flags.with_recipes(config_flag, argv)
    if _HELP.intersection(argv[1:]):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `--help | head` is no error
        print(_help(config_flag, argv))
        sys.exit(0)
    if config_flag is not None:
        if message := config_flags.mistake(config_flag, argv):
            _exit(message)
        argv = config_flags.without_repeats(config_flag, argv)
    if commands:
        _check_command(argv[1:2], commands)
    try:
        rest = flags.FLAGS(argv)[1:]
    except Exception as error:
        message = None
        if config_flag is not None:
            message = config_flags.explanation(error, config_flag, argv)
        message = message or _explanation(error)
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
    """Formats logs like errors: `warning: …`, without time and line of code."""

    def format(self, record: python_logging.LogRecord) -> str:
        return f"{record.levelname.lower()}: {super().format(record)}"


def _quiet_libraries() -> None:
    """Shows only warnings and errors of libraries, but all of our own logs.

    Orbax alone logs about thirty lines per checkpoint, which hide what matters. When it fails to
    save, it raises an error, which becomes one line, but also logs a hundred tracebacks.
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
    warnings.filterwarnings("ignore", module=r"PIL\.")  # about metadata, which we read ourselves
    sys.unraisablehook = _except_for_closed_loops


def _except_for_closed_loops(unraisable) -> None:
    """Shows unraisable exceptions, except for those of other writes of a failed save."""
    if str(unraisable.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(unraisable)


def _explanation(error: Exception) -> str | None:
    """Returns a message about a wrong flag; None if the error has another cause."""
    if required := re.match(r"flag --(\S+)=None: ", str(error)):
        return f"--{required[1]} is missing: {flags.FLAGS[required[1]].help}"
    if isinstance(error, flags.UnrecognizedFlagError):
        meant = suggestion(error.flagname, [known.name for known in _own_flags()])
        hint = f"did you mean --{meant}?" if meant else "see --help for all of them"
        return f"there is no flag --{error.flagname}; {hint}"
    if isinstance(error, flags.Error):
        text = str(error).removeprefix("flag ")
        # For a wrong boolean, the message is the arguments of absl's ValueError.
        return re.sub(r"\('(.*)', '.*'\)$", r"\1", text)
    return None


def _own_flags() -> list[flags.Flag]:
    return flags.FLAGS.get_key_flags_for_module(sys.argv[0])


def _help(config_flag: flags.Flag | None, argv: list[str]) -> str:
    lines = [(sys.modules["__main__"].__doc__ or "").strip(), "", "Flags:"]
    for flag in _own_flags():
        default = ",".join(flag.default) if isinstance(flag.default, list) else flag.default
        default = f" (default: {default})" if default not in (None, "") else ""
        lines.append(f"  --{flag.name}: {flag.help}{default}")
    if config_flag is not None:
        lines += ["", *config_flags.help_lines(config_flag, argv)]
    return "\n".join(lines)
