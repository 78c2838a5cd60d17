"""The encoder: a U-shaped residual network whose blocks the semantic token modulates.

LaMa's generator (Suvorov et al. 2022) without Fourier convolutions, but with GroupNorm,
skip connections and adaptive normalization in the residual blocks.
"""

import functools
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

# torch.nn's default for convolutions: uniform within ±1/√fan_in.
_conv_init = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
GROUPS = 16


class ReflectConv(nn.Module):
    """A convolution with reflection padding."""

    features: int
    size: int
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b h w o"]:
        border = (self.size // 2, self.size // 2)
        x = jnp.pad(x, ((0, 0), border, border, (0, 0)), mode="reflect")
        # The row of zeros adds an output row, which is dropped: XLA's convolution on CPU is up
        # to seven times as fast with padding as without.
        conv = nn.Conv(
            self.features, (self.size, self.size), padding=((0, 1), (0, 0)), dtype=self.dtype,
            kernel_init=_conv_init, name="conv",
        )  # fmt: skip
        return conv(x)[:, :-1]


class UpConv(nn.Module):
    """A transposed 3×3 convolution with stride 2 that exactly doubles height and width.

    Output row 2i sees input row i through the kernel's middle row; row 2i + 1 sees rows i and
    i + 1 through its last and first rows; columns likewise. Nine matrix products cost as much
    as a transposed convolution, whose gradient XLA computes up to 50 times slower on CPU.
    """

    features: int
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b 2*h 2*w {self.features}"]:
        batch, height, width, channels = x.shape
        # Output channels come first, as in torch, whose fan-in counts these.
        kernel = self.param("kernel", _conv_init, (3, 3, self.features, channels))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=self.dtype)
        kernel = jnp.swapaxes(kernel, 2, 3)
        x = jnp.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)))
        taps = (((0, 1),), ((0, 2), (1, 0)))  # of even and odd rows: input row, kernel row

        def parity(row: int, column: int) -> Float[Array, "b h w o"]:
            products = (
                x[:, i : i + height, j : j + width] @ kernel[k, m]
                for i, k in taps[row]
                for j, m in taps[column]
            )
            return functools.reduce(jnp.add, products)

        rows = [jnp.stack([parity(row, column) for column in (0, 1)], axis=3) for row in (0, 1)]
        return jnp.stack(rows, axis=2).reshape(batch, 2 * height, 2 * width, -1) + bias


def _group_norm(dtype: DTypeLike | None, name: str) -> nn.GroupNorm:
    return nn.GroupNorm(GROUPS, epsilon=1e-5, dtype=dtype, name=name)


class AdaptiveBlock(nn.Module):
    """A residual block: x + γ · convs((1 + α) · normalized(x) + β); α, β, γ from the token.

    The normalization is over the image, per channel, with the unbiased variance. Without a
    token, this is LaMa's block, x + convs(x).
    """

    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], token: Float[Array, "b d"] | None
    ) -> Float[Array, "b h w c"]:
        if token is None:
            return x + self._convolve(x)
        modulation = nn.Dense(3 * x.shape[-1], dtype=self.dtype, name="adapter")(token)
        alpha, beta, gamma = jnp.split(modulation[:, None, None, :], 3, axis=-1)
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        mean = wide.mean((1, 2), keepdims=True)
        variance = wide.var((1, 2), keepdims=True, ddof=1)
        normalized = ((wide - mean) / jnp.sqrt(variance + 1e-6)).astype(x.dtype)
        return x + gamma * self._convolve(normalized * (1 + alpha) + beta)

    def _convolve(self, x):
        channels = x.shape[-1]
        x = ReflectConv(channels, 3, self.dtype, name="conv_1")(x)
        x = nn.relu(_group_norm(self.dtype, "norm_1")(x))
        x = ReflectConv(channels, 3, self.dtype, name="conv_2")(x)
        return _group_norm(self.dtype, "norm_2")(x)


class Encoder(nn.Module):
    """Maps an image to features in (−1, 1) at full resolution.

    Attributes:
      features: channels of the result.
      width: channels of the first layer; each halving doubles them, up to max_width.
      max_width: maximum number of channels.
      downs: halvings of the resolution.
      blocks: residual blocks at the lowest resolution.
      skips: concatenate the encoder's maps to the decoder's.
      recompute: rematerialize the residual blocks in the backward pass.
      dtype: of the computation; parameters are float32.
    """

    features: int
    width: int = 64
    max_width: int = 1024
    downs: int = 3
    blocks: int = 9
    skips: bool = True
    recompute: bool = False
    dtype: DTypeLike | None = None

    # What divides both widths, and why.
    width_multiple: ClassVar[tuple[int, str]] = (GROUPS, "groups that are normalized")

    @nn.nowrap
    def stride(self) -> int:
        """Returns the pixels that must divide an image's height and width."""
        return 2**self.downs

    @nn.nowrap
    def min_side(self) -> int:
        """Returns the smallest side of an image: reflecting needs two pixels at the bottom."""
        return 2 * self.stride()

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w i"], token: Float[Array, "b d"] | None
    ) -> Float[Array, "b h w f"]:
        widths = [min(self.width * 2**level, self.max_width) for level in range(self.downs + 1)]
        x = ReflectConv(widths[0], 7, self.dtype, name="stem")(x)
        x = nn.relu(_group_norm(self.dtype, "stem_norm")(x))
        skipped = []
        for level in range(1, self.downs + 1):
            conv = nn.Conv(
                widths[level], (3, 3), 2, padding=1, dtype=self.dtype, kernel_init=_conv_init,
                name=f"down_{level}",
            )  # fmt: skip
            x = nn.relu(_group_norm(self.dtype, f"down_{level}_norm")(conv(x)))
            skipped.append(x)
        skipped.pop()
        block = nn.remat(AdaptiveBlock) if self.recompute else AdaptiveBlock
        for index in range(self.blocks):
            x = block(self.dtype, name=f"block_{index}")(x, token)
        for level in reversed(range(self.downs)):
            if self.skips and level < self.downs - 1:
                x = jnp.concatenate([x, skipped.pop()], axis=-1)
            x = UpConv(widths[level], self.dtype, name=f"up_{level}")(x)
            x = nn.relu(_group_norm(self.dtype, f"up_{level}_norm")(x))
        return nn.tanh(ReflectConv(self.features, 7, self.dtype, name="out")(x))
