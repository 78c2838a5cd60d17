import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

import gsjax
from gsjax.data.mask_files import hole_warning
from gsjax.errors import UserError
from gsjax.inpainting.exemplar import copy_deep
from gsjax.inpainting.field import Field
from gsjax.inpainting.geometry import Geometry
from gsjax.inpainting.network import Painted, make_correction
from gsjax.inpainting.together import Task
from gsjax.models import patches
from gsjax.models.gaussian_head import Gaussians, anchors
from gsjax.models.inpainter import GaussianInpainter, draw
from tests.quick import jit


def picture(height, width, seed=0):
    """Soft waves with some noise, so that every pixel is its own."""
    y, x = np.mgrid[:height, :width]
    waves = [127 + 90 * np.sin(x / (9 + c) + y / 7 + c + seed) for c in range(3)]
    noise = np.random.default_rng(seed).normal(scale=3, size=(height, width, 3))
    return np.clip(np.stack(waves, -1) + noise, 0, 255).astype(np.uint8)


def disk(height, width, radius):
    y, x = np.mgrid[:height, :width]
    return (y - height / 2) ** 2 + (x - width / 2) ** 2 < radius**2


@pytest.fixture(scope="module")
def large(painter):
    """A picture with a hole that takes several levels, small ones and a line."""
    image, hole = picture(90, 120), disk(90, 120, 22)
    hole[10:16, 10:20] = hole[84, 5:110] = True
    return image, hole, painter(image, hole, deep="network")


SIZES = [(16, 16), (24, 32), (25, 33), (7, 90), (100, 20), (1, 5), (100, 80)]


