"""The DINO transformers against the published ones."""

import functools
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsjax import convert
from gsjax.convert.state_dicts import read_state_dict
from gsjax.errors import UserError
from gsjax.models.dino import IMAGENET_MEAN, IMAGENET_STD, DinoViT, dino, preprocess
from tests import published
from tests.quick import jit
from tests.weights import random_variables

REAL = "GSJAX_TEST_DINOV2"  # the file of DINOv2 ViT-S/14 that the fixture's tokens are of


@pytest.mark.parametrize("name", ["dinov2", "dinov2_registers"])
def test_tokens_are_the_published_ones(name):
    _, state_dict, arrays = published.load(name)
    module, variables = convert.dino(state_dict)
    out = jax.jit(module.apply)(variables, published.nhwc(arrays["image"]))
    published.check("cls_token", out.cls_token, arrays["cls_token"])
    published.check("patch_tokens", out.patch_tokens, arrays["patch_tokens"])


@pytest.mark.skipif(REAL not in os.environ, reason=f"{REAL} names no file of weights")
@pytest.mark.parametrize("blocks", [8, 12])
def test_real_tokens_are_those_of_onnxruntime(blocks):
    state_dict = read_state_dict(os.environ[REAL])
    module, variables = convert.dino(state_dict, blocks=blocks, offset=0.0)
    with np.load(published.FOLDER / "dinov2_s14.npz") as known:
        out = jit(module.apply)(variables, preprocess(known["image"] / np.float32(255), 224))
        np.testing.assert_allclose(out.cls_token, known[f"cls_after_{blocks}"], atol=1e-3)
        patches = out.patch_tokens[:, :: known["every"]]
        np.testing.assert_allclose(patches, known[f"patches_after_{blocks}"], atol=1e-3)


@pytest.mark.parametrize("registers", [0, 2])
def test_patches_that_are_not_kept_might_as_well_not_exist(registers):
    module = DinoViT(32, 2, 2, 64, grid=(2, 3), registers=registers)
    images = np.random.default_rng(0).random((1, 28, 42, 3), np.float32)
    variables = random_variables(module.init, images)
    kept = np.array([0, 2, 4])
    keep = np.zeros((1, 6), bool)
    keep[:, kept] = True
    out = jit(module.apply)(variables, images, keep)

    # The same by dropping them: three patches in a row, with the positions of those kept.
    patches = images.reshape(1, 2, 14, 3, 14, 3).transpose(0, 1, 3, 2, 4, 5).reshape(6, 14, 14, 3)
    row = np.concatenate(patches[kept], axis=1)[None]
    embedding = variables["params"]["pos_embed"]
    positions = jnp.concatenate([embedding[:, :1], embedding[:, 1 + kept]], axis=1)
    dropped = {"params": {**variables["params"], "pos_embed": positions}}
    short = jit(module.clone(grid=(1, 3)).apply)(dropped, row)
    np.testing.assert_allclose(out.cls_token, short.cls_token, atol=1e-5)
    np.testing.assert_allclose(out.patch_tokens[:, kept], short.patch_tokens, atol=1e-5)


def test_taps_are_the_patch_tokens_of_fewer_blocks():
    module = tiny(depth=3, registers=2)
    images = np.random.default_rng(0).random((1, 28, 42, 3), np.float32)
    variables = random_variables(module.init, images)
    out = jit(functools.partial(module.apply, taps={1, 3}))(variables, images)
    first = jit(module.clone(depth=1).apply)(variables, images)
    np.testing.assert_allclose(out.taps[0], first.patch_tokens, atol=1e-5)
    np.testing.assert_array_equal(out.taps[1], out.patch_tokens)
    assert len(out.taps) == 2


def parameters(module):
    image = jax.ShapeDtypeStruct((1, module.patch_size, 2 * module.patch_size, 3), jnp.float32)
    shapes = jax.eval_shape(module.init, jax.random.key(0), image)["params"]
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))


@pytest.mark.parametrize(
    ("size", "patch_size", "registers", "count"),
    [
        ("S", 14, 0, 22_056_576),
        ("B", 14, 0, 86_580_480),
        ("B", 14, 4, 86_580_480 + 4 * 768),
        ("L", 14, 0, 304_368_640),
        ("g", 14, 0, 1_136_480_768),
    ],
)
def test_dinov2_has_the_published_number_of_parameters(size, patch_size, registers, count):
    module = dino(size, patch_size, registers)
    assert parameters(module) + module.width == count  # theirs have a mask token


