"""Outpainting: what is added is filled, and what was there is kept."""

import numpy as np
import pytest
from PIL import Image

from gsjax.errors import UserError
from gsjax.inpainting import batch
from gsjax.inpainting.extend import Margins, check_extend
from gsjax.inpainting.opened import Options, open_picture
from gsjax.inpainting.pairing import Job
from gsjax.inpainting.pictures import read_picture

MARGINS = Margins(left=5, top=0, right=9, bottom=3)
RNG = np.random.default_rng(0)
RGB = RNG.integers(1, 256, (30, 40, 3), dtype=np.uint8)
INSIDE = np.s_[:30, 5:45]


def filled(painter, path, mask=None, margins=MARGINS, suffix=".png"):
    output = path.parent / f"output{suffix}"
    batch.fill_file(lambda: painter, Job(path, mask, output), Options(extend=margins))
    return Image.open(output)


def test_margins_are_filled_and_the_picture_is_kept_to_the_bit(painter, tmp_path):
    Image.fromarray(RGB).save(tmp_path / "x.png")
    after = np.asarray(filled(painter, tmp_path / "x.png"))
    assert after.shape == (33, 54, 3)
    np.testing.assert_array_equal(after[INSIDE], RGB)
    added = np.ones((33, 54), bool)
    added[INSIDE] = False
    assert (after[added] > 0).any(axis=-1).mean() > 0.9


def test_a_mask_of_the_pictures_size_is_filled_too(painter, tmp_path):
    hole = np.zeros((30, 40), bool)
    hole[10:14, 10:14] = True
    Image.fromarray(RGB).save(tmp_path / "x.png")
    Image.fromarray(hole).save(tmp_path / "mask.png")
    after = np.asarray(filled(painter, tmp_path / "x.png", tmp_path / "mask.png"))[INSIDE]
    np.testing.assert_array_equal(after[~hole], RGB[~hole])
    assert (after[hole] != RGB[hole]).any()


def test_margins_are_opaque_whether_alpha_is_the_mask_or_not(tmp_path):
    alpha = RNG.integers(0, 256, (30, 40), dtype=np.uint8)
    alpha[:3] = 255
    Image.fromarray(np.dstack([RGB, alpha])).save(tmp_path / "x.png")
    picture, options = read_picture(tmp_path / "x.png"), Options(extend=MARGINS)
    kept = open_picture(picture, ("mask", np.zeros((30, 40), bool)), None, options)
    np.testing.assert_array_equal(kept.alpha[INSIDE], alpha)
    assert (kept.alpha[30:] == 255).all()
    of_alpha = open_picture(picture, None, None, options)
    np.testing.assert_array_equal(of_alpha.prepared.hole[INSIDE], alpha < 255)
    assert of_alpha.prepared.hole[30:].all()
    inverted = open_picture(picture, None, None, options._replace(invert=True))
    np.testing.assert_array_equal(inverted.prepared.hole[INSIDE], alpha == 255)
    assert inverted.prepared.hole[30:].all()


def test_what_must_not_be_copied_moves_with_the_picture(tmp_path):
    avoid = RNG.random((30, 40)) < 0.5
    Image.fromarray(RGB).save(tmp_path / "x.png")
    opened = open_picture(read_picture(tmp_path / "x.png"), None, avoid, Options(extend=MARGINS))
    np.testing.assert_array_equal(opened.avoid[INSIDE], avoid)
    assert not opened.avoid[30:].any()


def test_exif_has_the_new_size(painter, tmp_path):
    exif = Image.Exif()
    exif.get_ifd(0x8769).update({0xA002: 40, 0xA003: 30, 0x9003: "2026:01:02 03:04:05"})
    Image.fromarray(RGB).save(tmp_path / "x.jpg", exif=exif)
    image = filled(painter, tmp_path / "x.jpg", suffix=".jpg")
    tags = image.getexif().get_ifd(0x8769)
    assert (tags[0xA002], tags[0xA003]) == image.size == (54, 33)
    assert tags[0x9003] == "2026:01:02 03:04:05"


def test_the_python_call_extends_like_the_command(painter, tmp_path):
    Image.fromarray(RGB).save(tmp_path / "x.png")
    ours = painter(RGB, extend=MARGINS).image
    np.testing.assert_array_equal(ours, np.asarray(filled(painter, tmp_path / "x.png")))
    with pytest.raises(UserError, match="hole: it is missing; give a mask, or extend"):
        painter(RGB)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    "extend", [(1, 2, 3), (0, 0, 0, -1), (0, 0, 0.5, 0), "1234", (0, 0, 0, 2**15 + 1)]
)
def test_only_four_whole_numbers_are_margins(extend):
    with pytest.raises(UserError, match=r"^--extend: .* is not LEFT,TOP,RIGHT,BOTTOM in pixels"):
        check_extend(extend, "--extend")


def test_a_picture_that_would_be_too_large_is_refused(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "x.png")
    options = Options(extend=Margins(right=1000), max_pixels=30_000)
    with pytest.raises(UserError, match=r"extended to 1040×30, it has more than 30,000 pixels"):
        open_picture(read_picture(tmp_path / "x.png"), None, None, options)
