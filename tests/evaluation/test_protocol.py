"""Images and holes of the evaluation: the same for every run, in their bands."""

import numpy as np
import pytest
from PIL import Image

from gsjax.data.examples import Band
from gsjax.data.sources import open_source
from gsjax.errors import UserError
from gsjax.evaluation.protocol import (
    Protocol,
    center_square,
    match_masks,
    parse_bands,
)


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A source of six images, 40 by 30 pixels."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for i in range(6):
        save(folder / f"{i}.png", rng.integers(0, 256, (30, 40, 3), np.uint8))
    return open_source(f"folder:{folder}", "validation", "--data")


def protocol(images, *bands, seed=0, masks=()):
    return Protocol(images, range(6), 64, seed, parse_bands(bands), masks)


def test_drawn_holes_are_inside_their_bands(images):
    plan = protocol(images, "5-20", "20-40", "40-60")
    for band in plan.bands:
        parts = [plan.hole(index, band).mean() for index in range(40)]
        assert band.low <= min(parts) < max(parts) <= band.high
        assert max(parts) - min(parts) > 0.5 * (band.high - band.low)


def test_the_center_hole_has_half_the_sides(images):
    plan = protocol(images, "center")
    hole = plan.hole(3, plan.bands[0])
    assert hole.sum() == 32 * 32
    assert hole[16:48, 16:48].all()


def test_holes_depend_on_seed_image_and_band_and_on_nothing_else(images):
    all_of_them, one = protocol(images, "5-20", "20-40"), protocol(images, "20-40")
    hole = all_of_them.hole(2, all_of_them.bands[1])
    np.testing.assert_array_equal(one.hole(2, one.bands[0]), hole)
    assert (one.hole(4, one.bands[0]) != hole).any()
    other = protocol(images, "20-40", seed=1)
    assert (other.hole(2, other.bands[0]) != hole).any()


def test_images_are_cut_to_the_largest_square_in_the_middle():
    image = np.zeros((64, 100, 3), np.uint8)
    image[:, 18:82] = 200
    square = center_square(image, 32)
    assert square.shape == (32, 32, 3)
    assert (square == 200).all()


def test_an_image_that_cannot_be_read_is_left_out_and_moves_no_hole(images, tmp_path):
    for index in range(3):
        save(tmp_path / f"{index}.png", images[index])
    (tmp_path / "1.png").write_bytes(b"no image")
    broken = open_source(f"folder:{tmp_path}", "validation", "--data")
    plan = Protocol(broken, range(3), 64, 0, parse_bands(["20-40"]))
    assert [index for index, _ in plan.crops()] == [0, 2]


@pytest.mark.parametrize(
    ("bands", "why"),
    [
        (["20-40", "centre"], "'centre' is neither .* nor center; did you mean center"),
        (["40-20"], "40-20: percents of the image"),
        (["0-20"], "0-20: percents of the image"),
        (["20-21"], "at least 2 apart"),
        (["20-40", "20.0-40"], "20-40 is given twice"),
        ([], "it is empty; name bands"),
    ],
)
def test_bands_that_cannot_be_drawn_are_refused(bands, why):
    with pytest.raises(UserError, match=f"^--bands: .*{why}"):
        parse_bands(bands)


def mask(*box, shape=(30, 40)):
    array = np.zeros(shape, np.uint8)
    top, bottom, left, right = box
    array[top:bottom, left:right] = 255
    return array


def test_masks_of_the_images_names_are_theirs_with_the_same_cut(images, tmp_path):
    for i in range(6):
        save(tmp_path / f"{i}_mask001.png", mask(0, 30, 0, 6 + 4 * (i + 1)))
    masks = match_masks(images, range(6), str(tmp_path), 30)
    plan = Protocol(images, range(6), 30, 0, (), masks)
    band = Band("files", ("files",), 0.0, 1.0)
    # The square begins 5 pixels from the left.
    for index in range(6):
        assert plan.hole(index, band)[:, : 5 + 4 * index].all()
        assert plan.hole(index, band).sum() == 30 * (5 + 4 * index)


def test_masks_of_other_names_are_used_in_turn(images, tmp_path):
    paths = [save(tmp_path / f"m{i}.png", mask(0, 5 + i, 0, 40)) for i in range(4)]
    masks = match_masks(images, range(6), str(tmp_path), 30)
    assert masks == [str(paths[i % 4]) for i in range(6)]


def test_masks_that_do_not_fit_are_refused(images, tmp_path):
    def refused(why):
        with pytest.raises(UserError, match=f"^--masks: .*{why}"):
            match_masks(images, range(6), str(tmp_path / "masks"), 30)

    refused("does not exist")
    (tmp_path / "masks").mkdir()
    refused("holds no images")
    save(tmp_path / "masks" / "m.png", mask(0, 30, 0, 3))
    refused("is empty in its center square")
    save(tmp_path / "masks" / "m.png", mask(0, 30, 0, 40))
    refused("is all hole")
    save(tmp_path / "masks" / "2.png", mask(0, 10, 0, 40))
    refused(r"has masks for 1 of 6 images, but none for 0\.png")
    save(tmp_path / "masks" / "2_mask001.png", mask(0, 10, 0, 40))
    refused(r"2\.png has 2 masks, .*2\.png and .*2_mask001\.png; keep one")
