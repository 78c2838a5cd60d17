import jax.numpy as jnp
import numpy as np
import pytest

from gsjax.inpainting.windows import Axis, Patches, draw_samples
from gsjax.models import patches
from gsjax.models.gaussian_head import Gaussians, anchors
from gsjax.models.inpainter import draw

GRID, SIZE = (3, 4), 8


def make(overlap, normalize, crossfade=False):
    """Random Gaussians of 3×4 patches, some of them next to nothing, and what is drawn."""
    rng = np.random.default_rng(0)
    extent = SIZE + 2 * overlap
    shape = (12, 25)
    means = anchors(5, extent) + rng.uniform(-1, 1, (*shape, 2))
    cholesky = rng.uniform((0.5, -0.5, 0.5), (2, 0.5, 2), (*shape, 3))
    cholesky[:, ::7] *= 0.02
    colors = rng.uniform(0, 1 if normalize else 0.3, (*shape, 3))
    gaussians = Gaussians(*(array.astype(np.float32) for array in (means, cholesky, colors)))
    drawn = draw(gaussians, (extent, extent), normalize, "xla")
    join = patches.crossfade if crossfade else patches.blend
    image = join(jnp.asarray(drawn)[None], GRID, overlap)[0]
    layout = Patches(GRID, SIZE, overlap, normalize, "xla", crossfade)
    return gaussians, layout, np.asarray(image)


# Each is compiled anew: seconds.
CASES = [
    (1, True, False),
    (1, False, False),
    (2, True, True),
    pytest.param(0, True, False, marks=pytest.mark.slow),
    pytest.param(4, True, False, marks=pytest.mark.slow),
    pytest.param(4, True, True, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("overlap", "normalize", "crossfade"), CASES)
def test_at_scale_1_it_is_what_the_network_draws(overlap, normalize, crossfade):
    gaussians, layout, image = make(overlap, normalize, crossfade)
    drawn = draw_samples(gaussians, layout, Axis(1.0, 0.0, 24), Axis(1.0, 0.0, 32))
    np.testing.assert_allclose(drawn, image, atol=2e-5)


def test_at_three_times_the_scale_every_third_sample_is_what_the_network_draws():
    gaussians, layout, image = make(1, True)
    drawn = draw_samples(gaussians, layout, Axis(1 / 3, 0.0, 72), Axis(1 / 3, 0.0, 96))
    np.testing.assert_allclose(drawn[1::3, 1::3], image, atol=2e-5)


def test_a_part_is_as_in_the_whole():
    gaussians, layout, _ = make(1, True)
    whole = draw_samples(gaussians, layout, Axis(0.4, 0.0, 60), Axis(0.25, 0.0, 128))
    part = draw_samples(gaussians, layout, Axis(0.4, 0.4 * 13, 30), Axis(0.25, 0.25 * 50, 40))
    np.testing.assert_allclose(part, whole[13:43, 50:90], atol=2e-5)


@pytest.mark.parametrize(
    ("overlap", "crossfade"),
    [
        (1, False),
        (2, True),
        pytest.param(0, False, marks=pytest.mark.slow),
        pytest.param(4, False, marks=pytest.mark.slow),
    ],
)
def test_between_patches_there_are_no_jumps(overlap, crossfade):
    """Where a step gets smaller, so does the largest difference between neighbors."""
    gaussians, layout, _ = make(overlap, True, crossfade)
    largest = []
    for step in (1 / 16, 1 / 64):
        x = Axis(step, 6.0, round(4 / step))  # over the seam at 8
        row = draw_samples(gaussians, layout, Axis(step, 7.0, round(2 / step)), x)
        differences = [np.abs(np.diff(row, axis=axis)).max() for axis in (0, 1)]
        largest.append(max(differences))
    assert largest[1] < 0.4 * largest[0]


def test_samples_stay_within_what_the_pixels_around_them_show():
    gaussians, layout, image = make(1, True)
    drawn = draw_samples(gaussians, layout, Axis(0.2, 3.0, 10), Axis(0.2, 3.0, 10))
    around = image[1:7, 1:7]  # a patch's inside
    assert drawn.min() >= around.min() - 1e-5
    assert drawn.max() <= around.max() + 1e-5
