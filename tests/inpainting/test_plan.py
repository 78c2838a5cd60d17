import itertools

import cv2
import numpy as np
import pytest

from gsjax.inpainting.geometry import overlapping
from gsjax.inpainting.plan import make_plan

SIZE = (64, 64)


def holes():
    y, x = np.mgrid[:300, :400]
    small = np.zeros((300, 400), bool)
    small[100:130, 200:236] = True
    line = (np.abs(y - 0.6 * x - 20) < 3) & (x < 390)
    disk = (y - 150) ** 2 + (x - 180) ** 2 < 110**2
    specks = np.random.default_rng(0).uniform(size=(300, 400)) < 0.002
    border = (y < 12) | (x > 380)
    everything = np.ones((300, 400), bool)
    noise = np.random.default_rng(1).uniform(size=(300, 400)) < 0.5
    return {
        "small": small, "line": line, "disk": disk, "specks": specks, "border": border,
        "everything": everything, "noise": noise, "disk and line": disk | line,
    }  # fmt: skip


def levels(plan):
    """Returns the crops of each factor, in the order they are painted."""
    return {layer.factor: [*itertools.chain(*layer.waves)] for layer in plan.layers}


@pytest.mark.parametrize(("rim", "small"), [(1.0, None), (1.0, (16, 16)), (0.3, None)])
@pytest.mark.parametrize("name", holes())
def test_every_hole_is_painted_over_whatever_lies_under_it(name, rim, small):
    """Coarse to fine, each pixel of the hole is once given a weight of 1."""
    hole = holes()[name]
    plan = make_plan(hole, SIZE, rim, small)
    covered = np.zeros(hole.shape)
    y, x = (np.arange(side) + 0.5 for side in hole.shape)
    for layer in plan.layers:
        geometry, crops = layer.geometry, [*itertools.chain(*layer.waves)]
        weight = geometry.level_weight(layer.factor, plan.depth)
        weight = weight * (plan.depth > geometry.hidden_depth(layer.factor))
        for index, crop in enumerate(crops):
            share = weight * geometry.crop_weight(crop, y, x)
            for earlier in overlapping([crop], crops[:index])[0]:
                share = share * (1 - geometry.core_weight(earlier, y, x))
            covered += share * (1 - covered)
    assert covered[hole].min() == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("name", holes())
def test_crops_lie_in_the_image_and_are_of_the_networks_size(name):
    plan = make_plan(holes()[name], SIZE)
    for factor, crops in levels(plan).items():
        for crop in crops:
            assert crop.factor == factor
            assert (crop.height, crop.width) == (min(300, 64 * factor), min(400, 64 * factor))
            assert 0 <= crop.top <= 300 - crop.height
            assert 0 <= crop.left <= 400 - crop.width


