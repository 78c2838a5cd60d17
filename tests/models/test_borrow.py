"""Attention from patches of the hole to known ones."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsjax.models.borrow import Borrow, attend
from gsjax.models.inpainter import GaussianInpainter, init_variables
from tests.quick import jit
from tests.weights import random_variables

SIZE, OVERLAP, CELL = 8, 1, 4
BORROW = Borrow(SIZE, OVERLAP, CELL)
INPAINTER = GaussianInpainter(
    patch_size=8, gaussians=16, features=6, fold=4, width=32, max_width=32, downs=1, blocks=0,
    semantic=False, mask_channel=True, residual_colors=True, normalize_splats=True,
)  # fmt: skip
BORROWER = INPAINTER.clone(borrow=True)


def inputs():
    """Cells, a fill and what is known: a hole over one patch and a part of its neighbors."""
    rng = np.random.default_rng(0)
    fill = rng.random((1, 32, 40, 3), np.float32)
    known = np.ones((1, 32, 40, 1), np.float32)
    known[:, 7:17, 14:25] = 0
    return rng.standard_normal((1, 8, 10, 5), np.float32), fill, known


@functools.cache
def program():
    return jit(BORROW.apply), random_variables(BORROW.init, *inputs())


@functools.cache
def drawn(module):
    """The drawing, its program and its variables."""
    variables = random_variables(functools.partial(init_variables, module, token_size=0))
    apply = jit(lambda *inputs: module.apply(*inputs).image)
    _, image, known = inputs()
    return apply(variables, image * known, None, known), apply, variables


def windows(known):
    """Whether each window, with the pixels it overlaps, is known."""
    padded = np.pad(known[0, ..., 0], OVERLAP, mode="edge")
    extent, half = SIZE + 2 * OVERLAP, SIZE // 2
    rows, columns = (side // half - 1 for side in known.shape[1:3])
    cut = [
        padded[y * half : y * half + extent, x * half : x * half + extent]
        for y in range(rows)
        for x in range(columns)
    ]
    return np.array([window.all() for window in cut])


def test_only_windows_without_hole_are_sources():
    apply, variables = program()
    weights = np.asarray(apply(variables, *inputs()).weights)[0]
    whole = windows(inputs()[2])
    assert weights.shape == (20, 63)
    assert 0 < whole.sum() < 63
    assert (weights[:, ~whole] == 0).all()
    assert (weights[:, whole] > 0).all()
    np.testing.assert_allclose(weights.sum(1), 1, rtol=1e-5)


def test_only_patches_that_draw_in_the_hole_borrow():
    apply, variables = program()
    change = np.abs(apply(variables, *inputs()).change).max((2, 3, 4))[0].reshape(4, 5)
    holed = np.zeros((4, 5), bool)
    holed[0:3, 1:4] = True  # the hole begins a pixel off the patch, which overlaps it
    np.testing.assert_array_equal(change > 0, holed)


def test_a_peaked_attention_copies_a_window_sharply():
    queries = np.eye(3, dtype=np.float32)[:2]
    keys, sources = jnp.eye(3)[None], jnp.ones((1, 3), bool)
    weights = np.asarray(attend(jnp.asarray(queries[None]), keys, sources, 100.0))
    np.testing.assert_allclose(weights[0], np.eye(3)[:2], atol=1e-6)
    # Stripes that repeat every patch: whichever known patch it copies, it is the lost one.
    stripes = np.tile(np.random.default_rng(1).random((1, 1, 8, 3), np.float32), (1, 96, 12, 1))
    known = np.ones_like(stripes[..., :1])
    known[:, 40:56, 40:56] = 0
    fill = np.where(known > 0, stripes, stripes.mean((1, 2), keepdims=True))
    apply, variables = program()
    # Cells that know where in the stripes they are.
    cells = np.tile(np.eye(2, 5, dtype=np.float32), (1, 24, 12, 1)).reshape(1, 24, 24, 5)
    variables = jax.tree.map(np.copy, variables)
    for name in ("queries_in", "keys_in"):
        kernel = variables["params"][name]["kernel"]
        kernel[:] = 0
        kernel[:5] = np.eye(5, kernel.shape[1])
        variables["params"][name]["bias"][:] = 0
    for name in ("queries_out", "keys_out"):
        kernel = variables["params"][name]["kernel"]
        kernel[:] = np.eye(*kernel.shape)
        variables["params"][name]["bias"][:] = 0
    variables["params"]["temperature"][:] = 200
    change = np.asarray(apply(variables, cells, fill, known).change)[0].reshape(12, 12, 10, 10, 3)
    patch = change[5, 5, 1:-1, 1:-1] + fill[0, 40:48, 40:48]
    lost = stripes[0, 40:48, 40:48]
    assert lost.std() > 0.2  # what is left is smooth
    np.testing.assert_allclose(patch - patch.mean((0, 1)), lost - lost.mean((0, 1)), atol=0.02)


def test_without_a_known_window_nothing_is_borrowed():
    apply, variables = program()
    cells, fill, known = inputs()
    borrowed = apply(variables, cells, fill, 0 * known)
    assert not np.any(borrowed.weights)
    assert not np.any(borrowed.change)


def test_an_image_that_is_all_hole_has_a_finite_gradient_and_picture():
    cells, fill, known = map(jnp.asarray, inputs())
    _, variables = program()

    def objective(variables, cells):
        return jnp.square(BORROW.apply(variables, cells, fill, 0 * known).change).sum()

    gradients = jit(jax.grad(objective, (0, 1)))(variables, cells)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))
    _, apply, variables = drawn(BORROWER)
    assert np.isfinite(apply(variables, 0 * fill, None, 0 * known)).all()


def test_borrowing_adds_parameters_and_changes_the_hole_alone():
    without, _, fewer = drawn(INPAINTER)
    _, apply, more = drawn(BORROWER)
    added = more["params"].keys() - fewer["params"].keys()
    assert added == {"borrow", "borrowed_features", "borrowed_share"}
    _, image, known = inputs()
    shared = {"params": more["params"] | fewer["params"]}
    change = np.abs(apply(shared, image * known, None, known) - without).max((0, 3))
    assert change[8:16, 16:24].max() > 1e-3
    assert change[:, 33:].max() == 0  # a patch further than those that draw in the hole


def test_borrowing_needs_residual_colors():
    _, image, known = inputs()
    module = BORROWER.clone(residual_colors=False)
    with pytest.raises(ValueError, match="borrow needs residual_colors"):
        jax.eval_shape(module.init, jax.random.key(0), image, None, known)
