"""The push-pull fill: what it keeps, what it continues."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse.linalg

from gsjax.models import coarse_fill
from tests.quick import jit

push_pull = jit(coarse_fill.push_pull)
sizes = pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 5), (16, 33)], ids=str)


def with_holes(size, channels=3):
    rng = np.random.default_rng(0)
    image = rng.random((2, *size, channels), np.float32)
    known = (rng.random((2, *size, 1)) < 0.4).astype(np.float32)
    known[:, 0, 0] = 1
    return image, known


@sizes
def test_known_pixels_stay_bit_for_bit_and_holes_stay_between_them(size):
    image, known = with_holes(size)
    filled = np.asarray(push_pull(image, known))
    inside = np.broadcast_to(known > 0, image.shape)
    np.testing.assert_array_equal(filled[inside], image[inside])
    assert filled.shape == image.shape
    assert filled.min() >= image[inside].min() - 1e-6
    assert filled.max() <= image[inside].max() + 1e-6


@sizes
def test_a_constant_is_continued_from_a_single_pixel(size):
    known = np.zeros((2, *size, 1), np.float32)
    known[0, size[0] // 2, size[1] - 1] = known[1, 0, 0] = 1
    filled = push_pull(np.full((2, *size, 3), 0.7, np.float32), known)
    np.testing.assert_allclose(filled, 0.7, atol=1e-6)


def test_what_the_holes_hold_does_not_matter():
    image, known = with_holes((7, 5))
    other = np.where(known > 0, image, 1 - image)
    np.testing.assert_array_equal(push_pull(image, known), push_pull(other, known))


def test_without_a_known_pixel_there_is_black_and_a_finite_gradient():
    image, known = np.ones((1, 7, 5, 3), np.float32), np.zeros((1, 7, 5, 1), np.float32)
    differentiate = jit(
        jax.value_and_grad(lambda *a: jnp.square(coarse_fill.push_pull(*a)).sum(), (0, 1))
    )
    value, gradients = differentiate(image, known)
    assert value == 0
    assert all(np.isfinite(gradient).all() for gradient in gradients)


def test_a_ramp_goes_on_through_a_small_hole():
    y, x = np.mgrid[:32, :32].astype(np.float32)
    ramp = ((x + 2 * y) / 93)[None, :, :, None]
    known = np.ones_like(ramp)
    known[:, 11:15, 17:21] = 0
    error = np.abs(push_pull(ramp, known) - ramp)
    assert error.max() < 0.05


def test_a_large_hole_is_filled_nearly_harmonically():
    size = 64
    rng = np.random.default_rng(0)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size)))
    frequency[0, 0] = 1
    noise = np.fft.fft2(rng.standard_normal((16, size, size))) / frequency  # as photographs have it
    image = np.real(np.fft.ifft2(noise)).transpose(1, 2, 0)
    image = (image / image.std()).astype(np.float32)
    hole = np.zeros((size, size), bool)
    hole[16:48, 16:48] = True
    harmonic = image.copy()
    inside = np.arange(32 * 32).reshape(32, 32)
    matrix = scipy.sparse.diags_array([4.0] * inside.size).tolil()
    boundary = np.zeros((inside.size, 16))
    for (y, x), row in np.ndenumerate(inside):
        for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
            if 0 <= v < 32 and 0 <= u < 32:
                matrix[row, inside[v, u]] = -1
            else:
                boundary[row] += image[16 + v, 16 + u]
    harmonic[hole] = scipy.sparse.linalg.spsolve(matrix.tocsc(), boundary)
    filled = push_pull(image[None], 1.0 - hole[None, :, :, None].astype(np.float32))[0]
    off = np.sqrt(np.square(filled - harmonic)[hole].mean())
    # 0.09; four sweeps a level that nothing accelerates are 0.22 off.
    assert off < 0.12 * np.sqrt(np.square(harmonic - image)[hole].mean())
