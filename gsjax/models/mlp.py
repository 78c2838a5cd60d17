"""The small multilayer perceptron used by every head."""

from collections.abc import Sequence

import flax.linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float


class Mlp(nn.Module):
    """Linear layers with exact GELU between them and nothing after the last.

    Weights start Xavier-uniform and biases at zero, as in the published code.

    Attributes:
      widths: output channels of each layer.
      dtype: of the computation; parameters are float32.
    """

    widths: Sequence[int]
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "*b i"]) -> Float[Array, "*b o"]:
        for layer, width in enumerate(self.widths):
            if layer:
                x = nn.gelu(x, approximate=False)
            x = nn.Dense(width, dtype=self.dtype, kernel_init=nn.initializers.xavier_uniform())(x)
        return x
