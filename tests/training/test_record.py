import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gsjax.errors import UserError
from gsjax.training import record as record_lib


def run_python(program):
    root = Path(__file__).parents[2]
    return subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True)


def lines(workdir):
    def refuse(constant):
        raise ValueError(f"{constant} is not JSON")

    text = (workdir / "metrics.jsonl").read_text()
    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


def test_scalars_can_be_read_while_the_run_goes_on(tmp_path):
    record = record_lib.open_record(tmp_path / "a" / "run", 0)
    record.scalars(1, {"loss/total": np.float32(0.5), "loss/l1": 1})
    record.scalars(np.int64(1), {"val/psnr_hole": 20.25})
    assert lines(tmp_path / "a" / "run") == [
        {"step": 1, "loss/total": 0.5, "loss/l1": 1.0},
        {"step": 1, "val/psnr_hole": 20.25},
    ]
    record.close()


def test_nan_and_infinity_are_null(tmp_path, caplog):
    record = record_lib.open_record(tmp_path, 0)
    record.scalars(7, {"a": math.nan, "b": 2.0, "c": -math.inf})
    record.close()
    assert lines(tmp_path) == [{"step": 7, "a": None, "b": 2.0, "c": None}]
    assert not caplog.records


def test_what_came_after_the_restored_step_is_dropped(tmp_path):
    record = record_lib.open_record(tmp_path, 0)
    for step in (10, 20, 30):
        record.scalars(step, {"loss": step / 10})
    record.close()
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 20, "lo')  # killed here
    record = record_lib.open_record(tmp_path, 20)
    record.scalars(30, {"loss": 4.0})
    record.close()
    assert [line["loss"] for line in lines(tmp_path)] == [1.0, 2.0, 4.0]


def test_a_run_that_starts_anew_keeps_what_another_recorded(tmp_path):
    for value in (1.0, 2.0, 3.0):
        record = record_lib.open_record(tmp_path, 0)
        record.scalars(1, {"loss/total": value})
        record.close()
    assert lines(tmp_path) == [{"step": 1, "loss/total": 3.0}]
    older = [json.loads((tmp_path / f"metrics.{i}.jsonl").read_text()) for i in (1, 2)]
    assert [line["loss/total"] for line in older] == [1.0, 2.0]


def test_pictures_and_scalars_are_in_samples_and_in_tensorboard(tmp_path):
    picture = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)
    record = record_lib.open_record(tmp_path, 0)
    record.image(500, "validation", picture)
    record.scalars(500, {"loss/total": 0.5})
    record.close()
    stored = Image.open(tmp_path / "samples" / "validation_00000500.png")
    np.testing.assert_array_equal(np.asarray(stored), picture)
    (events,) = tmp_path.glob("events.out.tfevents.*")
    content = events.read_bytes()
    assert b"loss/total" in content
    assert b"validation" in content


def test_a_process_that_does_not_write_leaves_no_trace(tmp_path):
    record = record_lib.open_record(tmp_path / "run", 0, active=False)
    record.scalars(1, {"loss": 1.0})
    record.image(1, "validation", np.zeros((4, 4, 3), np.uint8))
    record.close()
    assert not list(tmp_path.iterdir())


def test_a_workdir_that_cannot_be_written_to_is_the_users_error(tmp_path):
    (tmp_path / "file").write_text("")
    for workdir in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(UserError, match="--workdir"):
            record_lib.open_record(workdir, 0)


def test_importing_the_record_does_not_import_tensorboard():
    program = (
        "import sys, gsjax.training.record; "
        "print('tensorboardX' in sys.modules, 'jax' in sys.modules)"
    )
    run = run_python(program)
    assert run.stdout.split() == ["False", "False"]