@pytest.mark.parametrize("size", SIZES)
def test_an_image_of_any_size_keeps_its_size_and_known_pixels(painter, size):
    image, hole = picture(*size), np.zeros(size, bool)
    hole[size[0] // 3 : size[0] // 2 + 1, size[1] // 3 : size[1] // 2 + 1] = True
    before = image.copy()
    result = painter(image, hole)
    assert result.image.dtype == np.uint8
    assert result.image.shape == image.shape
    np.testing.assert_array_equal(result.image[~hole], image[~hole])
    np.testing.assert_array_equal(image, before)
    assert result.field.render().shape == image.shape


@pytest.fixture(scope="module")
def ringed(painter):
    """A picture with a hole at its border that is copied into, what is copied, and the result."""
    image, hole = picture(40, 64), np.zeros((40, 64), bool)
    hole[:23, 10:54] = True
    copy = image.copy()
    return image, hole, copy, copy_deep(copy, hole), painter(image, hole)


def test_the_network_fills_the_ring_around_what_is_copied(painter, ringed):
    image, hole, copy, copied, result = ringed
    assert copied.any()
    np.testing.assert_array_equal(result.image[~hole], image[~hole])
    np.testing.assert_array_equal(result.image[copied], copy[copied])
    seen = copy.copy()
    seen[hole & ~copied] = 0
    np.testing.assert_array_equal(painter(seen, hole & ~copied).image, result.image)


def test_the_field_draws_what_was_copied_too(ringed, tmp_path):
    _, hole, _, copied, result = ringed
    field = result.field
    np.testing.assert_array_equal(field.copied, copied)
    y, x = (np.arange(length) + 0.5 for length in hole.shape)
    geometry = Geometry(hole.shape, field.size)
    weights = [geometry.crop_weight(crop, y, x) for crop in field.crops]
    assert np.max(weights, 0)[hole].min() == 1  # each pixel is in the core of a crop
    drawn = field.render()
    assert np.abs(drawn.astype(int) - result.image)[hole & ~copied].max() <= 2
    field.save(tmp_path / "field.npz")
    np.testing.assert_array_equal(Field.load(tmp_path / "field.npz").render(), drawn)


@pytest.mark.usefixtures("unchecked")
def test_an_unknown_choice_and_another_size_are_refused(painter):
    image, hole = picture(24, 32), disk(24, 32, 6)
    with pytest.raises(UserError, match="'both' is neither exemplar nor network"):
        painter(image, hole, deep="both")
    with pytest.raises(UserError, match="avoid is 9×9"):
        painter(image, hole, avoid=np.zeros((9, 9)))


def test_sizes_make_no_new_programs(painter, large):
    programs = painter._network._program._cache_size()
    for side in (40, 61, 100):
        painter(picture(side, side), disk(side, side, side / 4))
    assert painter._network._program._cache_size() == programs <= 2


def test_known_pixels_are_as_they_were_and_no_hole_is_left(large):
    image, hole, result = large
    np.testing.assert_array_equal(result.image[~hole], image[~hole])
    assert {crop.factor for crop in result.field.crops} == {1, 2, 4}
    # A color that no picture has: what lies under the hole must not matter.
    assert not (result.image[hole] == (255, 0, 255)).all(-1).any()


@pytest.fixture(scope="module")
def specks(painter):
    """A picture with specks all over, filled in small crops, and how the work went."""
    image, hole = picture(160, 200, seed=3), np.zeros((160, 200), bool)
    hole[5:160:36, 4:200:40] = hole[6:160:36, 4:200:40] = True
    before, told = painter._network.small, []
    painter._network.small = (16, 16)
    try:
        result = painter(image, hole, deep="network")
        copy = image.copy()
        task = (None, copy, hole, None, lambda *counts: told.append(counts))
        for _ in painter.paint([task], 2):
            pass
    finally:
        painter._network.small = before
    return image, hole, result, copy, told


def test_specks_are_filled_in_small_crops_whose_field_is_the_picture(specks, tmp_path):
    image, hole, result, *_ = specks
    assert {crop[2:4] for crop in result.field.crops} == {(16, 16)}
    np.testing.assert_array_equal(result.image[~hole], image[~hole])
    assert not (result.image[hole] == 0).all(-1).any()
    drawn = result.field.render(1.0, hole_only=True)
    assert np.abs(drawn.astype(int) - result.image)[hole].max() <= 2
    result.field.save(tmp_path / "field.npz")
    again = Field.load(tmp_path / "field.npz")
    np.testing.assert_array_equal(again.render(1.0, hole_only=True), drawn)
    assert result.field.ellipses(2.0, box=(0, 0, 40, 40)).shape == (80, 80, 3)


def test_small_crops_are_the_same_in_batches_of_any_size_and_their_progress_is_told(specks):
    _, hole, result, copy, told = specks
    assert np.abs(copy.astype(int) - result.image)[hole].max() <= 1
    done, totals = zip(*told, strict=True)
    assert set(totals) == {len(result.field.crops)}
    assert list(done) == sorted(set(done))
    assert done[-1] == totals[0]


def test_what_lies_under_the_hole_does_not_matter(painter, large):
    image, hole, result = large
    other = image.copy()
    other[hole] = (255, 0, 255)
    np.testing.assert_array_equal(painter(other, hole, deep="network").image, result.image)


def test_floats_and_numbers_are_as_bytes_and_booleans(painter):
    image, hole = picture(24, 32), disk(24, 32, 6)
    expected = painter(image, hole).image
    for one, other in ((image / 255, hole), (image, hole * np.uint8(255)), (image, hole * 0.1)):
        np.testing.assert_array_equal(painter(one, other).image, expected)
    np.testing.assert_array_equal(painter(image, hole[..., None]).image, expected)


def test_an_empty_hole_returns_the_image_and_a_field_without_crops(painter):
    image = picture(40, 50)
    result = painter(image, np.zeros((40, 50), np.uint8))
    np.testing.assert_array_equal(result.image, image)
    assert not result.field.crops
    given = image.copy()
    image[:] = 0  # the field has its own
    np.testing.assert_array_equal(result.field.render(), given)


def test_a_hole_that_leaves_nothing_is_filled_all_the_same(painter):
    result = painter(picture(40, 50), np.ones((40, 50), bool))
    assert result.image.shape == (40, 50, 3)


@pytest.mark.parametrize(
    ("part", "said"), [(0.0, "empty"), (0.5, None), (0.92, "inverted"), (1.0, "whole image")]
)
def test_an_odd_hole_is_told(part, said):
    hole = np.arange(100).reshape(10, 10) < 100 * part
    warning = hole_warning(hole)
    assert (said is None and warning is None) or said in warning


def test_a_hole_around_a_thing_looks_inverted():
    hole = np.ones((20, 20), bool)
    hole[5:12, 5:12] = False
    assert "is it inverted?" in hole_warning(hole)
    hole[:10] = False  # but not one that leaves half of the border
    assert hole_warning(hole) is None


IMAGE, HOLE = np.zeros((20, 30, 3), np.uint8), np.zeros((20, 30), bool)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("image", "hole", "said"),
    [
        (IMAGE[..., 0], HOLE, r"image: the array has shape \(20, 30\).*RGB"),
        (np.zeros((20, 30, 4), np.uint8), HOLE, r"image: .*\(20, 30, 4\)"),
        (np.zeros((0, 30, 3), np.uint8), HOLE, "image: the array has shape"),
        (IMAGE.astype(np.int32), HOLE, "image: its type is int32; it must be uint8"),
        (IMAGE + 200.0, HOLE, r"its values are from 200.0 to 200.0.*\[0, 1\]"),
        (IMAGE + np.nan, HOLE, "image: its values are from nan"),
        (IMAGE, HOLE[:10], r"the mask is 30×10 pixels and the image 30×20"),
        (IMAGE, HOLE.T, "one of them is turned by 90°"),
        (IMAGE, np.zeros((20, 30, 3)), "hole: the array has shape"),
        (IMAGE, HOLE + np.nan, "hole: it contains NaN"),
        (IMAGE, np.full((20, 30), "x"), "hole: its type is"),
        ("x.png", HOLE, "image: the array has shape"),
    ],
)
def test_wrong_arrays_are_refused_with_what_would_be_right(painter, image, hole, said):
    with pytest.raises(UserError, match=said):
        painter(image, hole)


