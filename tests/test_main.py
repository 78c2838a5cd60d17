"""The command itself, in processes of its own, as a user runs it."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from gsjax import checkpoints

ROOT = Path(__file__).parents[1]
SMALL = {
    "data.image_size": "(32, 32)",
    "model.patch_size": "8",
    "model.gaussians": "16",
    "model.width": "16",
    "model.blocks": "1",
    "dino.image_size": "28",
    "discriminator.width": "8",
    "loss.gan_start": "6",
    "train.batch_size": "4",
    "log.every": "2",
    "checkpoint.every": "2",
    "validate.every": "6",
    "validate.images": "6",
    "validate.samples": "5",
}


def command(config, **fields):
    fields = {name.replace("__", "."): value for name, value in fields.items()}
    workdir = fields.pop("workdir", None)
    flags = [f"--config.{name}={value}" for name, value in fields.items()]
    flags += [f"--workdir={workdir}"] if workdir else []
    return [sys.executable, "-m", "gsjax.main", f"--config={config}", *flags]


def environment(cache):
    return os.environ | {
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "XLA_FLAGS": "--xla_backend_optimization_level=0",
    }


def run(arguments, cache):
    return subprocess.run(
        arguments, cwd=ROOT, env=environment(cache), capture_output=True, text=True, timeout=400
    )


def started(arguments, cache, until):
    """Starts the command and returns it as soon as `until()` is true."""
    process = subprocess.Popen(
        arguments, cwd=ROOT, env=environment(cache), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 300
    while not until():
        assert process.poll() is None, process.stderr.read().decode()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return process


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("main")


@pytest.fixture(scope="module")
def terminated(folder):
    """A run of 10 steps that was asked to stop on its way: its exit code and output."""
    workdir = folder / "run"
    arguments = command("configs/photos.py", workdir=workdir, train__steps=10, **SMALL)
    first = started(arguments, folder / "cache", (workdir / "checkpoints" / "2").exists)
    first.send_signal(signal.SIGTERM)
    output, _ = first.communicate()
    return first.returncode, output.decode()


@pytest.fixture(scope="module")
def killed_and_resumed(folder, terminated):
    """The same command again, killed on its way, and again to the end."""
    workdir, cache = folder / "run", folder / "cache"
    arguments = command("configs/photos.py", workdir=workdir, train__steps=10, **SMALL)
    second = started(arguments, cache, (workdir / "checkpoints" / "8").exists)
    second.send_signal(signal.SIGKILL)
    second.communicate()
    return workdir, run(arguments, cache)


@pytest.fixture(scope="module")
def metrics(killed_and_resumed):
    lines = (killed_and_resumed[0] / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_a_run_that_is_asked_to_stop_saves_and_ends_well(terminated, folder):
    code, output = terminated
    assert code == 0
    (step,) = re.findall(r"^stopped on request after step (\d+); the same command", output)
    assert (folder / "run" / "checkpoints" / step).exists()


def test_a_killed_run_goes_on_from_its_last_checkpoint(killed_and_resumed):
    _, last = killed_and_resumed
    assert last.returncode == 0, last.stderr
    assert any(f"going on after step {step}" in last.stderr for step in (8, 10))
    assert last.stdout.count("\n") == 1
    assert last.stdout.startswith("done: 10 steps in ")


@pytest.mark.slow
def test_stopped_and_killed_a_run_ends_as_one_without_a_break(killed_and_resumed, folder):
    """In every bit of all parameters and moments of the optimizers."""
    straight = folder / "straight"
    arguments = command("configs/photos.py", workdir=straight, train__steps=10, **SMALL)
    done = run(arguments, folder / "cache")
    assert done.returncode == 0, done.stderr
    for name in checkpoints.names_in(straight):
        one, other = (checkpoints.restore_params(path, name) for path in (folder / "run", straight))
        jax.tree.map(np.testing.assert_array_equal, one, other)


def test_every_step_is_recorded_once_across_the_kill(metrics):
    losses = [line["step"] for line in metrics if "loss/total" in line]
    assert losses == sorted(set(losses))
    assert {2, 4, 6, 8, 10} <= set(losses)


def test_the_discriminator_starts_when_the_config_says(metrics):
    adversarial = {line["step"]: "loss/gan" in line for line in metrics if "loss/total" in line}
    assert not adversarial[6]
    assert adversarial[8]


def test_validation_reports_the_hole_and_the_image(metrics):
    (last,) = [line for line in metrics if line["step"] == 10 and "val/psnr" in line]
    for name in ("psnr", "ssim", "l1"):
        assert f"val/{name}" in last
        assert f"val/{name}_hole" in last
    assert last["val/psnr"] > last["val/psnr_hole"] > last["val/psnr_hole_mean_fill"] > 5


def test_a_workdir_holds_the_runs_record(killed_and_resumed):
    workdir, _ = killed_and_resumed
    assert json.loads((workdir / "config.json").read_text())["train"]["steps"] == 10
    kept = sorted(int(path.name) for path in (workdir / "checkpoints").iterdir())
    assert kept == [6, 8, 10]
    assert list(workdir.glob("events.out.tfevents.*"))
    with Image.open(workdir / "samples" / "validation_00000010.png") as grid:
        assert grid.width > 4 * 128
        assert grid.height > 5 * 128


def test_a_finished_run_is_validated_again_and_not_trained(killed_and_resumed):
    workdir, _ = killed_and_resumed
    arguments = command("configs/photos.py", workdir=workdir, train__steps=10, **SMALL)
    before = (workdir / "metrics.jsonl").read_text()
    again = run(arguments, workdir.parent / "cache")
    assert again.returncode == 0, again.stderr
    after = (workdir / "metrics.jsonl").read_text().removeprefix(before)
    assert "loss/total" not in after
    assert "val/psnr_hole" in after


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            command("configs/celeba.py", dino__weights="nowhere.npz", initial="no_run"),
            [
                *("data.train", "CelebA-HQ", "--config.data.train=folder:", "data.validation"),
                *("dino.weights", "--config.dino.weights=dinov2_vitb14\n", "initial: ", "no_run"),
            ],
        ),
        (
            command("configs/photos.py", dino__weights="nowhere.pth"),
            ["dino.weights", "nowhere.pth", "--config.dino.weights=random"],
        ),
        (
            command("configs/photos.py", data__image_size="(60, 64)"),
            ["data.image_size", "(64, 64)"],
        ),
        (
            command("configs/photos.py", trian__steps="3"),
            ["--config.trian.steps", "--config.train.steps"],
        ),
    ],
    ids=["no data", "no weights", "a size that does not fit", "a mistyped key"],
)
def test_a_mistake_is_named_with_its_remedy_before_anything_is_written(
    arguments, expected, tmp_path
):
    workdir = tmp_path / "run"
    result = run([*arguments, f"--workdir={workdir}"], tmp_path / "cache")
    assert result.returncode == 2
    assert result.stderr.startswith("error: ")
    assert "Traceback" not in result.stderr
    for part in expected:
        assert part in result.stderr
    assert not workdir.exists()
