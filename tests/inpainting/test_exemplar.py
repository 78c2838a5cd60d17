import _thread
import sys
import threading

import cv2
import numpy as np
import pytest
from PIL import Image

from gsjax.errors import UserError
from gsjax.inpainting import exemplar
from gsjax.inpainting.exemplar import DEEP, copy_deep
from gsjax.inpainting.pairing import Job, add_avoid_masks
from gsjax.inpainting.patchmatch import find_sources, patchmatch
from tests.inpainting.test_painter import disk

HEIGHT, WIDTH = 130, 150


@pytest.fixture(scope="module")
def texture():
    """Blurred noise over slow waves: every place is its own, and none is flat."""
    noise = np.random.default_rng(0).normal(scale=60, size=(HEIGHT, WIDTH, 3))
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    waves = 127 + 50 * np.sin(x / 9 + np.cos(y / 13))
    return np.clip(cv2.GaussianBlur(noise, (0, 0), 0.8) + waves[..., None], 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def hole():
    return disk(HEIGHT, WIDTH, 32)


def copy(image, hole, avoid=None):
    filled = np.where(hole[..., None], np.array(77, image.dtype), image)
    return filled, copy_deep(filled, hole, avoid)


def deeper(hole):
    return cv2.distanceTransform(hole.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE) > DEEP


def steps(image, where):
    """The differences between pixels and those to the right of them, both being there."""
    both = where[:, 1:] & where[:, :-1]
    return (image[:, 1:].astype(int) - image[:, :-1])[both]


def is_one_of(rows, all_rows):
    known = set(map(tuple, all_rows))
    return np.mean([tuple(row) in known for row in rows])


def test_only_what_is_deep_is_copied(texture, hole):
    filled, copied = copy(texture, hole)
    np.testing.assert_array_equal(copied, deeper(hole))
    np.testing.assert_array_equal(filled[~hole], texture[~hole])
    assert (filled[hole & ~copied] == 77).all()
    source = steps(texture, ~hole)
    by_chance = is_one_of(steps(texture, copied), source)
    assert is_one_of(steps(filled, copied), source) > 3 * by_chance > 0


def test_sources_of_a_piece_that_was_moved_are_found(texture, hole):
    moved = texture.copy()
    core = deeper(hole)
    moved[core] = np.roll(texture, (40, 45), (0, 1))[core]
    sources = find_sources(moved, ~hole, core)
    expected = np.flatnonzero(np.roll(core, (-40, -45), (0, 1)))
    assert np.mean(sources == expected) > 0.9


def test_16_bits_are_copied_as_16(texture, hole):
    low = np.random.default_rng(1).integers(-100, 101, texture.shape)
    deep = np.clip(texture.astype(int) * 257 + low, 0, 65535).astype(np.uint16)
    filled, copied = copy(deep, hole)
    np.testing.assert_array_equal(filled[~hole], deep[~hole])
    rounded, _ = copy(texture, hole)
    assert np.abs(filled / 257 - rounded)[copied].max() < 1
    own = steps(filled, copied) - 257 * steps(rounded, copied)
    source = steps(deep, ~hole) - 257 * steps(texture, ~hole)
    assert is_one_of(own, source) > 0.6


@pytest.mark.parametrize("factor", [2, 3])
def test_a_fill_at_a_reduced_scale_has_the_detail_of_the_picture(
    texture, hole, factor, monkeypatch
):
    monkeypatch.setattr(exemplar, "LARGEST", HEIGHT * WIDTH / (factor - 0.5) ** 2)
    filled, copied = copy(texture, hole)
    np.testing.assert_array_equal(copied, deeper(hole))
    detail = [cv2.Laplacian(image.astype(np.float32), -1) for image in (filled, texture)]
    inside = cv2.erode(copied.view(np.uint8), None) > 0
    ratio = detail[0][inside].std() / detail[1][~hole].std()
    assert 0.75 < ratio < 1.2


def test_the_same_arguments_give_the_same_bits_whatever_is_filled_beside(texture):
    wide = np.concatenate([texture, texture[:, ::-1], texture[::-1]], 1)[:100]
    first, second = np.zeros(wide.shape[:2], bool), np.zeros(wide.shape[:2], bool)
    first[30:78, 10:58] = second[40:88, 380:428] = True
    both, copied = copy(wide, first | second)
    again, _ = copy(wide, first | second)
    np.testing.assert_array_equal(both, again)
    alone, own = copy(wide, second)
    np.testing.assert_array_equal(copied, deeper(first | second))
    np.testing.assert_array_equal(both[own], alone[own])


def test_what_is_to_be_avoided_is_not_copied(texture, hole):
    image = texture // 2
    image[:, :50, 0] += 128  # the left third is red, up to the hole
    avoid = np.zeros_like(hole)
    avoid[:, :50] = True
    filled, copied = copy(image, hole, avoid)
    assert copied.any()
    assert filled[copied][:, 0].max() < 160
    everywhere, none = copy(image, hole, np.ones_like(hole))
    assert not none.any()
    assert (everywhere[hole] == 77).all()


def holes():
    shape = (HEIGHT, WIDTH)
    border, corner, most = (np.zeros(shape, bool) for _ in range(3))
    border[:70, 40:110] = corner[60:, 80:] = most[3:] = True
    one = disk(HEIGHT, WIDTH, DEEP + 0.8)
    return {"border": border, "corner": corner, "one pixel": one, "all": ~most | most, "most": most}


@pytest.mark.parametrize("name", list(holes()))
def test_any_hole_is_copied_into_or_left_to_the_network(texture, name):
    hole = holes()[name]
    filled, copied = copy(texture, hole)
    expected = {"one pixel": 1, "all": 0, "most": 0}.get(name, deeper(hole).sum())
    assert np.count_nonzero(copied) == expected
    np.testing.assert_array_equal(filled[~hole], texture[~hole])
    assert (filled[hole & ~copied] == 77).all()


def test_a_picture_smaller_than_a_patch_is_left_to_the_network():
    image, hole = np.zeros((2, 60, 3), np.uint8), np.ones((2, 60), bool)
    hole[0, 0] = False
    assert not copy(image, hole)[1].any()
    image[:, :30] = 9
    hole[:, :30] = False  # enough is known, and no patch fits
    filled, copied = copy(image, hole)
    assert (filled[copied] <= 9).all()


def test_without_pypatchmatch_the_network_fills_alone(texture, hole, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "patchmatch", None)
    assert not copy(texture, hole)[1].any()
    assert "pip install pypatchmatch" in caplog.text


def test_what_to_avoid_is_found_by_name(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "avoid").mkdir()
    jobs = [Job(tmp_path / "in" / name, None, tmp_path / name) for name in ("a.png", "b.png")]
    with pytest.raises(UserError, match="no mask for any image"):
        add_avoid_masks(jobs, tmp_path / "in", tmp_path / "avoid")
    Image.fromarray(np.ones((3, 3), bool)).save(tmp_path / "avoid" / "b_mask.png")
    done = add_avoid_masks(jobs, tmp_path / "in", tmp_path / "avoid")
    assert [job.avoid for job in done] == [None, tmp_path / "avoid" / "b_mask.png"]
    one = tmp_path / "avoid" / "b_mask.png"
    assert {job.avoid for job in add_avoid_masks(jobs, tmp_path / "in", one)} == {one}


def test_ctrl_c_ends_the_wait_at_once():
    ended = threading.Event()
    threading.Timer(0.2, _thread.interrupt_main).start()
    with pytest.raises(KeyboardInterrupt):
        exemplar._in_threads(lambda _: ended.wait(60), [0, 1])
    assert not ended.is_set()
    ended.set()


def test_patchmatch_alone_fills_the_hole_only(texture, hole):
    filled = patchmatch(texture, hole)
    np.testing.assert_array_equal(filled[~hole], texture[~hole])
    other = np.where(hole[..., None], np.uint8(255), texture)
    np.testing.assert_array_equal(patchmatch(other, hole), filled)
