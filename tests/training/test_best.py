import json

import numpy as np
import pytest

from gsjax import config as config_lib
from gsjax.trained import checkpoints, restore
from gsjax.training.best import Best


def offered(workdir, metric, values, done=0, **validate):
    """The step that is kept after these values at the steps after `done`."""
    config = config_lib.default()
    config.checkpoint.best = metric
    config.validate.update(validate)
    best = Best(workdir, config, done)
    for step, value in enumerate(values, start=done + 1):
        logged = "lpips_squeeze" if metric == "lpips" else metric
        best.offer(step, {f"val/{logged}": value}, {"params": {"kernel": np.full(3, value)}})
    best.close()
    return checkpoints.latest_step(workdir / "best")


@pytest.mark.parametrize(
    ("metric", "values", "step"),
    [
        ("psnr_hole", (17.0, 19.0, 18.0), 2),
        ("lpips", (0.3, 0.1, 0.2, 0.1), 2),
        ("l1", (0.2, 0.4), 1),
    ],
)
def test_the_best_is_kept(tmp_path, metric, values, step):
    assert offered(tmp_path, metric, values) == step
    kept = restore.restore_params(tmp_path / "best", "generator")
    np.testing.assert_allclose(kept["params"]["kernel"], values[step - 1])


def test_a_resumed_run_knows_the_best_so_far(tmp_path):
    offered(tmp_path, "psnr", (20.0,))
    assert offered(tmp_path, "psnr", (19.0, 18.0), done=1) == 1
    assert offered(tmp_path, "psnr", (19.0, 21.0), done=3) == 5


def test_what_was_kept_by_another_metric_or_run_makes_way(tmp_path):
    offered(tmp_path, "psnr", (20.0, 30.0))
    assert offered(tmp_path, "psnr", (10.0,), done=0) == 1  # the run was started over
    assert offered(tmp_path, "lpips", (0.5,), done=1) == 2
    (tmp_path / "best" / "best.json").write_text("{")
    assert offered(tmp_path, "lpips", (0.6,), done=2) == 3


def test_a_run_that_ended_before_its_first_validation_leaves_nothing_to_warn_of(tmp_path, caplog):
    assert offered(tmp_path, "psnr", ()) is None
    with caplog.at_level("WARNING", "absl"):
        assert offered(tmp_path, "psnr", (20.0,)) == 1
        assert not caplog.records
        assert offered(tmp_path, "lpips", (0.5,)) == 1
        assert "is set aside as best.1" in caplog.text


@pytest.mark.parametrize("written", [True, False])
def test_a_step_that_a_killed_run_comes_to_again_is_kept_once(tmp_path, caplog, written):
    offered(tmp_path, "psnr", (10.0, 20.0))
    before = (tmp_path / "best" / "best.json").read_bytes()
    offered(tmp_path, "psnr", (30.0,), done=2)
    if not written:  # killed after the checkpoint, before the file
        (tmp_path / "best" / "best.json").write_bytes(before)
    with caplog.at_level("WARNING", "absl"):
        assert offered(tmp_path, "psnr", (30.0,), done=2) == 3
        assert offered(tmp_path, "psnr", (30.0, 25.0), done=1) == 2
    assert not caplog.records
    assert [path.name for path in tmp_path.iterdir()] == ["best"]


def test_what_is_known_of_an_older_run_is_taken_as_it_is(tmp_path):
    offered(tmp_path, "psnr", (20.0,))
    file = tmp_path / "best" / "best.json"
    known = json.loads(file.read_text())
    del known["validation"]
    file.write_text(json.dumps(known))
    assert offered(tmp_path, "psnr", (19.0,), done=1) == 1


def test_what_does_not_compare_is_kept_aside(tmp_path):
    offered(tmp_path, "psnr", (30.0,))
    assert offered(tmp_path, "psnr", (20.0,), done=1, images=8) == 2  # of other, harder examples
    assert offered(tmp_path, "psnr", (0.5,), done=0, images=8) == 1  # started over
    kept = [checkpoints.latest_step(tmp_path / name) for name in ("best.1", "best.2")]
    assert kept == [1, 2]
    assert json.loads((tmp_path / "best.1" / "best.json").read_text())["value"] == 30


@pytest.mark.parametrize("metric", ["psnr", "l1"])
def test_what_is_no_number_is_never_the_best(tmp_path, metric):
    assert offered(tmp_path, metric, (np.nan,)) is None
    assert offered(tmp_path, metric, (np.nan, 20.0, np.nan, 25.0), done=1) in (3, 5)
    assert offered(tmp_path, metric, (np.nan,), done=5) in (3, 5)
