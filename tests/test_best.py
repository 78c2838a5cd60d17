import numpy as np
import pytest

from gsjax import checkpoints
from gsjax.best import Best


def offered(workdir, metric, values):
    """The step that is kept after these values at steps 1, 2 and so on."""
    best = Best(workdir, metric)
    for step, value in enumerate(values, start=1):
        best.offer(step, {f"val/{metric}": value}, {"params": {"kernel": np.full(3, value)}})
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
    kept = checkpoints.restore_params(tmp_path / "best", "generator")
    np.testing.assert_allclose(kept["params"]["kernel"], values[step - 1])


def test_a_resumed_run_knows_the_best_so_far(tmp_path):
    offered(tmp_path, "psnr", (20.0,))
    assert offered(tmp_path, "psnr", (19.0, 18.0)) == 1
    assert offered(tmp_path, "psnr", (19.0, 21.0)) == 2
