"""FID's Inception against its published formula in PyTorch, with the same random weights."""

import numpy as np
import pytest

from gsjax.convert import inception as convert
from gsjax.errors import UserError
from tests.quick import jit

torch = pytest.importorskip("torch", reason="Inception is compared with PyTorch")
F = torch.nn.functional

SIDE = 75  # pixels; the smallest that leaves something for the last block


class Published:
    """Inception-v3 with FID's changes, layer by layer.

    With weights it computes; without, it makes random ones of the shapes that it comes across.
    """

    def __init__(self):
        self.weights = {}
        self.rng = np.random.default_rng(0)

    def layer(self, x, name, outputs, size=1, stride=1, padding=0):
        if f"{name}.conv.weight" not in self.weights:
            self.make(name, x.shape[1], outputs, size if isinstance(size, tuple) else (size, size))
        kernel, scale, bias, mean, var = (
            torch.from_numpy(self.weights[f"{name}.{key}"])
            for key in ("conv.weight", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var")
        )
        x = F.conv2d(x, kernel, stride=stride, padding=padding)
        return F.relu(F.batch_norm(x, mean, var, scale, bias, training=False, eps=0.001))

    def make(self, name, inputs, outputs, size):
        kernel = self.rng.standard_normal((outputs, inputs, *size), np.float32)
        self.weights |= {
            f"{name}.conv.weight": kernel * np.float32(np.sqrt(2 / kernel[0].size)),
            f"{name}.bn.weight": self.rng.uniform(0.8, 1.2, outputs).astype(np.float32),
            f"{name}.bn.bias": self.rng.normal(0, 0.1, outputs).astype(np.float32),
            f"{name}.bn.running_mean": self.rng.normal(0, 0.1, outputs).astype(np.float32),
            f"{name}.bn.running_var": self.rng.uniform(0.8, 1.2, outputs).astype(np.float32),
            f"{name}.bn.num_batches_tracked": np.array(7, np.float32),
        }

    def chain(self, x, block, *layers):
        for name, *rest in layers:
            x = self.layer(x, f"{block}.{name}", *rest)
        return x

    def average(self, x):
        return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)

    def a(self, x, block, pooled):
        double = ("branch3x3dbl_1", 64), ("branch3x3dbl_2", 96, 3, 1, 1)
        return torch.cat(
            [
                self.chain(x, block, ("branch1x1", 64)),
                self.chain(x, block, ("branch5x5_1", 48), ("branch5x5_2", 64, 5, 1, 2)),
                self.chain(x, block, *double, ("branch3x3dbl_3", 96, 3, 1, 1)),
                self.chain(self.average(x), block, ("branch_pool", pooled)),
            ],
            1,
        )

    def b(self, x, block):
        double = ("branch3x3dbl_1", 64), ("branch3x3dbl_2", 96, 3, 1, 1)
        return torch.cat(
            [
                self.chain(x, block, ("branch3x3", 384, 3, 2)),
                self.chain(x, block, *double, ("branch3x3dbl_3", 96, 3, 2)),
                F.max_pool2d(x, 3, 2),
            ],
            1,
        )

    def c(self, x, block, c7):
        wide, tall = ((1, 7), 1, (0, 3)), ((7, 1), 1, (3, 0))
        single = ("branch7x7_1", c7), ("branch7x7_2", c7, *wide), ("branch7x7_3", 192, *tall)
        double = (
            ("branch7x7dbl_1", c7),
            ("branch7x7dbl_2", c7, *tall),
            ("branch7x7dbl_3", c7, *wide),
            ("branch7x7dbl_4", c7, *tall),
            ("branch7x7dbl_5", 192, *wide),
        )
        return torch.cat(
            [
                self.chain(x, block, ("branch1x1", 192)),
                self.chain(x, block, *single),
                self.chain(x, block, *double),
                self.chain(self.average(x), block, ("branch_pool", 192)),
            ],
            1,
        )

    def d(self, x, block):
        long = (
            ("branch7x7x3_1", 192),
            ("branch7x7x3_2", 192, (1, 7), 1, (0, 3)),
            ("branch7x7x3_3", 192, (7, 1), 1, (3, 0)),
            ("branch7x7x3_4", 192, 3, 2),
        )
        return torch.cat(
            [
                self.chain(x, block, ("branch3x3_1", 192), ("branch3x3_2", 320, 3, 2)),
                self.chain(x, block, *long),
                F.max_pool2d(x, 3, 2),
            ],
            1,
        )

    def e(self, x, block, pool):
        wide, tall = ((1, 3), 1, (0, 1)), ((3, 1), 1, (1, 0))
        single = self.chain(x, block, ("branch3x3_1", 384))
        double = self.chain(x, block, ("branch3x3dbl_1", 448), ("branch3x3dbl_2", 384, 3, 1, 1))
        return torch.cat(
            [
                self.chain(x, block, ("branch1x1", 320)),
                self.chain(single, block, ("branch3x3_2a", 384, *wide)),
                self.chain(single, block, ("branch3x3_2b", 384, *tall)),
                self.chain(double, block, ("branch3x3dbl_3a", 384, *wide)),
                self.chain(double, block, ("branch3x3dbl_3b", 384, *tall)),
                self.chain(pool(x), block, ("branch_pool", 192)),
            ],
            1,
        )

    def __call__(self, pixels, side=SIDE):
        """Features of NHWC pixels in [0, 1]."""
        x = torch.from_numpy(pixels).permute(0, 3, 1, 2)
        x = 2 * F.interpolate(x, size=(side, side), mode="bilinear", align_corners=False) - 1
        x = self.layer(x, "Conv2d_1a_3x3", 32, 3, 2)
        x = self.layer(x, "Conv2d_2a_3x3", 32, 3)
        x = F.max_pool2d(self.layer(x, "Conv2d_2b_3x3", 64, 3, 1, 1), 3, 2)
        x = self.layer(x, "Conv2d_3b_1x1", 80)
        x = F.max_pool2d(self.layer(x, "Conv2d_4a_3x3", 192, 3), 3, 2)
        for block, pooled in (("Mixed_5b", 32), ("Mixed_5c", 64), ("Mixed_5d", 64)):
            x = self.a(x, block, pooled)
        x = self.b(x, "Mixed_6a")
        for block, inner in zip("bcde", (128, 160, 160, 192), strict=True):
            x = self.c(x, f"Mixed_6{block}", inner)
        x = self.d(x, "Mixed_7a")
        x = self.e(x, "Mixed_7b", self.average)
        x = self.e(x, "Mixed_7c", lambda x: F.max_pool2d(x, 3, 1, 1))
        return x.mean((2, 3)).numpy()


