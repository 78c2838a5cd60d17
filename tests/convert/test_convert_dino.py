"""Reading DINO state dicts: architectures, round trips, mistakes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsjax import convert
from gsjax.errors import UserError
from gsjax.models.dino import DinoViT
from tests import published
from tests.quick import jit
from tests.weights import random_variables

MODULES = {
    "v1": DinoViT(64, 2, 1, 128, patch_size=8, grid=(5, 5), layer_scale=False),
    "v2": DinoViT(64, 1, 1, 96, grid=(3, 3)),
    "registers": DinoViT(
        128, 2, 2, 96, grid=(3, 3), registers=4, swiglu=True, antialias=True, offset=0.0
    ),
}


def state_dict_of(module):
    image = jax.ShapeDtypeStruct((1, module.patch_size, module.patch_size, 3), jnp.float32)
    variables = random_variables(module.init, image)
    return variables, convert.dino_state_dict(module, variables)


@pytest.mark.parametrize("name", MODULES)
def test_the_architecture_and_every_bit_survive_a_round_trip(name):
    variables, state_dict = state_dict_of(MODULES[name])
    module, again = convert.dino(state_dict)
    assert module == MODULES[name]
    jax.tree.map(np.testing.assert_array_equal, again, variables)
    back = convert.dino_state_dict(module, again)
    assert back.keys() == state_dict.keys()
    jax.tree.map(np.testing.assert_array_equal, back, state_dict)


def test_a_published_state_dict_comes_back_bit_for_bit():
    _, state_dict, _ = published.load("dinov2_registers")
    back = convert.dino_state_dict(*convert.dino(state_dict))
    del state_dict["mask_token"]
    assert back.keys() == state_dict.keys()
    jax.tree.map(np.testing.assert_array_equal, back, state_dict)


def test_a_trainers_wrapping_is_taken_off():
    _, state_dict = state_dict_of(MODULES["v1"])
    wrapped = {"model": {f"module.{k}": v for k, v in state_dict.items()}, "epoch": 3}
    assert convert.dino(wrapped)[0] == MODULES["v1"]


def test_blocks_numbered_by_chunk_are_read():
    _, state_dict = state_dict_of(MODULES["v1"])
    chunked = {k.replace("blocks.", "blocks.0."): v for k, v in state_dict.items()}
    assert convert.dino(chunked)[0] == MODULES["v1"]


def test_options_tell_what_shapes_cannot():
    _, state_dict = state_dict_of(MODULES["v2"])
    state_dict["pos_embed"] = state_dict["pos_embed"][:, :7]
    module, _ = convert.dino(
        state_dict, image_size=(28, 42), antialias=True, offset=0.0, heads=4, epsilon=1e-5
    )
    assert module.grid == (2, 3)
    assert (module.antialias, module.offset, module.heads, module.epsilon) == (True, 0, 4, 1e-5)


def test_the_first_blocks_and_the_last_norm_are_kept():
    whole = DinoViT(64, 2, 1, 96, grid=(2, 2))
    _, state_dict = state_dict_of(whole)
    # Scaled by nothing, the last block is the identity, and cutting it changes nothing.
    for scale in ("ls1", "ls2"):
        state_dict[f"blocks.1.{scale}.gamma"][:] = 0
    image = np.random.default_rng(0).random((1, 28, 28, 3), np.float32)
    out = [
        jit(module.apply)(variables, image)
        for module, variables in (
            convert.dino(state_dict, offset=0.0),
            convert.dino(state_dict, blocks=1, offset=0.0),
        )
    ]
    np.testing.assert_allclose(out[1].patch_tokens, out[0].patch_tokens, atol=1e-6)
    np.testing.assert_allclose(out[1].cls_token, out[0].cls_token, atol=1e-6)
    module, variables = convert.dino(state_dict, blocks=1)
    assert module == whole.clone(depth=1)
    kept = {key for key in state_dict if not key.startswith("blocks.1.")}
    assert convert.dino_state_dict(module, variables).keys() == kept


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("blocks", [0, 2, 1.5])
def test_blocks_that_there_are_not_cannot_be_kept(blocks):
    _, state_dict = state_dict_of(MODULES["v2"])
    with pytest.raises(UserError, match=rf"blocks: {blocks}"):
        convert.dino(state_dict, blocks=blocks)


def broken(change):
    _, state_dict = state_dict_of(MODULES["v2"])
    change(state_dict)
    with pytest.raises(UserError) as error:
        convert.dino(state_dict)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_all_wrong_keys_are_listed_in_one_error():
    def change(state_dict):
        del state_dict["norm.bias"]
        del state_dict["blocks.0.attn.proj.weight"]
        state_dict["head.weight"] = np.zeros((10, 64), np.float32)
        state_dict["blocks.0.mlp.fc2.weight"] = np.zeros((96, 64), np.float32)

    message = broken(change)
    assert "2 missing: " in message
    assert "norm.bias" in message
    assert "blocks.0.attn.proj.weight" in message
    assert "1 left over: head.weight" in message
    assert "1 wrongly shaped: blocks.0.mlp.fc2.weight [96, 64], expected [64, 96]" in message


@pytest.mark.parametrize(
    "key",
    ["cls_token", "pos_embed", "patch_embed.proj.weight", "blocks.0.mlp.fc1.bias", "norm.weight"],
)
def test_a_missing_key_is_named(key):
    assert f"1 missing: {key}" in broken(lambda state_dict: state_dict.pop(key))


@pytest.mark.parametrize("key", ["cls_token", "pos_embed", "patch_embed.proj.weight"])
def test_a_key_without_its_axes_is_named(key):
    message = broken(lambda state_dict: state_dict.update({key: np.zeros(3, np.float32)}))
    assert f"{key} [3], expected" in message


def test_a_long_list_is_cut():
    def change(state_dict):
        state_dict.update({f"extra.{i}": np.zeros(1, np.float32) for i in range(30)})

    message = broken(change)
    assert "30 left over: extra.0, " in message
    assert message.endswith("extra.11 and 18 more")


def test_positions_off_a_square_ask_for_the_image_size():
    def change(state_dict):
        state_dict["pos_embed"] = state_dict["pos_embed"][:, :7]

    message = broken(change)
    assert "6 patch positions, no square grid; pass image_size=(height, width)" in message


def test_an_empty_state_dict_and_other_contents_are_refused():
    with pytest.raises(UserError, match="DINO weights: the state dict is empty"):
        convert.dino({})
    with pytest.raises(UserError, match="'cls_token' is a str; expected an array"):
        convert.dino({"cls_token": "text"})


def test_weights_of_another_network_are_refused():
    _, state_dict, _ = published.load("discriminator")
    with pytest.raises(
        UserError, match=r"DINO weights: 3 missing: pos_embed.* has main\.0\.weight"
    ):
        convert.dino(state_dict)
