"""Reading the published discriminator; that it computes the same is in tests/models."""

import jax
import numpy as np
import pytest

from gsjax import convert
from gsjax.errors import UserError
from gsjax.models.discriminator import Discriminator
from tests import published
from tests.quick import jit


@pytest.fixture(scope="module")
def state_dict():
    return published.load("discriminator").state_dict


def test_every_bit_survives_a_round_trip(state_dict):
    module, variables = convert.discriminator(state_dict)
    assert module == Discriminator(width=64)
    back = convert.discriminator_state_dict(module, variables)
    assert back.keys() == state_dict.keys()
    jax.tree.map(np.testing.assert_array_equal, back, state_dict)


def test_wrong_keys_are_listed(state_dict):
    changed = dict(state_dict, extra=np.zeros(2))
    del changed["main.9.bias"]
    with pytest.raises(UserError, match=r"1 missing: main\.9\.bias; 1 left over: extra"):
        convert.discriminator(changed)


def sequential(nn, width, layers):
    """The published discriminator, of any width and depth, in PyTorch's `nn`."""
    conv = [nn.Conv2d(3, width, 4, 2, 1), nn.LeakyReLU(0.2)]
    channels = width
    for index in range(1, layers + 1):
        before, channels = channels, width * min(2**index, 8)
        conv += [
            nn.Conv2d(before, channels, 4, 2 if index < layers else 1, 1),
            nn.GroupNorm(16, channels),
            nn.LeakyReLU(0.2),
        ]
    return nn.ModuleDict({"main": nn.Sequential(*conv, nn.Conv2d(channels, 1, 4, 1, 1))})


@pytest.mark.parametrize(("layers", "width"), [(2, 8), (3, 24), (4, 8), (5, 8)])
def test_any_depth_and_width_is_read_off_the_keys_and_computes_what_pytorch_does(layers, width):
    torch = pytest.importorskip("torch")
    network = sequential(torch.nn, width, layers)
    state_dict = {
        name: published.fill(name, tuple(array.shape))
        for name, array in network.state_dict().items()
    }
    network.load_state_dict({name: torch.from_numpy(a) for name, a in state_dict.items()})
    module, variables = convert.discriminator(state_dict)
    assert module == Discriminator(width=width, layers=layers)
    size = (3 * 2**layers, 4 * 2**layers)
    image = np.random.default_rng(0).random((1, *size, 3), np.float32)
    with torch.no_grad():
        expected = network["main"](torch.from_numpy(image.transpose(0, 3, 1, 2)))
    logits = jit(module.apply)(variables, image)
    published.check(f"logits of {layers} layers", logits, published.nhwc(expected.numpy()))
    back = convert.discriminator_state_dict(module, variables)
    jax.tree.map(np.testing.assert_array_equal, back, state_dict)
