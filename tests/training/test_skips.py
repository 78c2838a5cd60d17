"""Steps that had to be skipped."""

import numpy as np
import pytest

from gsjax.errors import UserError
from gsjax.training.skips import Skips

BATCH = {"image": np.zeros((2, 4, 4, 3), np.uint8)}


def check(skips, step, skipped):
    metrics = {"skipped": skipped, "loss/total": float("nan"), "gradient_norm": 1.0}
    skips.watch(step, metrics, BATCH)
    skips.check()


def test_a_skipped_step_leaves_its_batch_and_training_goes_on(tmp_path, caplog):
    skips = Skips(tmp_path, allowed=3, skipped=5)
    check(skips, 11, 5)
    assert list(tmp_path.iterdir()) == []
    check(skips, 12, 6)
    assert "step 12 was skipped: loss nan" in caplog.text
    with np.load(tmp_path / "skipped" / "step_00000012.npz") as saved:
        np.testing.assert_array_equal(saved["image"], BATCH["image"])


def test_too_many_in_a_row_end_the_run(tmp_path):
    skips = Skips(tmp_path, allowed=3, skipped=0)
    for step, count in enumerate([1, 2, 2, 3, 4], start=1):  # the third step was good
        check(skips, step, count)
    with pytest.raises(UserError, match=r"3 steps in a row, up to step 6, .*max_skipped"):
        check(skips, 6, 5)
    saved = sorted(path.name for path in (tmp_path / "skipped").iterdir())
    assert saved == ["step_00000001.npz", "step_00000004.npz"]
