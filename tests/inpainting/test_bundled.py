"""The weights that come with the package, on photographs that scikit-image brings."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage import data

import gsjax
from gsjax.data.masks import draw_hole
from gsjax.trained import place


@pytest.fixture(scope="module", params=place.BUNDLED)
def name(request):
    return request.param


def square(name, size=256):
    image = getattr(data, name)()
    side = min(image.shape[:2])
    top, left = ((length - side) // 2 for length in image.shape[:2])
    image = image[top : top + side, left : left + side]
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)


def psnr(filled, image, hole):
    return -10 * np.log10(np.square((filled.astype(float) - image) / 255)[hole].mean())


def detail(image, hole):
    """Returns the mean size of what a blur takes away, in the hole."""
    blurred = cv2.GaussianBlur(image.astype(np.float32), (0, 0), 1.5)
    return np.abs(image - blurred)[hole].mean()


@pytest.fixture(scope="module")
def filled(name):
    """Photographs, their holes, and what the network fills, as in comparisons with papers."""
    painter, cases = gsjax.Inpainter.load(name, deep="network"), []
    for index, photo in enumerate(("astronaut", "coffee", "chelsea", "rocket")):
        image = square(photo)
        hole = draw_hole(np.random.default_rng(index), "irregular", (256, 256), 0.25)
        cases.append((image, hole, painter(image, hole).image))
    return cases


def gains_over_telea(cases):
    for image, hole, ours in cases:
        telea = cv2.inpaint(image, hole.astype(np.uint8), 3, cv2.INPAINT_TELEA)
        yield psnr(ours, image, hole) - psnr(telea, image, hole)


def test_fills_are_nearer_to_the_photograph_than_teleas(filled):
    gains = list(gains_over_telea(filled))
    assert np.mean(gains) > 1.0
    assert min(gains) > 0.0


def test_known_pixels_are_kept(filled):
    for image, hole, ours in filled:
        np.testing.assert_array_equal(ours[~hole], image[~hole])


def test_photos_paints_the_fine_detail_that_photos_smooth_leaves_out(name, filled):
    shares = [detail(ours, hole) / detail(image, hole) for image, hole, ours in filled]
    if name == "photos":
        assert 0.5 < np.mean(shares) < 1.0
    else:
        assert np.mean(shares) < 0.35


def test_they_are_small_and_tell_nothing_of_where_they_were_made(name):
    folder = Path(place.__file__).parents[1] / place.BUNDLED[name]
    assert sum(path.stat().st_size for path in folder.iterdir()) < 17e6
    fields = json.loads((folder / "config.json").read_text())
    assert fields["data"]["train"] == fields["data"]["validation"] == fields["initial"] == ""


def test_they_fill_in_the_same_crops_and_differ_only_in_parameters():
    photos, smooth = (
        json.loads((place.folder_of(name) / "config.json").read_text()) for name in place.BUNDLED
    )
    assert photos == smooth
    assert photos["data"]["image_size"] == [256, 256]
