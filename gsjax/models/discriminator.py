"""The PatchGAN discriminator: classifies overlapping patches of an image, not the whole image.

From "Image-to-Image Translation with Conditional Adversarial Networks" (Isola et al. 2017),
with GroupNorm as in the published inpainter.
"""

from typing import ClassVar, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

_GROUPS = 16


class DiscriminatorOutput(NamedTuple):
    """What the discriminator returns for images, at least in float32.

    Attributes:
      logits: one per patch, positive for real.
      maps: the features after each layer except the last.
    """

    logits: Float[Array, "b oh ow 1"]
    maps: tuple[Float[Array, "b _ _ _"], ...]


class Discriminator(nn.Module):
    """4×4 convolutions: `layers` of stride 2, then two of stride 1.

    Channels double from layer to layer, up to 8 times the first. With 3 layers, as published,
    each logit sees 70×70 pixels.

    Attributes:
      width: channels of the first layer; a multiple of 8, for the 16 groups of the second layer.
      dtype: of the computation; parameters are float32.
      layers: halvings of the resolution, at least 1; `n_layers` in the PyTorch code.
    """

    width: int = 64
    dtype: DTypeLike = jnp.float32
    layers: int = 3

    # What divides the width, and why: the second layer has twice as many channels.
    width_multiple: ClassVar[tuple[int, str]] = (_GROUPS // 2, "groups that are normalized")

    def __call__(self, images: Float[Array, "b h w 3"]) -> Float[Array, "b oh ow 1"]:
        """Returns one logit per patch, positive for real; sides are at least `min_side`."""
        return self.judge(images).logits

    @nn.compact
    def judge(self, images: Float[Array, "b h w 3"]) -> DiscriminatorOutput:
        """Returns the logits and the intermediate feature maps."""
        x, maps = images, []
        for index in range(self.layers + 1):
            features = min(2**index, 8) * self.width
            x = self._conv(features, 2 if index < self.layers else 1, f"conv_{index}")(x)
            if index:  # no norm in the first layer, where the level of the pixels matters
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
    """Returns the side in pixels of the smallest image, which gives one logit."""
    return 3 * 2**layers


def touches_hole(hole: Float[Array, "b h w 1"], layers: int) -> Bool[Array, "b oh ow 1"]:
    """Returns for each logit whether its patch touches the hole.

    The receptive field of a logit is larger than its patch, but mostly its center counts. Patches
    of `min_side` pixels around the centers just cover the image: 24×24 of 70×70 with 3 layers.
    """
    side, stride = min_side(layers), 2**layers
    return nn.max_pool(hole, (side, side), (stride, stride)) > 0


def _at_least_float32(array):
    return array.astype(jnp.promote_types(array.dtype, jnp.float32))
