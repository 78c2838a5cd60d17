"""LPIPS, the perceptual distance of two images (Zhang et al. 2018), version 0.1.

The features of a frozen classifier, at several layers, are normalized per pixel, subtracted,
squared, weighted per channel by a learned linear head, and averaged over the image.
"""

import functools
import itertools
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float


class Conv(NamedTuple):
    """A convolution and a ReLU."""

    channels: int
    kernel: int
    stride: int = 1
    padding: int = 0


class Pool(NamedTuple):
    """Max pooling with stride 2; `ceil` keeps a last, incomplete window."""

    size: int
    ceil: bool = False


class Fire(NamedTuple):
    """SqueezeNet's module: 1×1 to `squeeze` channels, then parallel 1×1 and 3×3 convolutions."""

    squeeze: int
    expand: int  # channels of each of the two


class Tap(NamedTuple):
    """Marks a layer whose features are compared."""


BACKBONES: dict[str, tuple[Conv | Pool | Fire | Tap, ...]] = {
    "alex": (
        Conv(64, 11, 4, 2), Tap(), Pool(3), Conv(192, 5, 1, 2), Tap(), Pool(3),
        Conv(384, 3, 1, 1), Tap(), Conv(256, 3, 1, 1), Tap(), Conv(256, 3, 1, 1), Tap(),
    ),
    "vgg": (
        *[Conv(64, 3, 1, 1)] * 2, Tap(), Pool(2), *[Conv(128, 3, 1, 1)] * 2, Tap(), Pool(2),
        *[Conv(256, 3, 1, 1)] * 3, Tap(), Pool(2), *[Conv(512, 3, 1, 1)] * 3, Tap(), Pool(2),
        *[Conv(512, 3, 1, 1)] * 3, Tap(),
    ),
    # SqueezeNet 1.1
    "squeeze": (
        Conv(64, 3, 2), Tap(), Pool(3, ceil=True), *[Fire(16, 64)] * 2, Tap(),
        Pool(3, ceil=True), *[Fire(32, 128)] * 2, Tap(), Pool(3, ceil=True), Fire(48, 192), Tap(),
        Fire(48, 192), Tap(), Fire(64, 256), Tap(), Fire(64, 256), Tap(),
    ),
}  # fmt: skip
# In pixels; smaller images leave nothing for the last layer.
MIN_SIDE = {"alex": 31, "vgg": 16, "squeeze": 17}

# Normalization of the classifiers' inputs, for pixels in [−1, 1].
_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)


def lpips_name(backbone: str) -> str:
    """Returns the metric's name in tables and logs; backbones are not comparable."""
    return f"lpips_{backbone}"


class Lpips(nn.Module):
    """Distances of pairs of images.

    Attributes:
      backbone: alex | vgg | squeeze.
      normalize: map images from [0, 1] to the [−1, 1] that LPIPS expects. The published code of
        the inpainter does not.
      dtype: of the backbone; distances are float32.
    """

    backbone: str = "alex"
    normalize: bool = True
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, images: Float[Array, "b h w 3"], others: Float[Array, "b h w 3"]
    ) -> Float[Array, " b"]:
        """Returns one distance per pair; images in [0, 1], at least `MIN_SIDE` pixels per side."""
        # Interleaved, so that no image moves to another device.
        both = jnp.stack([images, others], axis=1).reshape(-1, *images.shape[1:])
        if self.normalize:
            both = 2.0 * both - 1.0
        both = (both - np.array(_SHIFT, np.float32)) / np.array(_SCALE, np.float32)
        distances = []
        for index, features in enumerate(self._features(both.astype(self.dtype))):
            features = features.astype(jnp.promote_types(features.dtype, jnp.float32))
            length = jnp.sqrt(jnp.sum(jnp.square(features), -1, keepdims=True) + 1e-20)
            unit = features / (length + 1e-10)
            unit = unit.reshape(-1, 2, *unit.shape[1:])
            squares = jnp.square(unit[:, 0] - unit[:, 1])
            head = self.param(f"head_{index}", nn.initializers.uniform(1.0), squares.shape[-1:])
            distances.append(jnp.sum(squares * head, axis=-1).mean((1, 2)))
        return functools.reduce(jnp.add, distances)

    def _features(self, x):
        """Yields the features that are compared."""
        names = (f"conv_{index}" for index in itertools.count())

        def convolve(x, layer: Conv):
            kernel = (layer.kernel,) * 2
            x = nn.Conv(
                layer.channels, kernel, layer.stride, padding=layer.padding, dtype=self.dtype,
                name=next(names),
            )(x)  # fmt: skip
            return nn.relu(x)

        for layer in BACKBONES[self.backbone]:
            match layer:
                case Tap():
                    yield x
                case Conv():
                    x = convolve(x, layer)
                case Pool(size, ceil):
                    # Pad so that a last window that exceeds the image is kept.
                    beyond = [(0, (side - size) % 2 if ceil else 0) for side in x.shape[1:3]]
                    x = nn.max_pool(x, (size, size), (2, 2), beyond)
                case Fire(squeeze, expand):
                    x = convolve(x, Conv(squeeze, 1))
                    both = [convolve(x, Conv(expand, 1)), convolve(x, Conv(expand, 3, 1, 1))]
                    x = jnp.concatenate(both, axis=-1)
