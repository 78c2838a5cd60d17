"""The weights that come with the package, on photographs that scikit-image brings."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage import data

import gsjax
from gsjax import packed
from gsjax.data.masks import draw_hole

ROOT = Path(packed.__file__).parent / packed.BUNDLED["photos"]


@pytest.fixture(scope="module")
def bundled():
    return gsjax.Inpainter.load("photos")


def square(name, size=256):
    image = getattr(data, name)()
    side = min(image.shape[:2])
    top, left = ((length - side) // 2 for length in image.shape[:2])
    image = image[top : top + side, left : left + side]
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)


def psnr(filled, image, hole):
    return -10 * np.log10(np.square((filled.astype(float) - image) / 255)[hole].mean())


def test_fills_are_nearer_to_the_photograph_than_teleas(bundled):
    gains = []
    for index, name in enumerate(("astronaut", "coffee", "chelsea", "rocket")):
        image = square(name)
        hole = draw_hole(np.random.default_rng(index), "irregular", (256, 256), 0.25)
        ours = bundled(image, hole).image
        telea = cv2.inpaint(image, hole.astype(np.uint8), 3, cv2.INPAINT_TELEA)
        np.testing.assert_array_equal(ours[~hole], image[~hole])
        gains.append(psnr(ours, image, hole) - psnr(telea, image, hole))
    assert np.mean(gains) > 1.0
    assert min(gains) > 0.0


def test_they_are_small_and_tell_nothing_of_where_they_were_made():
    assert sum(path.stat().st_size for path in ROOT.iterdir()) < 20e6
    fields = json.loads((ROOT / "config.json").read_text())
    assert fields["data"]["train"] == fields["data"]["validation"] == fields["initial"] == ""
