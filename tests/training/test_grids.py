import numpy as np
import pytest
from PIL import Image

from gsjax.training import grids


def images(rows, height, width, value):
    return np.full((rows, height, width, 3), value, np.float32)


def column_of(grid, column, width):
    left = grids._MARGIN + column * (width + grids._MARGIN)
    top = grids._LINE + grids._MARGIN
    return grid[top:, left : left + width]


def test_a_grid_shows_input_prediction_composite_and_original_in_this_order():
    known = np.ones((1, 140, 200, 1), np.float32)
    known[:, :, :50] = 0
    prediction = images(1, 140, 200, 1.7)
    prediction[:, 0, 0] = np.nan
    args = (images(1, 140, 200, 0.2), known, prediction, images(1, 140, 200, -0.5))
    grid = grids.sample_grid(*args, captions=["hole 25 %"])
    assert grid.dtype == np.uint8
    columns = [column_of(grid, i, 200)[:140] for i in range(4)]
    np.testing.assert_array_equal(columns[0][:, :50].reshape(-1, 3), [grids.HOLE_COLOR] * 7000)
    assert (columns[0][:, 50:] == 51).all()
    assert (columns[1][0, 0] == 0).all()
    assert (columns[1][1:] == 255).all()
    assert (columns[2] == 0).all()
    assert (columns[3] == 51).all()


def test_small_images_are_enlarged_by_a_whole_factor():
    small = np.random.default_rng(0).random((2, 50, 70, 3)).astype(np.float32)
    known = np.ones((2, 50, 70, 1), np.float32)
    grid = grids.sample_grid(small, known, small, small)
    large = np.rint(small[0] * 255).astype(np.uint8).repeat(3, 0).repeat(3, 1)
    np.testing.assert_array_equal(column_of(grid, 3, 210)[:150], large)


def test_titles_and_captions_are_drawn():
    white = images(2, 128, 128, 1.0)
    known = np.ones((2, 128, 128, 1), np.float32)
    grid = grids.sample_grid(white, known, white, white, captions=["one", "two"])
    plain = grids.sample_grid(white, known, white, white)
    assert (plain[: grids._LINE] < 128).any(axis=(0, 2)).sum() > 100  # titles
    assert (plain[grids._LINE :] == 255).all()
    assert (grid[grids._LINE + 128 :] < 128).any()


def test_a_png_that_cannot_be_written_leaves_the_old_one_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "grid.png"
    old = np.full((4, 5, 3), 7, np.uint8)
    grids.write_png(path, old)

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        grids.write_png(path, old + 1)
    assert [p.name for p in tmp_path.iterdir()] == ["grid.png"]
    np.testing.assert_array_equal(np.asarray(Image.open(path)), old)
