"""LPIPS against the published formula in PyTorch and against numbers of another implementation."""

import json
import os
import zlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsjax.convert import lpips as convert
from gsjax.errors import UserError
from gsjax.models.lpips import MIN_SIDE, Lpips
from gsjax.trained.lpips import read_lpips
from tests.quick import jit

torch = pytest.importorskip("torch", reason="LPIPS is compared with PyTorch")
F = torch.nn.functional
FIXTURE = Path(__file__).parents[1] / "fixtures" / "lpips_squeeze.npz"
REAL = "GSJAX_TEST_SQUEEZENET"  # the file of SqueezeNet's real weights with the heads

# torchvision's layers: convolutions by input, output, kernel, stride, padding.
LAYERS = {
    "alex": [
        (3, 64, 11, 4, 2), "relu", "pool", (64, 192, 5, 1, 2), "relu", "pool",
        (192, 384, 3, 1, 1), "relu", (384, 256, 3, 1, 1), "relu", (256, 256, 3, 1, 1), "relu",
    ],
    "vgg": [
        (3, 64, 3, 1, 1), "relu", (64, 64, 3, 1, 1), "relu", "pool",
        (64, 128, 3, 1, 1), "relu", (128, 128, 3, 1, 1), "relu", "pool",
        (128, 256, 3, 1, 1), "relu", (256, 256, 3, 1, 1), "relu", (256, 256, 3, 1, 1), "relu",
        "pool",
        (256, 512, 3, 1, 1), "relu", (512, 512, 3, 1, 1), "relu", (512, 512, 3, 1, 1), "relu",
        "pool",
        (512, 512, 3, 1, 1), "relu", (512, 512, 3, 1, 1), "relu", (512, 512, 3, 1, 1), "relu",
    ],
    # Fire modules by input and the channels of squeeze and of each expand.
    "squeeze": [
        (3, 64, 3, 2, 0), "relu", "pool", (64, 16, 64), (128, 16, 64), "pool", (128, 32, 128),
        (256, 32, 128), "pool", (256, 48, 192), (384, 48, 192), (384, 64, 256), (512, 64, 256),
    ],
}  # fmt: skip
TAPS = {
    "alex": (1, 4, 7, 9, 11),
    "vgg": (3, 8, 15, 22, 29),
    "squeeze": (1, 4, 7, 9, 10, 11, 12),
}
CHANNELS = {
    "alex": (64, 192, 384, 256, 256),
    "vgg": (64, 128, 256, 512, 512),
    "squeeze": (64, 128, 256, 384, 384, 512, 512),
}


def convolutions(kind):
    """Each convolution by its published key: input, output, kernel, stride, padding."""
    found = {}
    for place, layer in enumerate(LAYERS[kind]):
        key = f"features.{place}"
        if len(layer) == 3:
            inputs, squeezed, expanded = layer
            found[f"{key}.squeeze"] = inputs, squeezed, 1, 1, 0
            found[f"{key}.expand1x1"] = squeezed, expanded, 1, 1, 0
            found[f"{key}.expand3x3"] = squeezed, expanded, 3, 1, 1
        elif isinstance(layer, tuple):
            found[key] = layer
    return found


def weights(kind):
    """Random weights under the published keys: of the backbone and of the heads."""
    rng = np.random.default_rng(0)
    backbone = {"classifier.1.weight": np.zeros((2, 2), np.float32)}
    for key, (inputs, outputs, size, *_) in convolutions(kind).items():
        kernel = rng.normal(size=(outputs, inputs, size, size)) / np.sqrt(inputs * size**2 / 2)
        backbone[f"{key}.weight"] = kernel.astype(np.float32)
        backbone[f"{key}.bias"] = rng.normal(size=outputs).astype(np.float32) / 10
    heads = {
        f"lin{i}.model.1.weight": rng.random((1, channels, 1, 1), np.float32)
        for i, channels in enumerate(CHANNELS[kind])
    }
    return backbone, heads


