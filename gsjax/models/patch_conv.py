"""A convolution whose patches do not overlap, as one matrix product."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float
from numpy.typing import DTypeLike


class PatchConv(nn.Module):
    """A convolution with as much stride as kernel: one vector for each s×s patch.

    The parameters are those of `nn.Conv`. As a product, it and its gradients take the compiler
    for TPUs an eighth of the time.

    Attributes:
      features: channels of the result (f).
      size: side of a patch in pixels (s).
      dtype: what is computed in; parameters are float32.
    """

    features: int
    size: int
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b h//s w//s f"]:
        """Pixels that are left after whole patches are not seen."""
        batch, height, width, channels = x.shape
        size, rows, columns = self.size, height // self.size, width // self.size
        shape = (size, size, channels, self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=self.dtype)
        x = x[:, : rows * size, : columns * size]
        x = x.reshape(batch, rows, size, columns, size, channels)
        x = jnp.swapaxes(x, 2, 3).reshape(batch, rows, columns, -1)
        return x @ kernel.reshape(-1, self.features) + bias
