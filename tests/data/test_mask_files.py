import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gsjax.data import masks
from gsjax.data.mask_files import MaskMatcher, looks_inverted, read_hole
from gsjax.evaluation import protocol
from gsjax.inpainting.pictures import read_mask

HOLE = np.zeros((48, 64), bool)
HOLE[17:31, 23:45] = True
WHITE = HOLE * np.uint8(255)


def gray(values=WHITE):
    return Image.fromarray(values)


LOSSY = {
    "x.jpg": {"quality": 60},
    "x.webp": {"quality": 40},
    "x.avif": {"quality": 5},
    "jpeg.tif": {"compression": "jpeg", "quality": 60},
}


@pytest.mark.parametrize("name", LOSSY)
def test_what_is_compressed_with_loss_is_cut_at_half_and_without_loss_at_0(tmp_path, name):
    gray().convert("RGB").save(tmp_path / name, **LOSSY[name])
    np.testing.assert_array_equal(read_hole(tmp_path / name), HOLE)
    assert (read_hole(tmp_path / name, threshold=0) != HOLE).any()
    faint = tmp_path / "faint.tif"
    gray(HOLE.astype(np.uint8)).save(faint, compression="tiff_lzw")
    np.testing.assert_array_equal(read_hole(faint), HOLE)


def test_training_evaluation_and_filling_read_masks_with_one_function(tmp_path):
    gray().save(tmp_path / "x.jpg", quality=30)
    assert masks.read_hole is protocol.read_hole is read_hole
    np.testing.assert_array_equal(read_mask(tmp_path / "x.jpg"), read_hole(tmp_path / "x.jpg"))
    np.testing.assert_array_equal(masks._usable_hole(str(tmp_path / "x.jpg")), HOLE)


def test_a_mask_means_what_it_shows_over_black(tmp_path):
    red = np.zeros((*HOLE.shape, 3), np.uint8)
    red[HOLE, 0] = 255
    painted = np.dstack([np.full(HOLE.shape, 255, np.uint8)] * 3 + [WHITE])
    white_is_zero = Image.fromarray(~HOLE)
    for name, image, options in (
        ("red.png", Image.fromarray(red), {}),
        ("painted.png", Image.fromarray(painted), {}),
        ("painted.tif", Image.fromarray(painted), {}),
        ("deep.tif", Image.fromarray(WHITE.astype(np.uint16) * 257), {}),
        ("palette.png", gray().convert("P"), {}),
        ("cmyk.tif", Image.fromarray(np.repeat(WHITE[..., None], 3, -1)).convert("CMYK"), {}),
        ("fax.tif", Image.fromarray(HOLE), {"compression": "group4"}),
        ("white_is_zero.tif", white_is_zero, {"tiffinfo": {262: 0}}),
    ):
        image.save(tmp_path / name, **options)
        expected = ~HOLE if name == "white_is_zero.tif" else HOLE
        np.testing.assert_array_equal(read_hole(tmp_path / name), expected, name)


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
def test_a_mask_is_turned_by_its_orientation(tmp_path, suffix):
    tags = Image.Exif()
    tags[0x0112] = 6
    gray().save(tmp_path / f"x.{suffix}", exif=tags)
    np.testing.assert_array_equal(read_hole(tmp_path / f"x.{suffix}"), np.rot90(HOLE, -1))


def test_an_inverted_mask_is_recognized_and_can_be_read_as_one(tmp_path):
    gray(255 - WHITE).save(tmp_path / "x.png")
    assert looks_inverted(read_hole(tmp_path / "x.png"))
    assert not looks_inverted(HOLE)
    np.testing.assert_array_equal(read_hole(tmp_path / "x.png", invert=True), HOLE)


@pytest.mark.parametrize(
    ("mask", "image"),
    [
        ("x.png", "x"), ("x_mask.png", "x"), ("x_mask001.tif", "x"), ("IMG_1_MASK.PNG", "IMG_1"),
        ("img_1_Mask.png", "IMG_1"), ("IMG_1.PNG", "img_1"), ("below/X.png", "below/x"),
        (unicodedata.normalize("NFD", "é_mask.png"), unicodedata.normalize("NFC", "é")),
        (unicodedata.normalize("NFC", "ö.png"), unicodedata.normalize("NFD", "Ö")),
    ],
)  # fmt: skip
def test_masks_are_found_whatever_their_capitals_and_accents(mask, image):
    matcher = MaskMatcher([f"masks/{mask}"], Path("masks"))
    assert matcher.find(Path(image)) == [Path(f"masks/{mask}")]
    assert matcher.find(Path("other")) == []


def test_names_that_only_capitals_tell_apart_are_told_apart():
    matcher = MaskMatcher(["m/a.png", "m/A.png"], Path("m"))
    assert matcher.find(Path("a")) == [Path("m/a.png")]
    assert matcher.find(Path("A")) == [Path("m/A.png")]


def test_a_name_that_nearly_fits_is_named():
    matcher = MaskMatcher(["m/IMG-0001_mask.png"], Path("m"))
    assert "did you mean m/IMG-0001_mask.png?" in matcher.expected(Path("IMG_0001"))
    assert "mean" not in matcher.expected(Path("quite another"))