def published(kind, backbone, heads, images, others):
    """LPIPS 0.1 as its authors compute it, from NHWC pixels in [−1, 1]."""
    shift, scale = (
        torch.tensor(v).view(1, 3, 1, 1) for v in ((-0.030, -0.088, -0.188), (0.458, 0.448, 0.450))
    )
    listed = convolutions(kind)

    def convolve(x, key):
        kernel, bias = (torch.from_numpy(backbone[f"{key}.{n}"]) for n in ("weight", "bias"))
        return F.conv2d(x, kernel, bias, *listed[key][3:])

    taps = []
    for pixels in (images, others):
        x, found = (torch.from_numpy(pixels).permute(0, 3, 1, 2) - shift) / scale, []
        for place, layer in enumerate(LAYERS[kind]):
            if layer == "relu":
                x = F.relu(x)
            elif layer == "pool":
                x = F.max_pool2d(x, 2 if kind == "vgg" else 3, 2, ceil_mode=kind == "squeeze")
            elif len(layer) == 3:
                fire = f"features.{place}"
                x = F.relu(convolve(x, f"{fire}.squeeze"))
                x = F.relu(torch.cat([convolve(x, f"{fire}.expand{n}") for n in ("1x1", "3x3")], 1))
            else:
                x = convolve(x, f"features.{place}")
            if place in TAPS[kind]:
                found.append(x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10))
        taps.append(found)
    total = 0
    for i, (one, other) in enumerate(zip(*taps, strict=True)):
        head = torch.from_numpy(heads[f"lin{i}.model.1.weight"])
        total = total + F.conv2d((one - other).square(), head).mean((1, 2, 3))
    return total.numpy()


def pairs(side):
    rng = np.random.default_rng(1)
    return rng.random((2, 2, side, side + 5, 3), np.float32)


@pytest.mark.parametrize("kind", LAYERS)
def test_distances_are_those_of_the_published_code(kind):
    backbone, heads = weights(kind)
    images, others = pairs(MIN_SIDE[kind])
    module, variables = convert(backbone, heads)
    assert module == Lpips(kind)
    expected = published(kind, backbone, heads, 2 * images - 1, 2 * others - 1)
    np.testing.assert_allclose(jit(module.apply)(variables, images, others), expected, rtol=2e-5)
    raw = jit(Lpips(kind, normalize=False).apply)(variables, images, others)
    np.testing.assert_allclose(raw, published(kind, backbone, heads, images, others), rtol=2e-5)


def squeeze_by_rule():
    """SqueezeNet and heads under their keys in JAX code: numbers that follow from the keys."""
    arrays = {}
    for key, shape in json.loads(str(np.load(FIXTURE)["shapes"])):
        rng = np.random.default_rng(zlib.crc32(key.encode()))
        z = rng.standard_normal(shape).astype(np.float32)
        if key.startswith("lpips/"):
            arrays[key] = np.abs(z)
        elif len(shape) > 1:
            arrays[key] = 1.5 * z / np.sqrt(np.prod(shape[:-1]), dtype=np.float32)
        else:
            arrays[key] = 0.1 * z
    return arrays


def test_distances_on_squeezenet_are_those_of_another_implementation():
    module, variables = convert(squeeze_by_rule())
    assert module == Lpips("squeeze")
    known = np.load(FIXTURE)
    distances = jit(module.apply)(variables, known["x"], known["y"])
    np.testing.assert_allclose(distances, known["distance_rule_weights"], rtol=2e-5)


@pytest.mark.skipif(REAL not in os.environ, reason=f"{REAL} names no file of weights")
def test_distances_with_squeezenets_real_weights_are_those_of_another_implementation():
    module, variables = read_lpips(os.environ[REAL])
    known = np.load(FIXTURE)
    distances = jit(module.apply)(variables, known["x"], known["y"])
    np.testing.assert_allclose(distances, known["distance"], rtol=2e-5)


def test_an_image_is_at_no_distance_of_itself_with_a_finite_gradient():
    module, variables = convert(*weights("alex"))
    black = jnp.zeros((1, MIN_SIDE["alex"], MIN_SIDE["alex"], 3))

    def distance(image):
        return module.apply(variables, image, black).sum()

    value, slope = jit(jax.value_and_grad(distance))(black)
    assert value == 0
    assert np.isfinite(slope).all()


def test_another_network_is_refused():
    backbone, heads = weights("alex")
    with pytest.raises(UserError, match=r"expected torchvision's AlexNet, VGG16 or SqueezeNet"):
        convert({"conv1.weight": np.zeros((64, 3, 7, 7))}, heads)
    heads["lin2.model.1.weight"] = np.zeros((1, 3, 1, 1), np.float32)
    with pytest.raises(
        UserError, match=r"wrongly shaped: lin2\.model\.1\.weight \[3\], expected \[384\]"
    ):
        convert(backbone, heads)
