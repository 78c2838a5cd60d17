"""The Fréchet distance against SciPy's square root of a matrix, and the features that are kept."""

import numpy as np
import pytest
from scipy import linalg

from gsjax.evaluation.fid import cached_features, extract_all, frechet_distance


def with_sqrtm(one, other):
    """The textbook's formula, with covariances."""
    sigma, other_sigma = (np.cov(f, rowvar=False) for f in (one, other))
    root = linalg.sqrtm(sigma @ other_sigma).real
    difference = one.mean(0) - other.mean(0)
    return difference @ difference + np.trace(sigma + other_sigma - 2 * root)


def features(count, size, seed):
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(count, size)) @ rng.normal(size=(size, size))
    return (mixed + rng.normal(size=size)).astype(np.float32)


@pytest.mark.parametrize("counts", [(60, 90), (17, 300), (24, 24)])
def test_it_is_the_formula_with_scipys_square_root(counts):
    one, other = features(counts[0], 16, 0), features(counts[1], 16, 1)
    one, other = one.astype(np.float64), other.astype(np.float64)
    assert frechet_distance(one, other) == pytest.approx(with_sqrtm(one, other), rel=1e-9)


def test_fewer_images_than_features_are_exact():
    # In the plane that the sets span, they have as many features as it has dimensions.
    rng = np.random.default_rng(3)
    one, other = rng.normal(size=(12, 2)), rng.normal(1.0, 2.0, size=(20, 2))
    plane = np.linalg.qr(rng.normal(size=(64, 2)))[0].T
    assert frechet_distance(one @ plane, other @ plane) == pytest.approx(with_sqrtm(one, other))


def test_the_distance_of_normal_distributions_along_an_axis_is_known():
    x = np.linspace(-1, 1, 101)[:, None]
    expected = 3.0**2 + np.var(x, ddof=1) * (2 - 1) ** 2
    assert frechet_distance(x, 2 * x + 3) == pytest.approx(expected)


def test_equal_sets_are_at_no_distance_whatever_their_order():
    one = features(50, 8, 0)
    assert frechet_distance(one, one[::-1]) < 1e-9


def test_a_single_image_has_no_covariance():
    with pytest.raises(ValueError, match="two images"):
        frechet_distance(np.zeros((1, 4)), np.zeros((3, 4)))


def network(images):
    """A stand-in for Inception: 2,048 numbers an image."""
    return np.resize(np.float32(images).reshape(len(images), -1), (len(images), 2048))


def refused(images):
    raise TypeError("it is not to be called")


def test_features_are_computed_once(tmp_path, monkeypatch):
    monkeypatch.setenv("GSJAX_CACHE", str(tmp_path))
    images = np.random.default_rng(0).integers(0, 256, (11, 4, 4, 3), np.uint8)
    expected = extract_all(network, images)
    assert expected.shape == (11, 2048)
    weights = {"kernel": np.ones(3)}
    first = cached_features(network, weights, "digest", images)
    np.testing.assert_array_equal(first, expected)
    np.testing.assert_array_equal(cached_features(refused, weights, "digest", ()), expected)
    # Other images, other weights or a damaged file: computed.
    with pytest.raises(TypeError):
        cached_features(refused, weights, "another", images)
    with pytest.raises(TypeError):
        cached_features(refused, {"kernel": np.zeros(3)}, "digest", images)
    (file,) = (tmp_path / "features").iterdir()
    file.write_bytes(file.read_bytes()[:500])
    np.testing.assert_array_equal(cached_features(network, weights, "digest", images), expected)


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("GSJAX_CACHE", str(tmp_path / "file"))
    images = np.zeros((2, 4, 4, 3), np.uint8)
    assert cached_features(network, {}, "digest", images).shape == (2, 2048)
