"""Runs of several stages, as a user starts them."""

import json

import pytest

from tests.runs import (
    COUNTED,
    command,
    lines,
    run,
)

CONFIG = "tests/staged.py"


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