@pytest.mark.parametrize(
    ("size", "patch_size", "count"),
    [("S", 16, 21_665_664), ("S", 8, 21_670_272), ("B", 16, 85_798_656)],
)
def test_dino_v1_has_the_published_number_of_parameters(size, patch_size, count):
    assert parameters(dino(size, patch_size)) == count


def test_an_unknown_size_names_the_field():
    with pytest.raises(UserError, match=r"dino\.size: 'XL' is not one of ti, S, B, L, g"):
        dino("XL")


@pytest.mark.parametrize("registers", [0, 4])
@pytest.mark.parametrize("grid", [(9, 12), (14, 14), (14, 13), (20, 3)])
def test_positions_are_resampled_as_in_the_published_code(grid, registers):
    torch = pytest.importorskip("torch", reason="PyTorch is the reference here")
    learned = np.random.default_rng(0).standard_normal((1, 14, 14, 8)).astype(np.float32)
    grid_first = torch.from_numpy(learned).permute(0, 3, 1, 2)
    if registers:
        how = {"size": grid, "antialias": True}
    else:
        how = {"scale_factor": tuple((side + 0.1) / 14 for side in grid)}
    if grid == (14, 14):
        expected = grid_first
    else:
        expected = torch.nn.functional.interpolate(grid_first, mode="bicubic", **how)
    expected = torch.nn.functional.layer_norm(expected.permute(0, 2, 3, 1), (8,), eps=1e-6)

    published_form = dino("S", 16, registers)
    # Without blocks and with patches that say nothing, tokens are normalized positions.
    module = published_form.clone(width=8, depth=0)
    image = jnp.zeros((1, 16 * grid[0], 16 * grid[1], 3))
    params = jax.tree.map(jnp.zeros_like, random_variables(module.init, image)["params"])
    params["norm"]["scale"] = jnp.ones(8)
    params["pos_embed"] = jnp.concatenate([jnp.zeros((1, 1, 8)), learned.reshape(1, -1, 8)], 1)
    out = module.apply({"params": params}, image)
    np.testing.assert_allclose(out.patch_tokens, expected.reshape(1, -1, 8), atol=2e-5)


def tiny(**changes):
    shape = {"width": 32, "depth": 2, "heads": 2, "mlp_width": 64, "grid": (4, 4)}
    return DinoViT(**(shape | changes))


def test_bfloat16_computes_near_float32_on_float32_parameters():
    images = jax.random.uniform(jax.random.key(1), (2, 42, 56, 3))
    exact = tiny(depth=1, registers=2, swiglu=True)
    variables = random_variables(exact.init, images)
    rounded = exact.clone(dtype=jnp.bfloat16)
    shapes = jax.eval_shape(rounded.init, jax.random.key(0), images)
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype("float32")}
    out, reference = (jax.jit(m.apply)(variables, images) for m in (rounded, exact))
    assert out.cls_token.dtype == jnp.bfloat16
    np.testing.assert_allclose(
        out.patch_tokens.astype(jnp.float32), reference.patch_tokens, atol=0.1
    )


def test_patch_tokens_follow_the_image_row_by_row():
    module = tiny(registers=1)
    images = np.zeros((1, 28, 42, 3), np.float32)
    images[:, 14:, 28:] = 1.0  # patch 5 of the 2x3 grid
    variables = random_variables(module.init, images)
    # Without attention, only the token of that patch can differ from the blank image's.
    for block in ("block_0", "block_1"):
        for array in jax.tree.leaves(variables["params"][block]["proj"]):
            array[:] = 0
    apply = jax.jit(module.apply)
    drawn, blank = apply(variables, images), apply(variables, 0 * images)
    assert drawn.patch_tokens.shape == (1, 6, 32)
    differs = np.abs(drawn.patch_tokens - blank.patch_tokens).max(axis=(0, 2)) > 0
    assert differs.tolist() == [False] * 5 + [True]
    np.testing.assert_array_equal(drawn.cls_token, blank.cls_token)


@pytest.mark.parametrize("size", [(256, 256), (200, 310), (60, 48)])
def test_preprocessing_is_pytorchs_antialiased_resize(size):
    torch = pytest.importorskip("torch", reason="PyTorch is the reference here")
    images = np.random.default_rng(0).random((1, *size, 3), np.float32)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(images).permute(0, 3, 1, 2), (224, 224), mode="bilinear", antialias=True
    )
    expected = expected.permute(0, 2, 3, 1).numpy()
    images = jnp.asarray(images)
    np.testing.assert_allclose(preprocess(images, 224, normalize=False), expected, atol=1e-5)
    normalized = (expected - IMAGENET_MEAN) / IMAGENET_STD
    np.testing.assert_allclose(preprocess(images, 224), normalized, atol=5e-5)
