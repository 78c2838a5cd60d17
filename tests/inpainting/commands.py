"""Runs many commands of gsjax.inpaint, or another one, in one process, as if each had its own.

python -m tests.inpainting.commands FILE [NAME]: a JSON list of lists of arguments; prints a JSON
list of [exit code, stdout, stderr]. A model is loaded and compiled once.
"""

import contextlib
import functools
import importlib
import io
import json
import sys
import traceback

from absl import flags, logging

from gsjax import cli
from gsjax.inpainting.painter import Inpainter


def run(arguments, name):
    out, err = io.StringIO(), io.StringIO()
    for flag in flags.FLAGS:
        flags.FLAGS[flag].unparse()
    sys.argv = [f"gsjax.{name}", *arguments]  # the flags are this module's
    main = importlib.import_module(f"gsjax.{name}").main
    logging.get_absl_handler().python_handler.stream = err
    code = None
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            cli.run(main)
        except SystemExit as ended:
            code = ended.code or 0
        except BaseException:
            traceback.print_exc()
    return code, out.getvalue(), err.getvalue()


if __name__ == "__main__":
    Inpainter.load = functools.cache(Inpainter.load)
    with open(sys.argv[1]) as file:
        listed = json.load(file)
    name = sys.argv[2] if len(sys.argv) > 2 else "inpaint"
    print(json.dumps([run(arguments, name) for arguments in listed]))
