"""From features to Gaussians: the atoms, the anchors, the head."""

import itertools

import jax
import numpy as np
import pytest

from gsjax.models.gaussian_head import GaussianHead, anchors, dictionary
from tests.quick import jit
from tests.weights import random_variables


def test_the_atoms_are_a_product_with_the_last_fastest_and_then_a_zero():
    atoms = dictionary()
    assert atoms.shape == (730, 3)
    assert atoms.dtype == np.float32
    places = {0: (0, -0.86, 0), 1: (0, -0.86, 0.33), 9: (0, -0.36, 0), 81: (0.41, -0.86, 0)}
    places |= {728: (2.36, 1.54, 2.23), 729: (0, 0, 0), 365: (1.13, 0.34, 1.18)}
    for place, atom in places.items():
        np.testing.assert_array_equal(atoms[place], np.float32(atom))
    assert [len(np.unique(column)) for column in atoms.T] == [9, 10, 9]  # l21 has no 0 but the last


@pytest.mark.parametrize(("side", "extent"), [(1, 6), (4, 10), (18, 18)])
def test_anchors_are_spread_row_by_row_from_the_corner(side, extent):
    places = anchors(side, extent)
    for i, j in itertools.product(range(side), range(side)):
        expected = (extent * j / side - 0.5, extent * i / side - 0.5)
        np.testing.assert_allclose(places[i * side + j], expected, atol=1e-6)


@pytest.fixture(scope="module")
def head():
    module = GaussianHead(patch_size=8, overlap=1)
    features = np.random.default_rng(0).normal(size=(2, 6, 9, 8)).astype(np.float32)
    variables = random_variables(module.init, features)
    return jit(module.apply), variables, features


def test_every_patch_has_as_many_gaussians_as_features(head):
    apply, variables, features = head
    gaussians = apply(variables, features)
    assert gaussians.means.shape == (2, 6, 9, 2)
    assert gaussians.cholesky.shape == (2, 6, 9, 3)
    assert gaussians.colors.shape == (2, 6, 9, 3)


def test_gaussians_stay_within_a_pixel_of_their_anchors(head):
    apply, variables, features = head
    offsets = apply(variables, 100 * features).means - anchors(3, 10)
    assert 0.9 < np.abs(offsets).max() <= 1 + 1e-5


def test_shapes_are_mixtures_of_atoms_scaled_to_the_padded_patch(head):
    apply, variables, features = head
    cholesky = np.asarray(apply(variables, 100 * features).cholesky) * 8 / 10
    atoms = dictionary()
    assert (cholesky >= atoms.min(0) - 1e-5).all()
    assert (cholesky <= atoms.max(0) + 1e-5).all()
    assert np.ptp(cholesky, axis=(0, 1, 2)).min() > 0.1
    # A query of 0 weighs all atoms alike.
    variables = jax.tree.map(np.copy, variables)
    for array in jax.tree.leaves(variables["params"]["shape"]):
        array[:] = 0
    mean = np.asarray(apply(variables, features).cholesky) * 8 / 10
    np.testing.assert_allclose(mean, np.broadcast_to(atoms.mean(0), mean.shape), atol=1e-5)


def test_a_gaussian_follows_from_its_own_features(head):
    apply, variables, features = head
    changed = features.copy()
    changed[1, 4, 7] += 1
    before, after = apply(variables, features), apply(variables, changed)
    for one, other in zip(*map(jax.tree.leaves, (before, after)), strict=True):
        differs = np.abs(one - other).max(-1) > 1e-6
        assert np.argwhere(differs).tolist() == [[1, 4, 7]]