def test_depth_is_the_distance_to_the_nearest_known_pixel():
    hole = holes()["disk and line"] | holes()["border"]
    expected = cv2.distanceTransform(hole.view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    np.testing.assert_allclose(make_plan(hole, SIZE).depth, expected, atol=1e-4)


def test_a_hole_that_fits_takes_one_crop_around_it():
    plan = make_plan(holes()["small"], SIZE)
    ((crop,),) = levels(plan).values()
    assert crop.factor == 1
    assert abs(crop.top + 32 - 115) <= 2
    assert abs(crop.left + 32 - 218) <= 2


def test_a_hole_as_large_as_the_core_takes_one_crop_wherever_it_is():
    for offset in range(7):
        hole = np.zeros((300, 400), bool)
        hole[100 + offset : 140 + offset, 200 - offset : 240 - offset] = True
        assert [len(crops) for crops in levels(make_plan(hole, SIZE)).values()] == [1]


@pytest.mark.parametrize("shape", [(64, 64), (50, 64), (37, 20)])
@pytest.mark.parametrize("name", holes())
def test_an_image_that_fits_into_a_crop_is_painted_in_one(name, shape):
    hole = (
        cv2.resize(255 * holes()[name].astype(np.uint8), shape[::-1], interpolation=cv2.INTER_AREA)
        > 0
    )
    assert [len(crops) for crops in levels(make_plan(hole, SIZE, rim=0.3)).values()] == [1]


def test_an_image_as_high_as_a_crop_is_painted_in_crops_of_its_height():
    hole = np.ones((64, 400), bool)
    hole[::8] = False
    (crops,) = levels(make_plan(hole, SIZE)).values()
    assert len(crops) == 10  # of 40 pixels each
    assert {(crop.top, crop.height) for crop in crops} == {(0, 64)}


def test_with_a_narrow_rim_a_deep_hole_is_painted_coarse_before_fine():
    hole = np.zeros((300, 400), bool)
    hole[100:140, 200:240] = True
    assert list(levels(make_plan(hole, SIZE, rim=0.3))) == [4, 2, 1]
    hole[106:] = False  # 6 pixels, of which 3 are the deepest
    assert list(levels(make_plan(hole, SIZE, rim=0.3))) == [1]


def test_a_large_hole_takes_crops_in_proportion_to_its_border():
    counts = []
    for radius in (110, 440):
        y, x = np.mgrid[:1000, :1200]
        plan = make_plan((y - 500) ** 2 + (x - 600) ** 2 < radius**2, SIZE)
        counts.append(sum(len(crops) for crops in levels(plan).values()))
    assert counts[1] < 6 * counts[0]


def test_neighboring_specks_share_crops():
    hole = np.zeros((300, 400), bool)
    hole[100:130:6, 200:230:6] = True
    assert sum(len(crops) for crops in levels(make_plan(hole, SIZE)).values()) == 1
    assert sum(len(crops) for crops in levels(make_plan(holes()["specks"], SIZE)).values()) < 80


def test_many_specks_are_painted_in_small_crops_and_what_is_larger_in_others():
    hole = holes()["specks"]
    whole = make_plan(hole, SIZE).layers
    specks, *others = make_plan(hole, SIZE, small=(16, 16)).layers
    assert {(crop.height, crop.width) for wave in specks.waves for crop in wave} == {(16, 16)}
    work = sum(map(len, specks.waves)) / 16 + sum(len(w) for one in others for w in one.waves)
    assert work < sum(map(len, whole[0].waves)) / 2
    both = make_plan(hole | holes()["small"], SIZE, small=(16, 16)).layers
    assert [layer.geometry.size for layer in both] == [(16, 16), SIZE]


def test_few_specks_that_crops_hold_together_are_painted_in_these():
    hole = np.zeros((300, 400), bool)
    hole[100:140:12, 200:240:12] = True
    (layer,) = make_plan(hole, SIZE, small=(16, 16)).layers
    assert layer.geometry.size == SIZE
    assert list(map(len, layer.waves)) == [1]


def test_without_a_hole_there_is_no_crop():
    assert not make_plan(np.zeros((30, 40), bool), SIZE).layers


@pytest.mark.parametrize("name", ["disk", "line", "noise"])
def test_crops_of_a_wave_do_not_overlap_and_each_overlaps_one_of_the_wave_before(name):
    plan = make_plan(holes()[name], SIZE)
    assert max(len(layer.waves) for layer in plan.layers) > 1
    for layer in plan.layers:
        for before, wave in zip([[], *layer.waves], layer.waves, strict=False):
            assert overlapping(wave, wave) == [[crop] for crop in wave]
            assert all(overlapping(wave, before)) or not before


def test_crops_fade_into_each_other_over_a_32nd_of_their_side_and_no_more():
    """Wherever two of them draw, one of them draws alone but for a seam of two pixels."""
    hole = np.zeros((64, 400), bool)
    hole[20:40, 20:380] = True
    plan = make_plan(hole, SIZE)
    (crops,), geometry = levels(plan).values(), plan.layers[0].geometry
    x = np.arange(20, 380) + 0.5
    drawn = []
    for crop in crops:
        taken = [geometry.core_weight(earlier, np.array([30.5]), x)[0] for earlier in crops]
        share = geometry.crop_weight(crop, np.array([30.5]), x)[0]
        drawn.append(share * np.prod([1 - t for t in taken[: len(drawn)]], axis=0))
    shown = np.zeros((len(crops), len(x)))
    for index, share in enumerate(drawn):
        shown *= 1 - share
        shown[index] = share
    np.testing.assert_allclose(shown.sum(0), 1, atol=1e-6)
    assert (shown.max(0) < 0.999).sum() <= 2 * (len(crops) - 1)
