"""Our resampling against PyTorch's."""

import jax.numpy as jnp
import numpy as np
import pytest

from gsjax.models.resize import resize, weights

torch = pytest.importorskip("torch", reason="PyTorch is the reference of this file")

SIZES = [((8, 8), (5, 5)), ((8, 6), (13, 17)), ((37, 37), (16, 21)), ((256, 200), (224, 224))]


def published(images, size=None, scale=None, method="bilinear", antialias=False):
    out = torch.nn.functional.interpolate(
        torch.from_numpy(images).permute(0, 3, 1, 2),
        size=size,
        scale_factor=scale,
        mode=method,
        antialias=antialias,
        align_corners=False,
    )
    return out.permute(0, 2, 3, 1).numpy()


def pixels(size):
    return np.random.default_rng(0).random((1, *size, 2), np.float32)


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("method", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("before", "after"), SIZES)
def test_sizes_give_pytorchs_pixels(before, after, method, antialias):
    images = pixels(before)
    expected = published(images, size=after, method=method, antialias=antialias)
    ours = resize(jnp.asarray(images), after, method, antialias)
    np.testing.assert_allclose(ours, expected, atol=1e-5)


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("grid", [(16, 16), (9, 23), (37, 40), (64, 12)])
def test_a_scale_other_than_the_ratio_gives_pytorchs_pixels(grid, antialias):
    images = pixels((37, 37))
    scale = tuple((side + 0.1) / 37 for side in grid)
    expected = published(images, scale=scale, method="bicubic", antialias=antialias)
    ours = resize(jnp.asarray(images), grid, "bicubic", antialias, scale)
    assert expected.shape == ours.shape
    np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_a_constant_stays_constant():
    for method in ("bilinear", "bicubic"):
        for antialias in (False, True):
            rows = weights(19, 11, method, antialias, 0.6).sum(axis=1)
            np.testing.assert_allclose(rows, 1, atol=1e-6)


def test_an_unknown_method_is_named():
    with pytest.raises(ValueError, match="nearest"):
        weights(4, 4, "nearest")
