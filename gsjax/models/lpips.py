"""LPIPS, the perceptual distance of two images (Zhang et al. 2018), version 0.1.

Features of a frozen classifier, normalized in each pixel, are subtracted, squared, weighed
per channel by a learned linear head, and averaged over the image, for each of five layers.
"""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.typing import DTypeLike

# Convolutions by channels, kernel, stride, padding; "tap" is a layer that is compared.
_POOL = "pool"
_TAP = "tap"
BACKBONES = {
    "alex": (
        (64, 11, 4, 2), _TAP, _POOL, (192, 5, 1, 2), _TAP, _POOL, (384, 3, 1, 1), _TAP,
        (256, 3, 1, 1), _TAP, (256, 3, 1, 1), _TAP,
    ),
    "vgg": (
        (64, 3, 1, 1), (64, 3, 1, 1), _TAP, _POOL, (128, 3, 1, 1), (128, 3, 1, 1), _TAP, _POOL,
        (256, 3, 1, 1), (256, 3, 1, 1), (256, 3, 1, 1), _TAP, _POOL,
        (512, 3, 1, 1), (512, 3, 1, 1), (512, 3, 1, 1), _TAP, _POOL,
        (512, 3, 1, 1), (512, 3, 1, 1), (512, 3, 1, 1), _TAP,
    ),
}  # fmt: skip
_POOL_SIZE = {"alex": 3, "vgg": 2}
LEAST_SIDE = {"alex": 31, "vgg": 16}  # pixels; smaller images leave nothing for the last layer

# Of the pixels in [−1, 1] that the classifiers' inputs are made of.
_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)


class Lpips(nn.Module):
    """Distances of pairs of images.

    Attributes:
      backbone: alex | vgg.
      normalize: images are in [0, 1] and are brought to the [−1, 1] that LPIPS expects. The
        published code of the inpainter leaves this out.
      dtype: of the backbone; the distances are float32.
    """

    backbone: str = "alex"
    normalize: bool = True
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, images: Float[Array, "b h w 3"], others: Float[Array, "b h w 3"]
    ) -> Float[Array, "b"]:
        """Returns one distance a pair; images in [0, 1], of at least `LEAST_SIDE` pixels."""
        # Interleaved, so that over several devices no image changes its own.
        both = jnp.stack([images, others], axis=1).reshape(-1, *images.shape[1:])
        if self.normalize:
            both = 2.0 * both - 1.0
        both = (both - np.float32(_SHIFT)) / np.float32(_SCALE)
        distance = 0.0
        for index, features in enumerate(self._features(both.astype(self.dtype))):
            features = features.astype(jnp.promote_types(features.dtype, jnp.float32))
            length = jnp.sqrt(jnp.sum(jnp.square(features), -1, keepdims=True) + 1e-20)
            unit = features / (length + 1e-10)
            unit = unit.reshape(-1, 2, *unit.shape[1:])
            squares = jnp.square(unit[:, 0] - unit[:, 1])
            head = self.param(f"head_{index}", nn.initializers.uniform(1.0), squares.shape[-1:])
            distance += jnp.sum(squares * head, axis=-1).mean((1, 2))
        return distance

    def _features(self, x):
        """Yields the layers that are compared."""
        convolutions = 0
        size = _POOL_SIZE[self.backbone]
        for layer in BACKBONES[self.backbone]:
            if layer == _TAP:
                yield x
            elif layer == _POOL:
                x = nn.max_pool(x, (size, size), (2, 2))
            else:
                channels, kernel, stride, padding = layer
                x = nn.Conv(
                    channels, (kernel, kernel), stride, padding=padding, dtype=self.dtype,
                    name=f"conv_{convolutions}",
                )(x)  # fmt: skip
                x = nn.relu(x)
                convolutions += 1
