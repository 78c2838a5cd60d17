"""Fills holes in pictures with 2D Gaussians, and trains the models that do.

gsjax COMMAND [--flag=value ...]
"""

import runpy
import sys

import gsjax
from gsjax.errors import suggestion

# By name: the module to run, which `python -m` runs as well, and what it does.
COMMANDS = {
    "inpaint": ("gsjax.inpaint", "fills holes in a picture or a folder of pictures"),
    "train": ("gsjax.main", "trains a model, or resumes a run"),
    "evaluate": ("gsjax.evaluate", "measures a model and baselines on pictures"),
    "serve": ("gsjax.serve", "serves a page that fills holes, and the same over HTTP"),
    "prepare": ("gsjax.data.prepare", "writes the shards of a data set"),
    "convert": ("gsjax.convert", "converts published PyTorch weights"),
    "pack": ("gsjax.pack", "packs a trained model into two small files to share"),
    "plot": ("gsjax.plot", "plots the curves of runs"),
    "aot": ("gsjax.aot", "estimates memory and time of training on TPUs"),
}


def main() -> None:
    """Runs the command that the first argument names; exits with 2 if there is no such command."""
    program, *arguments = sys.argv
    name = arguments[0] if arguments else None
    if name in ("--help", "-h", "help"):
        print(_help())
        return None
    if name == "--version":
        print(f"gsjax {gsjax.__version__}")
        return None
    if name is None:
        print(_help(), file=sys.stderr)
        sys.exit(2)
    if name not in COMMANDS:
        meant = suggestion(name, list(COMMANDS))
        hint = f"did you mean {meant}?" if meant else f"the commands are {', '.join(COMMANDS)}"
        print(f"error: gsjax has no command {name!r}; {hint}", file=sys.stderr)
        sys.exit(2)
    sys.argv = [program, *arguments[1:]]
    # As python -m does, so that worker processes find the module too.
    runpy.run_module(COMMANDS[name][0], run_name="__main__", alter_sys=True)
    return None


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {what}" for name, (_, what) in COMMANDS.items()]
    more = "gsjax COMMAND --help shows a command's flags; python -m MODULE works too:"
    modules = ", ".join(module for module, _ in COMMANDS.values())
    return "\n".join([(__doc__ or "").strip(), "", "Commands:", *lines, "", more, f"  {modules}"])


if __name__ == "__main__":
    main()
