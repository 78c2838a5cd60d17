"""Runs many commands of gsjax.inpaint in one process, as if each had its own.

python -m tests.inpainting.commands FILE: a JSON list of lists of arguments; prints a JSON list of
[exit code, stdout, stderr]. A model is loaded and compiled once.
"""

import contextlib
import functools
import io
import json
import sys
import traceback

from absl import flags, logging

from gsjax import cli, inpaint
from gsjax.inpainting.painter import Inpainter


def run(arguments):
    out, err = io.StringIO(), io.StringIO()
    for name in flags.FLAGS:
        flags.FLAGS[name].unparse()
    sys.argv = ["gsjax.inpaint", *arguments]  # the flags are this module's
    logging.get_absl_handler().python_handler.stream = err
    code = None
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            cli.run(inpaint.main)
        except SystemExit as ended:
            code = ended.code or 0
        except BaseException:
            traceback.print_exc()
    return code, out.getvalue(), err.getvalue()


if __name__ == "__main__":
    Inpainter.load = functools.cache(Inpainter.load)
    with open(sys.argv[1]) as file:
        listed = json.load(file)
    print(json.dumps([run(arguments) for arguments in listed]))