def published_weights():
    """The published formula and its random weights by their published keys, classifier included."""
    network = Published()
    network(np.zeros((1, 8, 8, 3), np.float32))
    network.weights["fc.weight"] = np.zeros((1008, 2048), np.float32)
    network.weights["fc.bias"] = np.zeros(1008, np.float32)
    return network, network.weights


@pytest.fixture(scope="module")
def network():
    return published_weights()


def test_features_are_those_of_the_published_code(network):
    compute, weights = network
    module, variables = convert(weights)
    images = np.random.default_rng(1).random((2, 60, 90, 3), np.float32)
    expected = compute(images)
    features = jit(module.clone(side=SIDE).apply)(variables, images)
    assert features.shape == (2, 2048)
    assert np.std(expected) > 0.1
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def test_another_inception_is_refused(network):
    _, weights = network
    torchvision = weights | {"fc.weight": np.zeros((1000, 2048), np.float32)}
    with pytest.raises(UserError, match=r"it classifies into 1000 classes; FID's has 1008"):
        convert(torchvision)
    missing = {key: array for key, array in weights.items() if "Mixed_6c.branch_pool" not in key}
    with pytest.raises(UserError, match=r"5 missing: Mixed_6c\.branch_pool\."):
        convert(missing)
    with pytest.raises(UserError, match=r"1 missing: fc\.weight"):
        convert({"features.0.weight": np.zeros((64, 3, 11, 11))})