def test_batches_of_several_images_are_filled_as_one_by_one(painter):
    sizes = [(24, 32), (60, 40), (30, 50), (80, 90)]
    images = [picture(*size, seed=i) for i, size in enumerate(sizes)]
    holes = [disk(*size, 6 * (i + 1)) for i, size in enumerate(sizes)]
    jobs = ((i, images[i].copy(), holes[i]) for i in range(4))
    done = dict(painter.paint(jobs))
    for i in range(4):
        alone = painter(images[i], holes[i]).image
        # Other batches, other order of summation: a value may round otherwise.
        assert np.abs(done[i].astype(int) - alone).max() <= 1


def test_images_join_those_in_work_and_one_that_fails_harms_no_other(painter):
    image, hole = picture(24, 200), np.zeros((24, 200), bool)
    hole[8:14, 15:22] = hole[8:14, 95:102] = hole[8:14, 175:182] = True  # three crops
    short, speck = picture(24, 32), disk(24, 32, 6)
    told, joined, errors = [], [], []

    def fail(done, total):
        raise ValueError(f"{done} of {total}")

    def tasks():
        yield Task("long", image.copy(), hole, progress=lambda *counts: told.append(counts))
        joined.extend(told)
        yield Task("fails", short.copy(), speck, progress=fail, failed=errors.append)
        yield None  # there is none now
        yield Task("short", short.copy(), speck)

    done = dict(painter.paint(tasks(), 2))
    assert joined == [(2, 3)]
    assert [str(error) for error in errors] == ["1 of 1"]
    assert set(done) == {"long", "short"}
    for name, alone in {"long": painter(image, hole), "short": painter(short, speck)}.items():
        assert np.abs(done[name].astype(int) - alone.image).max() <= 1
    with pytest.raises(ValueError, match="1 of 1"):
        list(painter.paint([Task("fails", short.copy(), speck, progress=fail)], 2))


def test_16_bits_are_filled_finer_than_8(painter):
    image, hole = picture(24, 32), disk(24, 32, 6)
    ((_, deep),) = painter.paint([("x", image.astype(np.uint16) * 257, hole)])
    assert deep.dtype == np.uint16
    assert np.abs(deep / 257 - painter(image, hole).image)[hole].max() <= 0.6
    assert np.unique(deep[hole] % 257).size > 10


