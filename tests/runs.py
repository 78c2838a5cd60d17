"""Runs of the command itself, in processes of their own, as a user starts them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np

from gsjax.trained import checkpoints, restore
from tests import quick

ROOT = Path(__file__).parents[1]
# All that a run has, in steps of a second.
SMALL = {
    "data.image_size": "(32, 32)",
    "model.patch_size": "8",
    "model.gaussians": "16",
    "model.width": "16",
    "model.downs": "1",
    "model.blocks": "1",
    "dino.image_size": "28",
    "discriminator.width": "8",
    "loss.gan_start": "4",
    "train.batch_size": "4",
    "train.steps": "8",
    "log.every": "1",
    "checkpoint.every": "2",
    "validate.every": "4",
    "validate.images": "6",
    "validate.samples": "5",
}
# Runs the command, and writes down after how many lines of metrics each program was compiled, and
# each list of images was opened.
COUNTED = """if True:
    import json, pathlib, runpy, sys
    import jax
    counts = pathlib.Path(sys.argv.pop(1))
    metrics = counts.with_name("straight") / "metrics.jsonl"
    def note(what):
        recorded = len(metrics.read_text().splitlines()) if metrics.exists() else 0
        with open(counts, "a") as file:
            file.write(json.dumps([what, recorded]) + "\\n")
    def note_compiled(event, duration, fun_name=None, **details):
        if event == "/jax/core/compile/backend_compile_duration":
            note(fun_name)
    def note_opened(event, arguments):
        if event == "open" and str(arguments[0]).endswith(".list"):
            note(pathlib.Path(arguments[0]).name)
    jax.monitoring.register_event_duration_secs_listener(note_compiled)
    sys.addaudithook(note_opened)
    runpy.run_module("gsjax.main", run_name="__main__", alter_sys=True)
"""
# What differs from run to run.
_SPEEDS = ("images_per_second", "data/wait_fraction")


def command(config="configs/photos.py", **fields):
    fields = {name.replace("__", "."): value for name, value in fields.items()}
    workdir = fields.pop("workdir", None)
    flags = [f"--config.{name}={value}" for name, value in fields.items()]
    flags += [f"--workdir={workdir}"] if workdir else []
    return [sys.executable, "-m", "gsjax.main", f"--config={config}", *flags]


def environment(cache):
    return os.environ | {
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "XLA_FLAGS": quick.FLAGS,
    }


def run(arguments, cache, **options):
    return subprocess.run(
        arguments,
        cwd=ROOT,
        env=environment(cache),
        capture_output=True,
        text=True,
        timeout=400,
        **options,
    )


def start(arguments, cache):
    """Starts the command, as in a terminal."""
    return subprocess.Popen(
        arguments,
        cwd=ROOT,
        env=environment(cache),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # In the background, where the tests may run, a shell has Ctrl-C ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def started(arguments, cache, until):
    """Starts the command, as in a terminal, and returns it as soon as `until()` is true."""
    process = start(arguments, cache)
    deadline = time.monotonic() + 300
    while not until():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return process


def ended(process):
    """Waits for it; returns the seconds that took, its output and its errors."""
    start = time.monotonic()
    output, errors = process.communicate(timeout=300)
    return time.monotonic() - start, output, errors


def lines(workdir):
    """Returns what a run recorded, without its speeds."""
    recorded = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in _SPEEDS} for line in recorded]


def assert_same_state(one, other):
    """In every bit of the last checkpoints: parameters, averages, optimizers, counters, key."""
    names = restore.names_in(one)
    assert names == restore.names_in(other)
    assert checkpoints.latest_step(one / "checkpoints") == checkpoints.latest_step(
        other / "checkpoints"
    )
    for name in names:
        a, b = (restore.restore_params(workdir, name) for workdir in (one, other))
        jax.tree.map(np.testing.assert_array_equal, a, b)


def assert_same_run(one, other):
    """The same state, and the same recorded at every step, which shows the data's order."""
    assert_same_state(one, other)
    assert lines(one) == lines(other)
    for folder in ("samples", "best"):
        assert_same_files(one / folder, other / folder)


def assert_same_files(one, other):
    """Pictures and JSON; Orbax writes times into its files."""
    for kind in ("*.png", "*.json"):
        names = sorted(path.name for path in one.glob(kind))
        assert names == sorted(path.name for path in other.glob(kind))
        assert names or kind == "*.json" or one.name == "best"
        for name in names:
            assert (one / name).read_bytes() == (other / name).read_bytes()
