"""DINO from the config: weights from a file or drawn, mistakes."""

import hashlib

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from gsjax import config as configs
from gsjax import convert
from gsjax.convert import command
from gsjax.errors import UserError
from gsjax.fetch import REMOTE, Remote
from gsjax.models.build import build_dino
from gsjax.models.dino import DinoViT
from gsjax.trained import dino
from tests.weights import random_variables


def config_with(**options):
    config = configs.default()
    config.dino.update({"size": "ti", "image_size": 28} | options)
    return config


def assert_same(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.fixture(scope="module")
def state_dict():
    """Weights of size ti under the official keys."""
    module = build_dino(config_with().dino)
    variables = random_variables(module.init, np.zeros((1, 28, 28, 3), np.float32))
    return convert.dino_state_dict(module, variables)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_official_weights_are_read_from_a_file(tmp_path, state_dict, suffix):
    path = tmp_path / f"weights{suffix}"
    if suffix == ".npz":
        np.savez(path, **state_dict)
    else:
        save_file(state_dict, path)
    config = config_with(weights=str(path))
    dino.check_dino(config)
    module, variables = dino.load_dino(config)
    assert module == build_dino(config.dino)
    assert_same(convert.dino_state_dict(module, variables), state_dict)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"size": "S"}, r"width=192; .*dino\.size=S.* mean width=384"),
        ({"registers": 4}, r"registers=0; .*dino\.registers=4 mean registers=4"),
        ({"patch_size": 16}, r"patch_size=14; .*dino\.patch_size=16"),
    ],
    ids=str,
)
def test_weights_of_another_architecture_are_the_users_error(tmp_path, state_dict, options, named):
    np.savez(tmp_path / "weights.npz", **state_dict)
    config = config_with(weights=str(tmp_path / "weights.npz"), **options)
    with pytest.raises(UserError, match=f"dino.weights: .*weights.npz holds a DINO with {named}"):
        dino.load_dino(config)


def test_a_file_of_another_depth_names_the_conversion_that_makes_it_usable(tmp_path, state_dict):
    path, converted = tmp_path / "weights.npz", tmp_path / "converted"
    kept = {
        k: v for k, v in state_dict.items() if not k.startswith("blocks") or k[7:9] in ("0.", "1.")
    }
    np.savez(path, **kept)
    with pytest.raises(UserError) as error:
        dino.load_dino(config_with(weights=str(path)))
    assert "holds a DINO with depth=2; " in str(error.value)
    assert f"python -m gsjax.convert dino --input={path} --output=FOLDER\n" in str(error.value)
    command.convert_dino(str(path), str(converted))
    module, _ = dino.load_dino(config_with(weights=str(converted), size="no matter"))
    assert module.depth == 2


def test_a_missing_file_says_what_to_download_and_how_to_go_on_without(tmp_path):
    missing = str(tmp_path / "dinov2.pth")
    with pytest.raises(UserError) as error:
        dino.check_dino(config_with(size="B", registers=4, weights=missing))
    message = str(error.value)
    assert message.startswith(f"dino.weights: there is no file '{missing}'")
    assert "--config.dino.weights=dinov2_vitb14_reg\n" in message
    assert "--config.dino.weights=random" in message


def test_no_weights_are_the_users_error_and_ti_has_none_to_fetch():
    with pytest.raises(UserError, match=r"dino\.weights: no weights are named") as error:
        dino.check_dino(config_with(weights=""))
    assert "Those with a name are dinov2_vits14, dinov2_vitb14" in str(error.value)


def test_weights_by_name_are_fetched_and_resample_positions_as_the_official_code(
    tmp_path, monkeypatch, state_dict
):
    """From a file with Hugging Face's keys, whose own code does it without an offset."""
    hugging_face = {
        key.replace("cls_token", "embeddings.cls_token")
        .replace("pos_embed", "embeddings.position_embeddings")
        .replace("patch_embed.proj", "embeddings.patch_embeddings.projection")
        .replace("attn.proj", "attention.output.dense"): array
        for key, array in state_dict.items()
    }
    renamed = {key.replace("blocks.", "encoder.layer."): hugging_face[key] for key in hugging_face}
    monkeypatch.setenv("GSJAX_CACHE", str(tmp_path))
    path = tmp_path / "dinov2_vitti14.safetensors"
    save_file(renamed, path)
    remote = Remote(
        "http://127.0.0.1:9/x.safetensors", hashlib.sha256(path.read_bytes()).hexdigest()
    )
    monkeypatch.setitem(REMOTE, "dinov2_vitti14", remote)
    config = config_with(weights="dinov2_vitti14")
    dino.check_dino(config)
    module, variables = dino.load_dino(config)
    assert module.offset == 0.1
    assert convert.dino(renamed)[0].offset == 0.0
    assert_same(convert.dino_state_dict(module, variables), state_dict)


def test_a_name_that_does_not_fit_is_refused_before_it_is_fetched():
    with pytest.raises(UserError, match=r"dinov2_vitg14 is not what dino.size=ti, .* describe"):
        dino.check_dino(config_with(weights="dinov2_vitg14"))


def test_without_semantic_branch_there_is_no_dino():
    config = config_with(weights="")
    config.model.semantic = False
    dino.check_dino(config)
    assert dino.load_dino(config) == (None, {})


@pytest.mark.parametrize("field", ["loss.dino", "stages.late.loss.dino", "validate.dino"])
def test_without_branch_the_loss_and_validation_need_one_and_fills_do_not(monkeypatch, field):
    tiny = DinoViT(width=32, depth=0, heads=2, mlp_width=64, grid=(2, 2))
    monkeypatch.setattr(dino, "build_dino", lambda config: tiny)
    config = config_with(weights="")
    config.model.semantic = False
    configs.add_stage(config, "late", 1, {"loss.dino": 0.0})
    config.update_from_flattened_dict({field: True if field == "validate.dino" else 0.5})
    with pytest.raises(UserError, match="no weights are named"):
        dino.check_dino(config)
    config.dino.weights = "random"
    assert dino.load_dino(config)[0] == tiny
    assert dino.load_dino(config, training=False) == (None, {})
    assert dino.describe_networks(config, training=False).dino is None


def test_an_unknown_size_is_the_users_error():
    with pytest.raises(UserError, match=r"dino\.size: 'XXL' is not one of ti, S"):
        dino.check_dino(config_with(size="XXL", weights="random"))


def test_random_weights_follow_from_the_seed(monkeypatch):
    tiny = DinoViT(width=32, depth=0, heads=2, mlp_width=64, grid=(2, 2))
    monkeypatch.setattr(dino, "build_dino", lambda config: tiny)
    config = config_with(weights="random")
    dino.check_dino(config)
    module, variables = dino.load_dino(config)
    assert module == tiny
    assert_same(dino.load_dino(config)[1], variables)
    config.seed += 1
    other = dino.load_dino(config)[1]["params"]["patch_embed"]["kernel"]
    assert np.abs(other - variables["params"]["patch_embed"]["kernel"]).max() > 0.01
