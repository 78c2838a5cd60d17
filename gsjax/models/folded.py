"""An encoder on folded pixels, cheaper than convolutions at full resolution.

Squares of pixels become the channels of one cell, so no layer works at full resolution. A
U-shaped network of residual blocks follows. Attention between the cells at its lowest
resolution sees across holes that convolutions cannot bridge.
"""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from gsjax.models.patch_conv import fold

HEAD_CHANNELS = 32  # of each attention head
SIDE_BLOCKS = 2  # at each resolution except the lowest, on each side of the U
_zeros = nn.initializers.zeros


def unfold(
    x: Float[Array, "b h w c"], side: int
) -> Float[Array, "b {side}*h {side}*w c//{side}**2"]:
    """Undoes `fold`."""
    batch, height, width, _ = x.shape
    x = x.reshape(batch, height, width, side, side, -1)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(batch, height * side, width * side, -1)


def _normalized(x, token, name: str, dtype):
    """Applies RMSNorm to each cell, modulated by the semantic token if there is one."""
    x = nn.RMSNorm(epsilon=1e-6, dtype=dtype, name=name)(x)
    if token is None:
        return x
    adapter = nn.Dense(2 * x.shape[-1], dtype=dtype, kernel_init=_zeros, name=f"{name}_adapter")
    alpha, beta = jnp.split(adapter(token)[:, None, None, :], 2, axis=-1)
    return (1 + alpha) * x + beta


class Block(nn.Module):
    """A residual block, x + conv(gelu(conv(normalized(x)))), initialized to the identity."""

    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], token: Float[Array, "b d"] | None
    ) -> Float[Array, "b h w c"]:
        channels = x.shape[-1]
        y = _normalized(x, token, "norm", self.dtype)
        y = nn.Conv(
            channels, (3, 3), dtype=self.dtype, kernel_init=nn.initializers.he_normal(),
            name="conv_1",
        )(y)  # fmt: skip
        y = nn.Conv(channels, (3, 3), dtype=self.dtype, kernel_init=_zeros, name="conv_2")(
            nn.gelu(y)
        )
        return x + y


class AttentionBlock(nn.Module):
    """A transformer layer over the cells; their positions show in the zero padding of `Block`."""

    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], token: Float[Array, "b d"] | None
    ) -> Float[Array, "b h w c"]:
        batch, height, width, channels = x.shape
        y = _normalized(x, token, "attention_norm", self.dtype)
        y = nn.Dense(3 * channels, dtype=self.dtype, name="queries_keys_values")(y)
        heads = (batch, height * width, channels // HEAD_CHANNELS, HEAD_CHANNELS)
        queries, keys, values = (part.reshape(heads) for part in jnp.split(y, 3, axis=-1))
        y = jax.nn.dot_product_attention(queries, keys, values).reshape(x.shape)
        x = x + nn.Dense(channels, dtype=self.dtype, kernel_init=_zeros, name="attended")(y)
        y = _normalized(x, token, "norm", self.dtype)
        y = nn.gelu(nn.Dense(3 * channels, dtype=self.dtype, name="widen")(y))
        return x + nn.Dense(channels, dtype=self.dtype, kernel_init=_zeros, name="narrow")(y)


class FoldedEncoder(nn.Module):
    """Maps an image to features at 1/fold of its resolution.

    Attributes:
      features: channels of the result.
      fold: side of a cell in pixels.
      width: channels of the first layer; each halving doubles them, up to max_width.
      max_width: maximum number of channels.
      downs: halvings of the folded resolution; fold · 2**downs must divide height and width.
      blocks: residual blocks at the lowest resolution, with attention after every second one.
      recompute: rematerialize the blocks in the backward pass.
      dtype: of the computation; parameters are float32.
    """

    features: int
    fold: int = 4
    width: int = 64
    max_width: int = 1024
    downs: int = 1
    blocks: int = 4
    recompute: bool = False
    dtype: DTypeLike | None = None

    # What divides both widths, and why.
    width_multiple: ClassVar[tuple[int, str]] = (HEAD_CHANNELS, "heads of attention")

    @nn.nowrap
    def stride(self) -> int:
        """Returns the pixels that must divide an image's height and width."""
        return self.fold * 2**self.downs

    @nn.nowrap
    def min_side(self) -> int:
        """Returns the smallest side of an image: a single cell at the bottom is enough."""
        return self.stride()

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w i"], token: Float[Array, "b d"] | None
    ) -> Float[Array, "b h//{self.fold} w//{self.fold} {self.features}"]:
        widths = [min(self.width * 2**level, self.max_width) for level in range(self.downs + 1)]
        block = nn.remat(Block) if self.recompute else Block
        attention = nn.remat(AttentionBlock) if self.recompute else AttentionBlock
        x = nn.Dense(widths[0], dtype=self.dtype, name="stem")(fold(2 * x - 1, self.fold))
        skipped = []
        for level in range(self.downs):
            for index in range(SIDE_BLOCKS):
                x = block(self.dtype, name=f"down_{level}_block_{index}")(x, token)
            skipped.append(x)
            x = nn.Dense(widths[level + 1], dtype=self.dtype, name=f"down_{level}")(fold(x, 2))
        for index in range(self.blocks):
            x = block(self.dtype, name=f"block_{index}")(x, token)
            if index % 2:
                x = attention(self.dtype, name=f"attention_{index}")(x, token)
        for level in reversed(range(self.downs)):
            x = _normalized(x, None, f"up_{level}_norm", self.dtype)
            x = nn.Dense(4 * widths[level], dtype=self.dtype, name=f"up_{level}")(x)
            x = skipped[level] + unfold(x, 2)
            for index in range(SIDE_BLOCKS):
                x = block(self.dtype, name=f"up_{level}_block_{index}")(x, token)
        x = _normalized(x, None, "out_norm", self.dtype)
        return nn.Dense(self.features, dtype=self.dtype, name="out")(x)
