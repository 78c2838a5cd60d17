"""The command itself, in processes of its own, as a user runs it."""

import json
import re
import signal
import time

import pytest
from PIL import Image

from gsjax.data.sources import open_source
from tests.runs import (
    COUNTED,
    SMALL,
    assert_same_run,
    command,
    ended,
    lines,
    run,
    started,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("main")


@pytest.fixture(scope="module")
def straight(folder):
    """A run of 8 steps without a break; `counts` has what it compiled and opened.

    It reads the photographs from lists, whose openings can be counted.
    """
    workdir, lists = folder / "straight", {}
    for split in ("train", "validation"):
        photos = open_source("photos", split, "photos")
        list_file = folder / f"{split}.list"
        list_file.write_text("\n".join(photos.name(index) for index in range(len(photos))))
        lists[f"data.{split}"] = f"list:{list_file}"
    python, _, _, *flags = command(workdir=workdir, **SMALL | lists)
    done = run([python, "-c", COUNTED, folder / "counts", *flags], folder / "cache")
    assert done.returncode == 0, done.stderr
    return workdir


@pytest.fixture(scope="module")
def terminated(folder, straight):
    """The same in another folder, asked to stop on its way, and again while it saves."""
    workdir = folder / "run"
    arguments = command(workdir=workdir, **SMALL)
    first = started(arguments, folder / "cache", (workdir / "checkpoints" / "4").exists)
    for _ in range(3):
        first.send_signal(signal.SIGTERM)
        time.sleep(0.2)
    _, output, _ = ended(first)
    return first.returncode, output


@pytest.fixture(scope="module")
def killed_and_resumed(folder, terminated):
    """The same command again, killed on its way, and again to the end."""
    workdir, cache = folder / "run", folder / "cache"
    arguments = command(workdir=workdir, **SMALL)
    second = started(arguments, cache, (workdir / "checkpoints" / "6").exists)
    second.kill()
    ended(second)
    return workdir, run(arguments, cache)


def test_a_run_that_is_asked_to_stop_saves_and_ends_well(terminated, folder):
    code, output = terminated
    assert code == 0
    (step,) = re.findall(r"^stopped on request after step (\d+); the same command", output)
    assert (folder / "run" / "checkpoints" / step).exists()


def test_a_killed_run_goes_on_from_its_last_checkpoint(killed_and_resumed):
    _, last = killed_and_resumed
    assert last.returncode == 0, last.stderr
    assert any(f"resuming after step {step}" in last.stderr for step in (6, 8))
    assert "an UNTRAINED DINO" in last.stderr  # weights that mean nothing are told
    assert last.stdout.count("\n") == 1
    assert last.stdout.startswith("done: 8 steps in ")


def test_stopped_and_killed_a_run_ends_as_one_without_a_break(killed_and_resumed, straight):
    assert_same_run(killed_and_resumed[0], straight)


@pytest.fixture(scope="module")
def counted(straight):
    """What was compiled and opened, each with how many lines of metrics there were by then."""
    text = (straight.parent / "counts").read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_every_list_of_images_is_opened_once(counted):
    opened = [what for what, _ in counted if what.endswith(".list")]
    assert opened == ["train.list", "validation.list"]


def test_every_program_is_compiled_once(counted):
    # The train step; after four steps the validation; then the train step that is adversarial.
    assert [after for name, after in counted if name == "jit(step)"] == [0, 4, 5]
    assert max(after for _, after in counted) == 5


def test_every_step_is_recorded_once(straight):
    recorded = lines(straight)
    assert [line["step"] for line in recorded if "loss/total" in line] == list(range(1, 9))
    assert [line["step"] for line in recorded if "val/psnr" in line] == [4, 8]


def test_the_discriminator_starts_when_the_config_says(straight):
    steps = [line["step"] for line in lines(straight) if "loss/gan" in line]
    assert steps == [5, 6, 7, 8]


def test_validation_reports_the_hole_and_the_image(straight):
    last = lines(straight)[-1]
    for name in ("psnr", "ssim", "l1"):
        assert f"val/{name}" in last
        assert f"val/{name}_hole" in last
    assert last["val/psnr"] > last["val/psnr_hole"] > last["val/psnr_hole_mean_fill"] > 5


def test_a_workdir_holds_the_runs_record(straight):
    assert json.loads((straight / "config.json").read_text())["train"]["steps"] == 8
    kept = sorted(int(path.name) for path in (straight / "checkpoints").iterdir())
    assert kept == [4, 6, 8]
    assert list(straight.glob("events.out.tfevents.*"))
    with Image.open(straight / "samples" / "validation_00000008.png") as grid:
        assert grid.width > 4 * 128
        assert grid.height > 5 * 128


def test_a_finished_run_is_validated_again_and_not_trained(killed_and_resumed):
    workdir, _ = killed_and_resumed
    before = (workdir / "metrics.jsonl").read_text()
    again = run(command(workdir=workdir, **SMALL), workdir.parent / "cache")
    assert again.returncode == 0, again.stderr
    assert "PSNR in the hole" in again.stdout
    assert (workdir / "metrics.jsonl").read_text() == before  # the same, and so recorded once
    other = SMALL | {"validate.images": "4"}
    again = run(command(workdir=workdir, **other), workdir.parent / "cache")
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


def test_a_bucket_is_no_workdir(tmp_path):
    result = run(command(workdir="gs://bucket/run"), tmp_path / "cache")
    assert result.returncode == 2
    assert result.stderr.startswith("error: --workdir: gs://bucket/run is not a folder; mount the")
