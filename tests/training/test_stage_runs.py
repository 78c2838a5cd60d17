"""Runs of several stages, as a user starts them."""

import json
import re
import signal

import jax
import numpy as np
import pytest

from gsjax.trained import checkpoints, packed, restore
from gsjax.trained.load import read_generator
from tests.runs import COUNTED, assert_same_run, command, ended, lines, run, started

CONFIG = "tests/staged.py"
# Runs the command as on an accelerator, and writes down in which threads steps were compiled.
AHEAD = """if True:
    import runpy, sys, threading
    import jax
    from gsjax.training import compiled_steps, train
    threads = sys.argv.pop(1)
    def note(event, duration, fun_name=None, **details):
        if event == "/jax/core/compile/backend_compile_duration" and fun_name == "jit(step)":
            with open(threads, "a") as file:
                print(threading.current_thread().name, file=file)
    jax.monitoring.register_event_duration_secs_listener(note)
    train.TrainSteps = lambda *arguments: compiled_steps.TrainSteps(*arguments[:-1], True)
    runpy.run_module("gsjax.main", run_name="__main__", alter_sys=True)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("stages")


@pytest.fixture(scope="module")
def straight(folder):
    """A run without a break, whose compilations are in `compiled`, and what it printed."""
    workdir = folder / "straight"
    python, _, _, *flags = command(CONFIG, workdir=workdir)
    done = run([python, "-c", COUNTED, folder / "compiled", *flags], folder / "cache")
    assert done.returncode == 0, done.stderr
    return workdir, done


def test_one_command_goes_through_all_stages(straight):
    workdir, done = straight
    assert done.stdout.startswith("done: 9 steps in ")
    assert json.loads((workdir / "config.json").read_text())["train"]["steps"] == 9
    steps = [line for line in lines(workdir) if "loss/total" in line]
    assert [line["step"] for line in steps] == list(range(1, 10))
    assert [line["stage"] for line in steps] == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert ["loss/gan" in line for line in steps] == [False] * 3 + [True] * 6
    assert ["loss/hole" in line for line in steps] == [True] * 3 + [False] * 6


def test_every_stage_compiles_its_step_once(straight):
    text = (straight[0].parent / "compiled").read_text()
    compiled = [json.loads(line) for line in text.splitlines()]
    # After 3 lines the validation, which writes one more; at step 4 it is due again.
    assert [after for name, after in compiled if name == "jit(step)"] == [0, 3, 4, 9]


def test_the_generator_at_the_end_of_each_stage_is_kept(straight):
    workdir, _ = straight
    for name, step in (("smooth", 3), ("texture", 6), ("large", 9)):
        folder = workdir / "stages" / name
        assert checkpoints.latest_step(folder / "checkpoints") == step
        config, generator = read_generator(folder)
        assert config.data.image_size == (48, 48)
        packed.write_packed(workdir.parent / "packed" / name, config, generator)
    last = restore.restore_params(workdir, "average")
    jax.tree.map(np.testing.assert_array_equal, last, generator)


@pytest.fixture(scope="module")
def terminated(folder, straight):
    """The same in another folder, stopped by Ctrl-C in the second stage."""
    workdir = folder / "run"
    arguments = command(CONFIG, workdir=workdir)
    process = started(arguments, folder / "cache", (workdir / "checkpoints" / "4").exists)
    process.send_signal(signal.SIGINT)
    _, output, errors = ended(process)
    return workdir, process.returncode, output, errors


def test_a_run_stops_in_a_stage_and_resumes_to_the_same_bits(terminated, straight):
    workdir, code, output, errors = terminated
    assert code == 0, errors
    assert re.match("stopped on request after step [456]; the same command", output)
    hints = [line for line in errors.splitlines() if "Ctrl-C" in line]
    assert hints == ["saving and stopping; press Ctrl-C again to stop at once, without saving"]
    resumed = run(command(CONFIG, workdir=workdir), workdir.parent / "cache")
    assert resumed.returncode == 0, resumed.stderr
    assert "info: stage large, 3 of 3: up to step 9, 2 images of 48×48 a step" in resumed.stderr
    assert "info: stage smooth" not in resumed.stderr
    assert_same_run(workdir, straight[0])


def test_stages_that_were_run_cannot_be_moved(straight):
    workdir, _ = straight
    before = (workdir / "config.json").read_bytes()
    moved = command(CONFIG, workdir=workdir, stages__smooth__steps="2")
    result = run(moved, workdir.parent / "cache")
    assert result.returncode == 2
    error = result.stderr.splitlines()[-1]
    assert error.startswith("error: train.stages: this run resumes after step 9, until which it")
    assert "smooth after step 0, texture after step 3, large after step 6; now" in error
    assert (workdir / "config.json").read_bytes() == before


@pytest.mark.slow
def test_killed_in_each_stage_a_run_ends_in_the_same_bits(straight, folder):
    workdir = folder / "killed"
    arguments = command(CONFIG, workdir=workdir)

    def recorded(step):
        return f'"step": {step},' in metrics_of(workdir)

    # In each stage, and right after one has ended: before and while the next begins.
    for moment in (lambda: recorded(2), (workdir / "checkpoints" / "3").exists,
                   lambda: recorded(5), (workdir / "checkpoints" / "6").exists,
                   lambda: recorded(8)):  # fmt: skip
        process = started(arguments, folder / "cache", moment)
        process.kill()
        ended(process)
    last = run(arguments, folder / "cache")
    assert last.returncode == 0, last.stderr
    assert_same_run(workdir, straight[0])


@pytest.fixture(scope="module")
def ahead(folder):
    """The command that runs in a folder, compiling ahead, and the file that names the threads."""
    workdir, threads = folder / "ahead", folder / "threads"
    python, _, _, *flags = command(CONFIG, workdir=workdir)
    return [python, "-c", AHEAD, threads, *flags], workdir, threads


@pytest.mark.slow
def test_compiled_ahead_in_a_thread_a_run_is_the_same(straight, folder, ahead):
    arguments, workdir, threads = ahead
    # Nothing is in this cache. The first step compiles; then the thread does, for minutes.
    process = started(arguments, folder / "cold", lambda: '"step": 1,' in metrics_of(workdir))
    process.send_signal(signal.SIGTERM)
    _, output, errors = ended(process)
    assert process.returncode == 0, errors
    assert re.match("stopped on request after step [123]; the same command", output)
    threads.unlink()
    done = run(arguments, folder / "cold")
    assert done.returncode == 0, done.stderr
    # The one that the run begins with, and the validation; then in the thread.
    names = threads.read_text().split()
    assert sorted(names) == ["MainThread"] * 2 + ["compiles_0"] * 2
    assert_same_run(workdir, straight[0])


def metrics_of(workdir):
    path = workdir / "metrics.jsonl"
    return path.read_text() if path.exists() else ""
