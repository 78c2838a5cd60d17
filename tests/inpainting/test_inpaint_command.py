"""The command in processes of its own, as a user runs it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gsjax.data.sources import open_source
from gsjax.inpainting.painter import Inpainter
from tests import quick

ROOT = Path(__file__).parents[2]
COUNT = 60


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Small pictures, enough of them that a run is still going after the first few."""
    folder = tmp_path_factory.mktemp("command")
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:90, :120]
    hole = (y - 45) ** 2 + (x - 60) ** 2 < 7**2
    (folder / "in").mkdir()
    for i in range(COUNT):
        image = rng.integers(0, 256, (90, 120, 3), dtype=np.uint8)
        Image.fromarray(image).save(folder / "in" / f"{i:02}.png")
    Image.fromarray(hole).save(folder / "mask.png")
    return folder


def started(folder, checkpoint, output, *flags):
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(folder / "cache"),
        "XLA_FLAGS": quick.FLAGS,
    }
    arguments = [
        f"--checkpoint={checkpoint}", f"--image={folder / 'in'}", f"--mask={folder / 'mask.png'}",
        f"--output={folder / output}", *flags,
    ]  # fmt: skip
    return subprocess.Popen(
        [sys.executable, "-m", "gsjax.inpaint", *arguments],
        cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def check_whole(folder, output):
    """Asserts that every output is whole, its known pixels as they were; returns their names."""
    hole = np.asarray(Image.open(folder / "mask.png"))
    names = sorted(path.name for path in (folder / output).iterdir() if path.name[0] != ".")
    for name in names:
        before, after = (np.asarray(Image.open(folder / part / name)) for part in ("in", output))
        np.testing.assert_array_equal(after[~hole], before[~hole])
    return names


def test_a_run_that_was_killed_goes_on_with_no_output_missing_or_half_written(folder, checkpoint):
    output = folder / "out"
    first = started(folder, checkpoint, "out")
    deadline = time.monotonic() + 300
    while len(list(output.glob("*.png"))) < 3:
        assert first.poll() is None, first.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    made = check_whole(folder, "out")
    assert 3 <= len(made) < COUNT
    when = {name: (output / name).stat().st_mtime_ns for name in made}
    # What a kill in the middle of writing leaves.
    missing = f"{COUNT - 1:02}.png"
    (output / f".{missing}.12345.tmp").write_bytes(b"half")

    second = started(folder, checkpoint, "out")
    stdout, stderr = second.communicate()
    assert second.returncode == 0, stderr
    assert f"{COUNT - len(made)} written, {len(made)} existed already" in stdout
    assert check_whole(folder, "out") == [f"{i:02}.png" for i in range(COUNT)]
    assert all((output / name).stat().st_mtime_ns == when[name] for name in made)
    assert not list(output.glob(".*"))


@pytest.mark.slow
def test_shards_make_all_outputs_once(folder, checkpoint):
    processes = [started(folder, checkpoint, "shards", f"--shard={i}/3") for i in range(3)]
    for process in processes:
        stdout, stderr = process.communicate()
        assert process.returncode == 0, stderr
        assert f"{COUNT // 3} written" in stdout
        assert "already" not in stdout
    assert len(check_whole(folder, "shards")) == COUNT


def test_help_tells_all_flags_without_importing_jax():
    result = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "gsjax.inpaint", "--help"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert result.returncode == 0
    flags = "checkpoint image mask output format threshold quality batch_size shard overwrite"
    for flag in flags.split():
        assert f"  --{flag}: " in result.stdout
    assert "jax._src" not in result.stderr


@pytest.mark.slow
def test_a_trained_model_leaves_no_seam(tmp_path):
    """The mean step across the hole's border is within 1.5 times that of the original there."""
    run = tmp_path / "run"
    fields = ["train.steps=30", "validate.every=30", "validate.images=6", "checkpoint.every=30"]
    subprocess.run(
        [
            sys.executable, "-m", "gsjax.main", "--config=configs/photos.py", f"--workdir={run}",
            *(f"--config.{field}" for field in fields),
        ],
        cwd=ROOT, env=os.environ | {"JAX_PLATFORMS": "cpu"}, check=True, capture_output=True,
    )  # fmt: skip
    painter = Inpainter.load(run)
    photos = open_source("photos", "validation", "photos")
    y, x = np.mgrid[:200, :300][:, ..., None]
    gradient = (60 + 0.4 * x + [0, 0.5, 0.2] * y).astype(np.uint8)
    for image in (gradient, photos[0], photos[1]):
        for side in (24, 70):
            hole = np.zeros(image.shape[:2], bool)
            hole[90 : 90 + side, 120 : 120 + side] = True
            filled = painter(image, hole).image
            assert step(filled, hole) < 1.5 * step(image, hole)


def step(image, hole):
    """The mean difference of neighbors of which one is hole and one is known."""
    steps = []
    for axis in (0, 1):
        border = np.diff(hole.astype(int), axis=axis) != 0
        steps.append(np.abs(np.diff(image.astype(float), axis=axis))[border])
    return np.concatenate(steps).mean()
