"""The PatchGAN discriminator: judges overlapping patches of an image, not the whole of it.

After "Image-to-Image Translation with Conditional Adversarial Networks" (Isola et al. 2017),
with GroupNorm as in the published inpainter.
"""

from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float
from numpy.typing import DTypeLike

_GROUPS = 16


class DiscriminatorOutput(NamedTuple):
    """What the discriminator makes of images, at least in float32.

    Attributes:
      logits: one a patch, positive for real.
      maps: the features after each layer but the last.
    """

    logits: Float[Array, "b oh ow 1"]
    maps: tuple[Float[Array, "b _ _ _"], ...]


class Discriminator(nn.Module):
    """4×4 convolutions: `layers` of stride 2, then two of stride 1.

    Channels double from layer to layer, up to 8 times the first. With 3 layers, as published,
    each logit sees 70×70 pixels.

    Attributes:
      width: channels of the first layer; a multiple of 8, for 16 groups in the second.
      dtype: what is computed in; parameters are float32.
      layers: halvings of the resolution, at least 1; `n_layers` of the PyTorch code.
    """

    width: int = 64
    dtype: DTypeLike = jnp.float32
    layers: int = 3

    def __call__(self, images: Float[Array, "b h w 3"]) -> Float[Array, "b oh ow 1"]:
        """Returns one logit a patch, positive for real; sides are at least `min_side`."""
        return self.judge(images).logits

    @nn.compact
    def judge(self, images: Float[Array, "b h w 3"]) -> DiscriminatorOutput:
        """Returns the logits and the maps on the way to them."""
        x, maps = images, []
        for index in range(self.layers + 1):
            features = min(2**index, 8) * self.width
            x = self._conv(features, 2 if index < self.layers else 1, f"conv_{index}")(x)
            if index:  # the first layer sees raw pixels, whose level says something
                x = nn.GroupNorm(
                    _GROUPS, epsilon=1e-5, use_fast_variance=False, dtype=self.dtype,
                    name=f"norm_{index}",
                )(x)  # fmt: skip
            x = nn.leaky_relu(x, 0.2)
            maps.append(_at_least_float32(x))
        logits = self._conv(1, 1, f"conv_{self.layers + 1}")(x)
        return DiscriminatorOutput(_at_least_float32(logits), tuple(maps))

    def _conv(self, features: int, stride: int, name: str) -> nn.Conv:
        return nn.Conv(
            features, (4, 4), strides=(stride, stride), padding=((1, 1), (1, 1)),
            dtype=self.dtype, kernel_init=nn.initializers.normal(0.02), name=name,
        )  # fmt: skip


def min_side(layers: int) -> int:
    """Returns the pixels a side of the smallest image that leaves one logit."""
    return 3 * 2**layers


def touches_hole(hole: Float[Array, "b h w 1"], layers: int) -> Bool[Array, "b oh ow 1"]:
    """Returns which logits' patches touch the hole.

    A logit sees more than these, but mostly the middle of what it sees. `min_side` pixels
    around its center are what lets the patches just cover the image: 24×24 of 70×70 with 3 layers.
    """
    side, stride = min_side(layers), 2**layers
    return nn.max_pool(hole, (side, side), (stride, stride)) > 0


def _at_least_float32(array):
    return array.astype(jnp.promote_types(array.dtype, jnp.float32))
