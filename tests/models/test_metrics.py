import jax
import jax.numpy as jnp
import numpy as np
import pytest
from skimage import data
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from gsjax.models import metrics


def pair(seed=0, shape=(2, 40, 52, 3)):
    """Two pictures with flat white, flat black and textured parts, and a noisy copy of each."""
    rng = np.random.default_rng(seed)
    target = data.chelsea()[60 : 60 + shape[1], 120 : 120 + shape[2]] / 255
    target = np.stack([target, target[::-1, ::-1]]).astype(np.float32)
    target[0, 5:20, 8:30] = 1.0
    target[1, 20:, :20] = 0.0
    noise = rng.normal(0, 0.05, shape) * (rng.random(shape) < 0.7)
    noise[:, 8:16, 12:24] = 0.0  # equal and flat: where rounding would show
    return np.clip(target + noise, 0, 1).astype(np.float32), target


def reference_ssim(prediction, target):
    return structural_similarity(
        prediction.astype(np.float64),
        target.astype(np.float64),
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=1,
        channel_axis=-1,
        full=True,
    )


def test_ssim_and_its_map_are_those_of_scikit_image():
    prediction, target = pair()
    ours = jax.jit(metrics.ssim)(prediction, target)
    ours_map = jax.jit(metrics.ssim_map)(prediction, target)
    for i in range(2):
        mean, full = reference_ssim(prediction[i], target[i])
        np.testing.assert_allclose(ours[i], mean, atol=1e-6)
        np.testing.assert_allclose(ours_map[i], full, atol=1e-5)


def test_ssim_over_a_hole_is_the_mean_of_the_map_there():
    prediction, target = pair()
    hole = np.zeros((2, 40, 52, 1), np.float32)
    hole[:, :15, 30:] = 1
    ours = metrics.ssim(*map(jnp.asarray, (prediction, target, hole)))
    for i in range(2):
        _, full = reference_ssim(prediction[i], target[i])
        np.testing.assert_allclose(ours[i], full[:15, 30:].mean(), atol=1e-6)


def test_ssim_of_an_image_smaller_than_its_window_is_an_error():
    small = jnp.zeros((1, 10, 30, 3))
    with pytest.raises(ValueError, match="11 pixels a side"):
        metrics.ssim(small, small)


def test_psnr_is_that_of_scikit_image():
    prediction, target = pair()
    for i, ours in enumerate(jax.jit(metrics.psnr)(prediction, target)):
        theirs = peak_signal_noise_ratio(target[i], prediction[i], data_range=1)
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def test_errors_outside_of_the_mask_do_not_count():
    _, target = pair()
    hole = np.zeros((2, 40, 52, 1), np.float32)
    hole[0, 3:9, 4:11] = 1
    hole[1, 20:, 5] = 1
    prediction = np.where(hole > 0, target + 0.1, np.nan)
    args = [jnp.asarray(array) for array in (prediction, target, hole)]
    np.testing.assert_allclose(metrics.psnr(*args), 20, rtol=1e-4)
    np.testing.assert_allclose(metrics.l1(*args), 0.1, rtol=1e-5)


def test_equal_pictures_and_empty_masks_are_perfect():
    prediction, target = map(jnp.asarray, pair())
    empty = jnp.zeros((2, 40, 52, 1))
    for args in ((target, target), (prediction, target, empty)):
        np.testing.assert_array_equal(metrics.psnr(*args), metrics.MAX_PSNR)
        np.testing.assert_array_equal(metrics.l1(*args), 0)
        np.testing.assert_array_equal(metrics.ssim(*args), 1)


def test_mean_fill_keeps_known_pixels_and_fills_with_their_mean():
    _, image = pair()
    known = np.ones((2, 40, 52, 1), np.float32)
    known[0, 10:30, 10:30] = 0
    known[1] = 0
    filled = np.asarray(metrics.mean_fill(jnp.asarray(image), jnp.asarray(known)))
    inside = known[0, ..., 0] > 0
    np.testing.assert_array_equal(filled[0][inside], image[0][inside])
    mean = image[0][inside].mean(0)
    np.testing.assert_allclose(filled[0][~inside], np.broadcast_to(mean, (400, 3)), rtol=1e-5)
    np.testing.assert_array_equal(filled[1], 0.5)


@pytest.mark.parametrize("metric", [m for m in metrics.METRICS.values() if m.function is not None])
def test_the_table_says_which_values_are_better(metric):
    prediction, target = map(jnp.asarray, pair())
    hole = jnp.zeros((2, 40, 52, 1)).at[:, :15, 30:].set(1)
    worse = jnp.clip(target + 2 * (prediction - target), 0, 1)
    values = [
        np.asarray(metrics.measure(filled, target, hole, {})[metric.name])
        for filled in (worse, prediction, target)
    ]
    steps = np.diff(values, axis=0) * (1 if metric.better == "higher" else -1)
    assert (steps > 0).all()


def test_a_metric_of_the_hole_counts_nothing_else():
    prediction, target = map(jnp.asarray, pair())
    hole = jnp.zeros((2, 40, 52, 1)).at[:, :4, :4].set(1)
    # Also outside of the hole, which SSIM's window sees.
    away = prediction.at[:, :20, :20].set(target[:, :20, :20])
    values = metrics.measure(away, target, hole, {})
    perfect = metrics.measure(target, target, hole, {})
    for name, metric in metrics.METRICS.items():
        if metric.function is not None:
            assert metric.hole == (values[name] == perfect[name]).all(), name


def test_networks_add_their_metrics_to_the_others():
    target, hole = jnp.asarray(pair()[1]), jnp.ones((2, 40, 52, 1))
    plain = metrics.measure(target, target, hole, {})
    values = metrics.measure(target, target, hole, {"lpips_alex": lambda a, b: jnp.arange(2.0)})
    assert values.keys() == plain.keys() | {"lpips_alex"}
    np.testing.assert_array_equal(values["lpips_alex"], [0, 1])
