"""The Inception-v3 of FID: maps images to the 2,048 features of its last pooling.

The network of the original FID (TensorFlow, 2015-12-05) differs from other Inception-v3s: its
average pooling ignores padding, and its last block has max pooling instead of average pooling.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gsjax.models.resize import resize

FEATURES = 2048
SIDE = 299  # images are resized to this many pixels per side
_EPSILON = 1e-3


class _Layer(NamedTuple):
    """A convolution, under its published name."""

    name: str
    channels: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1
    padding: str = "SAME"


def _average(x):
    return nn.avg_pool(x, (3, 3), (1, 1), "SAME", count_include_pad=False)


def _maximum(x):
    return nn.max_pool(x, (3, 3), (1, 1), "SAME")


def _halve(x):
    return nn.max_pool(x, (3, 3), (2, 2))


# A block is a tuple of parallel branches. A branch is a tuple of steps: layers, pooling functions,
# or lists of parallel layers.


def _block_a(pooled: int):
    return (
        (_Layer("branch1x1", 64),),
        (_Layer("branch5x5_1", 48), _Layer("branch5x5_2", 64, (5, 5))),
        (
            _Layer("branch3x3dbl_1", 64),
            _Layer("branch3x3dbl_2", 96, (3, 3)),
            _Layer("branch3x3dbl_3", 96, (3, 3)),
        ),
        (_average, _Layer("branch_pool", pooled)),
    )


def _block_c(inner: int):
    return (
        (_Layer("branch1x1", 192),),
        (
            _Layer("branch7x7_1", inner),
            _Layer("branch7x7_2", inner, (1, 7)),
            _Layer("branch7x7_3", 192, (7, 1)),
        ),
        (
            _Layer("branch7x7dbl_1", inner),
            _Layer("branch7x7dbl_2", inner, (7, 1)),
            _Layer("branch7x7dbl_3", inner, (1, 7)),
            _Layer("branch7x7dbl_4", inner, (7, 1)),
            _Layer("branch7x7dbl_5", 192, (1, 7)),
        ),
        (_average, _Layer("branch_pool", 192)),
    )


def _block_e(pool):
    return (
        (_Layer("branch1x1", 320),),
        (
            _Layer("branch3x3_1", 384),
            [_Layer("branch3x3_2a", 384, (1, 3)), _Layer("branch3x3_2b", 384, (3, 1))],
        ),
        (
            _Layer("branch3x3dbl_1", 448),
            _Layer("branch3x3dbl_2", 384, (3, 3)),
            [_Layer("branch3x3dbl_3a", 384, (1, 3)), _Layer("branch3x3dbl_3b", 384, (3, 1))],
        ),
        (pool, _Layer("branch_pool", 192)),
    )


_STEM = (
    _Layer("Conv2d_1a_3x3", 32, (3, 3), 2, "VALID"),
    _Layer("Conv2d_2a_3x3", 32, (3, 3), 1, "VALID"),
    _Layer("Conv2d_2b_3x3", 64, (3, 3)),
    _halve,
    _Layer("Conv2d_3b_1x1", 80),
    _Layer("Conv2d_4a_3x3", 192, (3, 3), 1, "VALID"),
    _halve,
)
_BLOCKS = {
    "Mixed_5b": _block_a(32),
    "Mixed_5c": _block_a(64),
    "Mixed_5d": _block_a(64),
    "Mixed_6a": (
        (_Layer("branch3x3", 384, (3, 3), 2, "VALID"),),
        (
            _Layer("branch3x3dbl_1", 64),
            _Layer("branch3x3dbl_2", 96, (3, 3)),
            _Layer("branch3x3dbl_3", 96, (3, 3), 2, "VALID"),
        ),
        (_halve,),
    ),
    "Mixed_6b": _block_c(128),
    "Mixed_6c": _block_c(160),
    "Mixed_6d": _block_c(160),
    "Mixed_6e": _block_c(192),
    "Mixed_7a": (
        (_Layer("branch3x3_1", 192), _Layer("branch3x3_2", 320, (3, 3), 2, "VALID")),
        (
            _Layer("branch7x7x3_1", 192),
            _Layer("branch7x7x3_2", 192, (1, 7)),
            _Layer("branch7x7x3_3", 192, (7, 1)),
            _Layer("branch7x7x3_4", 192, (3, 3), 2, "VALID"),
        ),
        (_halve,),
    ),
    "Mixed_7b": _block_e(_average),
    "Mixed_7c": _block_e(_maximum),
}


class Inception(nn.Module):
    """Features of images in [0, 1], of any size.

    Attributes:
      side: images are resized to this many pixels per side, bilinearly; at least 75. FID has 299.
    """

    side: int = SIDE

    @nn.compact
    def __call__(self, images: Float[Array, "b h w 3"]) -> Float[Array, "b 2048"]:
        x = 2.0 * resize(images, (self.side, self.side)) - 1.0
        x = _through(_STEM, x)
        for name in _BLOCKS:
            x = _Block(name=name)(x)
        return x.mean((1, 2))


class _Block(nn.Module):
    """The block in `_BLOCKS` with the module's name."""

    @nn.compact
    def __call__(self, x):
        branches = _BLOCKS[self.name or ""]
        return jnp.concatenate([_through(branch, x) for branch in branches], -1)


class _Convolution(nn.Module):
    """A convolution, batch norm with stored statistics, and a ReLU."""

    layer: _Layer

    @nn.compact
    def __call__(self, x):
        _, channels, kernel, stride, padding = self.layer
        x = nn.Conv(
            channels, kernel, stride, padding=padding, use_bias=False, name="conv",
            precision=jax.lax.Precision.HIGHEST,
        )(x)  # fmt: skip
        ones, zeros = nn.initializers.ones, nn.initializers.zeros
        mean, bias = (self.param(name, zeros, (channels,)) for name in ("mean", "bias"))
        var, scale = (self.param(name, ones, (channels,)) for name in ("var", "scale"))
        return nn.relu((x - mean) * (scale * jax.lax.rsqrt(var + _EPSILON)) + bias)


def _through(steps, x):
    for step in steps:
        if isinstance(step, list):
            x = jnp.concatenate([_through((layer,), x) for layer in step], -1)
        elif isinstance(step, _Layer):
            x = _Convolution(step, name=step.name)(x)
        else:
            x = step(x)
    return x
