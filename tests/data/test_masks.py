import numpy as np
import pytest
from PIL import Image

from gsjax.data import strokes
from gsjax.data.mask_files import read_hole
from gsjax.data.masks import (
    RATIO_TOLERANCE,
    check_curriculum,
    check_kinds,
    draw_hole,
    ratio_at,
)
from gsjax.errors import UserError

DRAWN = ("irregular", "free_form", "center", "rectangles")
SHAPES = ((32, 32), (64, 64), (48, 96), (256, 256), (512, 384))


@pytest.fixture
def mask_folder(tmp_path):
    mask = np.zeros((90, 60), np.uint8)
    mask[10:40, 10:30] = 255
    mask[60:70, 20:60] = 1
    Image.fromarray(mask).save(tmp_path / "a.png")
    Image.fromarray(np.zeros_like(mask)).save(tmp_path / "blank.png")
    return tmp_path


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", [*DRAWN, "files"])
def test_the_ratio_asked_for_is_met(kind, shape, mask_folder):
    if kind == "files":
        kind = f"files:{mask_folder}"
    # No rectangle of 32 pixels has every area.
    tolerance = RATIO_TOLERANCE if min(shape) >= 48 else 0.014
    for seed, ratio in enumerate(np.linspace(0.02, 0.9, 23 if shape[0] < 256 else 7)):
        hole = draw_hole(np.random.default_rng(seed), kind, shape, ratio)
        assert hole.shape == shape
        assert hole.dtype == bool
        assert abs(hole.mean() - ratio) <= tolerance, ratio


@pytest.mark.parametrize("kind", DRAWN)
def test_a_hole_follows_from_the_generator_alone(kind):
    holes = [draw_hole(np.random.default_rng(seed), kind, (64, 64), 0.3) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(holes[0], holes[1])
    if kind != "center":
        assert (holes[0] != holes[2]).any()


@pytest.mark.parametrize("kind", ["irregular", "free_form"])
def test_strokes_are_few_connected_pieces(kind):
    import cv2

    for seed in range(20):
        hole = draw_hole(np.random.default_rng(seed), kind, (64, 64), 0.2)
        assert cv2.connectedComponents(hole.astype(np.uint8))[0] - 1 <= 15


def test_the_centered_rectangle_has_the_aspect_of_the_image():
    hole = draw_hole(np.random.default_rng(0), "center", (64, 128), 0.25)
    rows, columns = np.flatnonzero(hole.any(1)), np.flatnonzero(hole.any(0))
    assert hole.sum() == len(rows) * len(columns)
    assert abs(len(columns) / len(rows) - 2) < 0.15
    assert abs(rows[0] - (63 - rows[-1])) <= 1
    assert abs(columns[0] - (127 - columns[-1])) <= 1


def test_holes_in_files_are_what_is_neither_black_nor_transparent(tmp_path):
    Image.fromarray(np.array([[0, 1, 255]], np.uint8)).save(tmp_path / "gray.png")
    pixels = np.array([[[255, 255, 255, 0], [255, 255, 255, 255], [0, 0, 0, 255]]], np.uint8)
    Image.fromarray(pixels).save(tmp_path / "alpha.png")
    assert read_hole(tmp_path / "gray.png").tolist() == [[False, True, True]]
    assert read_hole(tmp_path / "alpha.png").tolist() == [[False, True, False]]


def test_wrong_kinds_are_refused_with_the_nearest_right_one(tmp_path):
    check_kinds(DRAWN)
    for kinds, message in (
        (("iregular",), r"^'iregular' is not a kind of mask; did you mean irregular"),
        (("free-form",), "did you mean free_form"),
        ((), "it is empty; there are irregular"),
        ("irregular", r"\('irregular',\)"),
        (("files:/nowhere",), "folder of masks '/nowhere' does not exist"),
        ((f"files:{tmp_path}",), "holds no mask"),
    ):
        with pytest.raises(UserError, match=message):
            check_kinds(kinds)
    with pytest.raises(UserError, match="did you mean center"):
        draw_hole(np.random.default_rng(0), "centre", (32, 32), 0.5)


def test_a_folder_with_one_usable_mask_will_do(mask_folder):
    check_kinds((f"files:{mask_folder}",))


def test_the_curriculum_holds_until_its_next_entry():
    curriculum = ((0, 0.2, 0.2), (100, 0.2, 0.4), (200, 0.3, 0.6))
    steps = (0, 99, 100, 199, 200, 10**9)
    assert [ratio_at(curriculum, step)[1] for step in steps] == [0.2, 0.2, 0.4, 0.4, 0.6, 0.6]


def test_wrong_curricula_are_refused():
    check_curriculum(((0, 0.2, 0.2), (5, 0.2, 0.4)))
    for curriculum, message in (
        ((), "must start at step 0"),
        (((5, 0.1, 0.2),), "must start at step 0"),
        (((0, 0.1, 0.2), (0, 0.1, 0.2)), "steps must ascend"),
        (((0, 0.3, 0.2),), "0 < low"),
        (((0, 0.0, 0.2),), "0 < low"),
        (((0, 0.5, 1.0),), "0 < low"),
        ((0, 0.2, 0.4), r"\(step, low, high\)"),
    ):
        with pytest.raises(UserError, match=message):
            check_curriculum(curriculum)


@pytest.mark.parametrize("offset", [-300, 0, 0.5, 40])
def test_a_drawing_is_cut_at_exactly_the_nth_largest_depth(offset):
    rng = np.random.default_rng(0)
    for scale in (0.01, 3, 1000):
        values = (scale * rng.normal(size=(24, 32)) + offset).astype(np.float32)
        values[:4] = np.round(values[:4])  # several are equal
        ranked = np.sort(values, axis=None)[::-1]
        for n in (1, 2, 300, values.size):
            assert strokes.nth_largest(values, n) == ranked[n - 1]


@pytest.mark.parametrize("value", [0, 1])
def test_a_drawing_without_an_outline_is_cut_as_well(value):
    drawn = np.full((40, 50), value, np.uint8)
    for count in (1, 700, 1999):
        hole = strokes.fit_area(np.random.default_rng(0), drawn, count, tolerance=0)
        assert hole.sum() == count