def test_colors_are_corrected_until_the_drawing_meets_the_known_pixels(painter):
    """On a gradient, the step at the hole's border is like that inside the original."""
    y, x = np.mgrid[:24, :32]
    image = np.stack([60 + 3 * x, 80 + 4 * y, 200 - 2 * x - y], -1).astype(np.uint8)
    hole = disk(24, 32, 6)
    filled = painter(image, hole).image.astype(float)
    ratios = []
    for axis in (0, 1):
        border = np.diff(hole.astype(int), axis=axis) != 0
        steps = [np.abs(np.diff(values, axis=axis))[border] for values in (filled, image * 1.0)]
        ratios.append(steps[0].mean() / steps[1].mean())
    assert np.mean(ratios) < 1.5


def test_at_scale_1_the_field_is_the_picture_in_the_hole(large):
    image, hole, result = large
    drawn = result.field.render(1.0)
    assert np.abs(drawn.astype(int) - result.image)[hole].max() <= 2  # rounded at each level
    only = result.field.render(1.0, hole_only=True)
    np.testing.assert_array_equal(only[~hole], image[~hole])
    assert np.abs(only.astype(int) - result.image)[hole].max() <= 2


def test_far_from_the_crops_the_field_is_the_image(painter):
    image, hole = picture(100, 200), np.zeros((100, 200), bool)
    hole[40:50, 20:30] = True
    field = painter(image, hole).field
    np.testing.assert_array_equal(field.render()[:, 100:], image[:, 100:])


def test_the_field_is_drawn_by_scale_by_size_and_in_part(large):
    _, _, result = large
    field = result.field
    box = (20, 40, 60, 90)
    whole = field.render(scale=2.0, box=box)
    assert whole.shape == (80, 100, 3)
    np.testing.assert_array_equal(field.render(size=(80, 100), box=box), whole)
    part = field.render(scale=2.0, box=(30, 50, 50, 80))
    assert np.abs(part.astype(int) - whole[20:60, 20:80]).max() <= 1
    assert field.render(scale=0.3).shape == (27, 36, 3)
    assert field.render(size=(10, 100)).shape == (10, 100, 3)


def test_a_coarser_picture_is_the_mean_of_a_finer_one(large):
    field = large[2].field
    box = (33, 44, 57, 76)  # in the hole
    fine, half = (field.render(scale, box=box).astype(float) for scale in (1.0, 0.5))
    mean = fine.reshape(12, 2, 16, 2, 3).mean((1, 3))
    assert np.abs(mean - half).max() <= 1.5


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"scale": 2.0, "size": (3, 4)}, "not both"),
        ({"scale": 0}, "scale: 0 is not a positive number"),
        ({"scale": float("nan")}, "scale: nan"),
        ({"scale": "2"}, "scale: '2'"),
        ({"size": (0, 4)}, "0×4 pixels"),
        ({"size": 4}, "size: 4 is not"),
        ({"scale": 1e6}, "cannot be drawn"),
        ({"box": (0, 0, 91, 20)}, "box: .*90×120"),
        ({"box": (5, 5, 5, 9)}, "box: .*is not a part"),
        ({"box": "all"}, "box: 'all' is not"),
    ],
)
def test_a_field_refuses_what_it_cannot_draw(large, arguments, said):
    with pytest.raises(UserError, match=said):
        large[2].field.render(**arguments)


def test_a_saved_field_draws_the_same(large, tmp_path):
    field = dataclasses.replace(large[2].field, rim=0.7)
    field.save(tmp_path / "field.npz")
    again = Field.load(tmp_path / "field.npz")
    assert (repr(again), again.rim) == (repr(field), 0.7)
    box = (60, 40, 80, 70)
    np.testing.assert_array_equal(again.render(1.5, box=box), field.render(1.5, box=box))


