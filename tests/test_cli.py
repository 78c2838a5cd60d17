import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gsjax.config.groups import FIELDS

ROOT = Path(__file__).parents[1]
PROGRAM = '''"""Does nothing, in many ways."""
import hashlib, sys, time
import noisy
from absl import flags, logging
from ml_collections.config_flags import config_flags
from gsjax import cli
from gsjax.errors import UserError

CONFIG = config_flags.DEFINE_config_file("config", None, "the config file")
DO = flags.DEFINE_string("do", None, "what to do")
FAST = flags.DEFINE_bool("fast", False, "how to do it")
flags.mark_flag_as_required("config")

def main():
    noisy.log()
    logging.info("our own line")
    if DO.value == "fail":
        raise UserError("--do", "there is nothing to do")
    if DO.value == "interrupt":
        raise KeyboardInterrupt
    if DO.value == "compute":
        print("computing", flush=True)
        hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)  # minutes, outside of Python
    if DO.value == "wait":
        print("computing", flush=True)
        try:
            time.sleep(600)
        finally:
            print("cleaned up")
    if DO.value == "bug":
        raise ValueError("a bug")
    print(CONFIG.value.train.steps, CONFIG.value.data.image_size, "jax" in sys.modules)

if __name__ == "__main__":
    cli.run(main, cleans_up="--fast" in sys.argv)
'''
CONFIGS = {
    "good": "config.train.steps = 7",
    "staged": "lib.add_stage(config, 'a', 7, {'train.batch_size': 2})",
    "typo": "config.trian.steps = 7",
    "type": "config.train.steps = 'many'",
    "value": "int('x')",
    "syntax": "config.train.steps = = 7",
    "import": "import nowhere",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    (folder / "program.py").write_text(PROGRAM)
    noisy = "from absl import logging\ndef log():\n    logging.info('noise')\n"
    (folder / "noisy.py").write_text(noisy)
    (folder / "configs").mkdir()
    for name, line in CONFIGS.items():
        text = "from gsjax import config as lib\ndef get_config():\n    config = lib.default()\n"
        (folder / "configs" / f"{name}.py").write_text(f"{text}    {line}\n    return config\n")
    (folder / "configs" / "empty.py").write_text("")
    return folder


def run(folder, *args):
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "program.py", *args]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)


GOOD, STAGED = "--config=configs/good.py", "--config=configs/staged.py"


@pytest.mark.parametrize(
    ("args", "parts"),
    [
        ([GOOD, "--config.trian.steps=9"], ["--config.trian.steps", "--config.train.steps?"]),
        ([GOOD, "--config.train.step", "9"], ["--config.train.step:", "--config.train.steps?"]),
        ([GOOD, "--noconfig.data.flop"], ["--config.data.flop", "--config.data.flip?"]),
        ([GOOD, "--config.train=9"], ["--config.train is a group", "--config.train.accumulate"]),
        (
            [GOOD, "--config.train.steps=a=b"],
            ["--config.train.steps=a=b is not a whole number from 0", "such as 7"],
        ),
        (
            [GOOD, "--config.masks.curriculum=(0,"],
            ["--config.masks.curriculum=(0, is not a list of (whole number, number, number), such"],
        ),
        ([STAGED, "--config.stages.a.step=9"], ["mean --config.stages.a.steps?"]),
        (
            [STAGED, "--config.stages.a.loss.gan=1"],
            ["stage a does not set loss.gan", "in configs/staged.py, or set --config.loss.gan"],
        ),
        (["--config.train.steps=9"], ["--config is missing", "--config=photos"]),
        (["--config.train.steps=9", GOOD], ["--config=FILE must come before"]),
        ([], ["--config is missing", "--config=photos"]),
        (["--config="], ["--config is missing", "--config=photos"]),
        (["--config=configs/god.py"], ["configs/god.py", "did you mean configs/good.py?"]),
        (["--config=good.py", "--config.seed=1"], ["no file good.py", "mean configs/good.py?"]),
        (["--config=configs/typo.py"], ["configs/typo.py, line 4:", 'Did you mean "train"']),
        (["--config=configs/type.py"], ["configs/type.py, line 4:", "'steps'"]),
        (["--config=configs/value.py", "--config.seed=1"], ["configs/value.py, line 4:", "'x'"]),
        (["--config=configs/syntax.py"], ["configs/syntax.py, line 4: SyntaxError"]),
        (["--config=configs/import.py"], ["configs/import.py, line 4:", "nowhere"]),
        (["--config=configs/empty.py"], ["configs/empty.py has no function get_config()"]),
        ([GOOD, "--od=x"], ["no flag --od", "--do?"]),
        ([GOOD, "--fast=maybe"], ["--fast=maybe: Non-boolean argument"]),
        ([GOOD, "false"], ["unexpected argument 'false'", "--name=value"]),
        ([GOOD, "--do=fail", "-v=-1"], ["--do: there is nothing to do"]),
    ],
)
def test_a_mistake_is_one_line_that_names_what_is_right(folder, args, parts):
    result = run(folder, *args)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    for part in parts:
        assert part in line
    assert not result.stdout


def test_a_good_command_runs_without_noise_and_without_importing_jax(folder):
    result = run(folder, GOOD, "--config.train.steps=9", "--noconfig.data.flip")
    assert (result.returncode, result.stdout) == (0, "9 (256, 256) False\n")
    (line,) = result.stderr.splitlines()
    assert "our own line" in line
    again = ["--config.train.steps=1", "--config.data.image_size=(8, 8)"]
    again += ["--config.train.steps=2", "--config.data.image_size=(64, 32)"]
    repeated = run(folder, GOOD, "-v=0", *again)
    assert repeated.stdout == "2 (64, 32) False\n"  # the later one counts, of tuples too
    assert "noise" in repeated.stderr


def test_an_interrupt_exits_with_130_and_a_bug_keeps_its_traceback(folder):
    result = run(folder, GOOD, "--do=interrupt", "-v=-1")
    assert (result.returncode, result.stderr) == (130, "interrupted\n")
    result = run(folder, GOOD, "--do=bug")
    assert result.returncode == 1
    assert "Traceback" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--do=compute"], ""),
        (["--do=compute", "--fast"], ""),
        (["--do=wait", "--fast"], "cleaned up\n"),
    ],
    ids=["at once", "after a while, if it should clean up and does not", "cleaned up"],
)
def test_ctrl_c_ends_a_command_whatever_it_computes(folder, arguments, expected):
    process = subprocess.Popen(
        [sys.executable, "program.py", GOOD, *arguments],
        **{"cwd": folder, "env": os.environ | {"PYTHONPATH": str(ROOT)}, "text": True},
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE},
        # As in a terminal; pytest itself may run in the background.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while process.stdout.readline() != "computing\n":
        assert process.poll() is None
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, output) == (130, expected)
    assert errors.splitlines()[-1] == "interrupted"
    assert "Traceback" not in errors


def test_help_shows_the_programs_flags_and_every_config_field(folder):
    result = run(folder, "--help")
    assert result.returncode == 0
    assert result.stdout.startswith("Does nothing, in many ways.")
    assert "--do: what to do" in result.stdout
    assert "--verbosity" not in result.stdout
    for name in FIELDS:
        assert f"  {name}=" in result.stdout
    assert "  train.batch_size=8  # images in a step, over all devices (from 1 to" in result.stdout
    assert "  train.steps=7" in run(folder, GOOD, "--help").stdout
    help_of_stages = run(folder, STAGED, "--help").stdout
    assert "  stages.a.train.batch_size=2  # images in a step" in help_of_stages
    assert "  stages.a.steps=7" in help_of_stages
