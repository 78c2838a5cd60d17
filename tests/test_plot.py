import io

import numpy as np
import pytest
from PIL import Image

from gsjax import plot
from gsjax.errors import UserError


@pytest.fixture
def run(tmp_path):
    lines = ['{"step": 1, "loss/total": 2.0}', '{"step": 2, "loss/total": null, "val/psnr": 20.5}']
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_curves_are_read_by_metric(run):
    curves = plot.read_curves(run)
    assert curves["val/psnr"] == ([2], [20.5])
    steps, values = curves["loss/total"]
    assert steps == [1, 2]
    np.testing.assert_array_equal(values, [2.0, np.nan])


def test_a_picture_shows_every_run(run):
    curves = plot.read_curves(run)
    one = plot.draw_curves({"a": curves}, ["loss/total", "val/psnr"])
    two = plot.draw_curves(
        {"a": curves, "b": {"loss/total": ([1, 2], [5.0, 4.0])}}, ["loss/total", "val/psnr"]
    )
    images = [np.asarray(Image.open(io.BytesIO(content)).convert("RGB")) for content in (one, two)]
    assert images[0].shape == images[1].shape
    # The second run's color, matplotlib's second, is in the second picture alone.
    orange = [(np.abs(image.astype(int) - (255, 127, 14)).max(-1) < 30).sum() for image in images]
    assert orange[0] == 0 < orange[1]


def test_a_panel_says_which_values_are_better_and_their_unit():
    assert plot.title_of("val/psnr_hole") == "val/psnr_hole ↑ (dB)"
    assert plot.title_of("val/20-40/lpips_alex") == "val/20-40/lpips_alex ↓"
    assert plot.title_of("loss/l1") == "loss/l1"


@pytest.mark.parametrize("content", [None, "{", "[1]", '{"loss": 1}'])
def test_what_is_no_run_is_the_users_error(tmp_path, content):
    if content is not None:
        (tmp_path / "metrics.jsonl").write_text(content)
    with pytest.raises(UserError, match=r"^--runs: .*metrics\.jsonl"):
        plot.read_curves(tmp_path)
