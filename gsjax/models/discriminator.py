"""The PatchGAN discriminator: judges overlapping patches of an image, not the whole of it.

After "Image-to-Image Translation with Conditional Adversarial Networks" (Isola et al. 2017),
with GroupNorm as in the published inpainter.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float
from numpy.typing import DTypeLike

# Feature maps over `width`, and strides, of the layers before the last.
_LAYERS = ((1, 2), (2, 2), (4, 2), (8, 1))
_GROUPS = 16


class Discriminator(nn.Module):
    """Five 4×4 convolutions; each logit sees 70×70 pixels.

    Attributes:
      width: channels of the first layer; a multiple of 8, for 16 groups in the second.
      dtype: what is computed in; parameters are float32.
    """

    width: int = 64
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, images: Float[Array, "b h w 3"]) -> Float[Array, "b oh ow 1"]:
        """Returns one logit a patch, positive for real; height and width are at least 24."""
        x = images
        for index, (factor, stride) in enumerate(_LAYERS):
            x = self._conv(factor * self.width, stride, f"conv_{index}")(x)
            if index:  # the first layer sees raw pixels, whose level says something
                x = nn.GroupNorm(
                    _GROUPS, epsilon=1e-5, use_fast_variance=False, dtype=self.dtype,
                    name=f"norm_{index}",
                )(x)  # fmt: skip
            x = nn.leaky_relu(x, 0.2)
        return self._conv(1, 1, f"conv_{len(_LAYERS)}")(x)

    def _conv(self, features: int, stride: int, name: str) -> nn.Conv:
        return nn.Conv(
            features, (4, 4), strides=(stride, stride), padding=((1, 1), (1, 1)),
            dtype=self.dtype, kernel_init=nn.initializers.normal(0.02), name=name,
        )  # fmt: skip