def test_a_saved_field_knows_that_its_patches_fade(large, tmp_path):
    field = large[2].field
    fading = dataclasses.replace(field, patches=field.patches._replace(crossfade=True))
    fading.save(tmp_path / "field.npz")
    assert Field.load(tmp_path / "field.npz").patches.crossfade
    nowhere = fading.patches._replace(overlap=0)
    dataclasses.replace(fading, patches=nowhere).save(tmp_path / "nowhere.npz")
    with pytest.raises(UserError, match="do not fit together"):
        Field.load(tmp_path / "nowhere.npz")


def test_what_is_no_field_is_refused(tmp_path):
    (tmp_path / "text.npz").write_text("no field")
    np.savez(tmp_path / "other.npz", image=np.zeros(3))
    np.savez(tmp_path / "pickled.npz", layout=np.array([{"a": 1}], object))
    for name in ("text.npz", "other.npz", "pickled.npz"):
        with pytest.raises(UserError, match="is not a field"):
            Field.load(tmp_path / name)
    with pytest.raises(UserError, match="it does not exist"):
        Field.load(tmp_path / "nowhere.npz")


def test_the_ellipses_are_drawn_where_gaussians_are(large):
    field = large[2].field
    shown = field.ellipses(scale=6.0, box=(30, 40, 50, 70))
    assert shown.shape == (120, 180, 3)
    plain = field.render(scale=6.0, box=(30, 40, 50, 70)) // 3
    assert (shown != plain).any(-1).mean() > 0.05
    with pytest.raises(UserError, match="deviations"):
        field.ellipses(deviations=0)


def test_the_public_name_is_the_inpainter(painter):
    assert isinstance(painter, gsjax.Inpainter)


def test_the_correction_brings_additive_splats_to_the_known_pixels():
    module = GaussianInpainter(patch_size=8, overlap=1, gaussians=25, backend="xla")
    rng = np.random.default_rng(0)
    means = np.broadcast_to(anchors(5, 10), (1, 6, 25, 2)) + rng.uniform(-1, 1, (1, 6, 25, 2))
    cholesky = rng.uniform((1, -0.3, 1), (2, 0.3, 2), (1, 6, 25, 3))
    colors = rng.uniform(0, 0.1, (1, 6, 25, 3))
    gaussians = Gaussians(*(a.astype(np.float32) for a in (means, cholesky, colors)))
    image = jnp.asarray(picture(16, 24), jnp.float32)[None] / 255
    known = jnp.asarray(~disk(16, 24, 5), jnp.float32)[None, ..., None]

    def both(gaussians):
        drawn = patches.blend(draw(gaussians, (10, 10), False, "xla"), (2, 3), 1)
        return drawn, make_correction(module)(image * known, known, Painted(drawn, gaussians))

    drawn, corrected = jit(both)(gaussians)
    before, after = (np.abs((d - image) * known).mean() for d in (drawn, corrected.drawn))
    assert after < 0.25 * before


def test_what_is_not_known_is_not_looked_at_and_gray_is_filled_gray(painter):
    image, hole, known = picture(24, 32), np.zeros((24, 32), bool), np.ones((24, 32), bool)
    hole[8:14, 10:18], known[:, 14:] = True, False
    fills = []
    for hidden in (0, 255):
        seen = np.where(known[..., None], image, np.uint8(hidden))
        result = painter(seen, hole, known=known).image
        np.testing.assert_array_equal(result[~hole], seen[~hole])
        fills.append(result[hole])
    np.testing.assert_array_equal(*fills)
    gray = np.repeat(image[..., :1], 3, -1)
    assert np.ptp(painter(gray, hole).image, axis=-1).max() == 0


def test_only_a_feathered_border_changes_known_pixels(painter):
    image, hole = picture(24, 32), np.zeros((24, 32), bool)
    hole[10:13, 12:16] = True
    grown = painter(image, hole, grow=2).image
    feathered = painter(image, hole, grow=2, feather=3).image
    changed = [(result != image).any(-1) for result in (grown, feathered)]
    assert changed[0].sum() > hole.sum()
    assert not changed[0][:8].any()
    assert changed[1].sum() > changed[0].sum()
    assert not changed[1][:5].any()
