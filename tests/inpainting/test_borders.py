import cv2
import numpy as np
import pytest

from gsjax.errors import UserError
from gsjax.inpainting.borders import check_margins, dilate, finish, prepare

RGB = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
HOLE = np.zeros((40, 50), bool)
HOLE[15:25, 20:30] = True
Y, X = np.mgrid[:40, :50]
FAR = np.hypot(np.maximum(abs(Y - 19.5) - 4.5, 0), np.maximum(abs(X - 24.5) - 4.5, 0))


def fill(prepared):
    """Fills with OpenCV: what it looks at is what lies around what is painted."""
    image = prepared.image
    painted = prepared.to_paint.astype(np.uint8)
    return cv2.inpaint(image.copy(), painted, 3, cv2.INPAINT_TELEA)


def test_a_hole_grows_by_so_many_pixels_in_all_directions():
    for pixels in (0, 1, 2.5, 7):
        np.testing.assert_array_equal(dilate(HOLE, pixels), pixels >= FAR)
    assert not dilate(HOLE & False, 3).any()


def test_a_feathered_fill_fades_over_its_band_and_changes_nothing_else():
    prepared = prepare(RGB, HOLE, grow=2, feather=5)
    filled = np.full_like(RGB, 255)
    result = finish(prepared, filled)
    assert (result[FAR <= 2] == 255).all()
    np.testing.assert_array_equal(result[FAR > 7], RGB[FAR > 7])
    change = (result.astype(float) - RGB) / np.maximum(255.0 - RGB, 1)
    means = [change[(low < FAR) & (low + 1 >= FAR)].mean() for low in range(2, 7)]
    assert means == sorted(means, reverse=True)
    assert 0.05 < means[-1] < means[0] < 0.95


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_what_cannot_be_seen_has_no_influence_on_the_fill_and_stays_as_it_is(dtype):
    visible = np.hypot(Y - 20, X - 15) < 12
    orange = np.array([245, 160, 35], dtype)
    fills = []
    for hidden in (0, 255, 77):
        image = np.where(visible[..., None], orange, dtype(hidden))
        prepared = prepare(image, HOLE, known=visible)
        seen = prepared.image[~prepared.to_paint]
        assert abs(seen.astype(int) - orange).max() <= 1  # the color of what can be seen
        result = finish(prepared, np.where(HOLE[..., None], dtype(99), prepared.image))
        np.testing.assert_array_equal(result[~HOLE], image[~HOLE])
        fills.append(prepared.image * ~HOLE[..., None])
        np.testing.assert_array_equal(prepared.avoided(), ~visible & ~HOLE)
    np.testing.assert_array_equal(fills[0], fills[1])
    np.testing.assert_array_equal(fills[0], fills[2])


def test_the_fill_is_gray_where_all_that_is_known_is():
    gray = np.repeat(RGB[..., :1], 3, -1)
    prepared = prepare(gray.copy(), HOLE)
    filled = fill(prepared)
    filled[HOLE] = RGB[HOLE]
    result = finish(prepared, filled)
    assert np.ptp(result, axis=-1).max() == 0
    assert abs(result[HOLE, 0] - RGB[HOLE].mean(-1)).max() <= 0.5
    gray[0, 0] = 1, 2, 3
    filled[HOLE] = RGB[HOLE]
    result = finish(prepare(gray, HOLE), filled)
    np.testing.assert_array_equal(result[HOLE], RGB[HOLE])


def test_colors_that_cannot_be_seen_do_not_make_a_gray_picture_colored():
    gray = np.repeat(RGB[..., :1], 3, -1)
    gray[:5] = 255, 0, 0
    visible = Y >= 5
    prepared = prepare(gray, HOLE, known=visible)
    filled = prepared.image.copy()
    filled[HOLE] = RGB[HOLE]
    result = finish(prepared, filled)
    assert np.ptp(result[HOLE], axis=-1).max() == 0
    np.testing.assert_array_equal(result[:5], gray[:5])


@pytest.mark.usefixtures("unchecked")
def test_widths_that_cannot_be_are_refused():
    for grow, feather in ((-1, 0), (0, -0.5), (float("nan"), 0), (0, 2000), ("a", 0), (True, 0)):
        with pytest.raises(UserError, match="from 0 to 1000"):
            check_margins(grow, feather)
