"""Hugging Face's transformers against ours, from the weights they hold and those they save."""

import jax
import numpy as np
import pytest

from gsjax import convert
from gsjax.convert.state_dicts import read_state_dict
from tests import published

torch = pytest.importorskip("torch", reason="PyTorch is the reference of this file")
transformers = pytest.importorskip("transformers", reason="pip install transformers")

SMALL = {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
SHAPES = [(70, 42), (56, 56)]  # off the grid of the positions, and on it


def build(kind, **options):
    config = getattr(transformers, f"{kind}Config")(**SMALL, **options)
    model = getattr(transformers, f"{kind}Model")(config).eval()
    state_dict = model.state_dict()
    for key, value in state_dict.items():
        array = published.fill(key, tuple(value.shape))
        # Positions as large as the patches they are added to, so that resampling shows.
        state_dict[key] = torch.from_numpy(array * 10 if "position" in key else array)
    model.load_state_dict(state_dict)
    return model


MODELS = {
    "v1": lambda: build("ViT", image_size=56, patch_size=14, intermediate_size=256),
    "v2": lambda: build("Dinov2", image_size=56, patch_size=14, mlp_ratio=3),
    "v2-swiglu": lambda: build("Dinov2", image_size=56, patch_size=14, use_swiglu_ffn=True),
    "registers": lambda: build("Dinov2WithRegisters", image_size=56, patch_size=14),
    "registers-swiglu": lambda: build(
        "Dinov2WithRegisters", image_size=56, patch_size=14, use_swiglu_ffn=True
    ),
}


def numpy(model):
    return {key: value.numpy() for key, value in model.state_dict().items()}


@pytest.mark.parametrize("name", MODELS)
def test_tokens_are_those_of_transformers(name):
    model = MODELS[name]()
    module, variables = convert.dino(numpy(model))
    registers = getattr(model.config, "num_register_tokens", 0)
    apply = jax.jit(module.apply)
    for height, width in SHAPES[:1] if "swiglu" in name else SHAPES:
        shape = (1, height, width, 3)
        images = np.random.default_rng(height).standard_normal(shape, np.float32)
        options = {"interpolate_pos_encoding": True} if name == "v1" else {}
        with torch.no_grad():
            pixels = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
            theirs = model(pixels, **options).last_hidden_state.numpy()
        ours = apply(variables, images)
        published.check(f"cls_token {height}x{width}", ours.cls_token, theirs[:, 0], 1e-4)
        patches = theirs[:, 1 + registers :]
        published.check(f"patch_tokens {height}x{width}", ours.patch_tokens, patches, 1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_the_file_that_transformers_saves_is_the_model_in_memory(name, tmp_path):
    model = MODELS[name]()
    model.save_pretrained(tmp_path)
    saved = read_state_dict(tmp_path / "model.safetensors")
    ours, theirs = convert.dino(saved), convert.dino(numpy(model))
    assert ours[0] == theirs[0]
    jax.tree.map(np.testing.assert_array_equal, ours[1], theirs[1])


def test_heads_that_shapes_cannot_tell_are_an_option():
    model = build("Dinov2", image_size=56, patch_size=14)
    assert convert.dino(numpy(model))[0].heads == 2
    assert convert.dino(numpy(model), heads=4)[0].heads == 4
