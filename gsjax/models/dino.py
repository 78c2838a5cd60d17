"""The DINO family of vision transformers: DINO v1 and DINOv2, with and without registers.

The semantic branch and the loss use one of them, frozen. Implemented from "Emerging Properties in
Self-Supervised Vision Transformers" (Caron et al. 2021), "DINOv2" (Oquab et al. 2023)
and "Vision Transformers Need Registers" (Darcet et al. 2024).
"""

import functools
from collections.abc import Collection
from typing import no_type_check

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from gsjax.errors import UserError
from gsjax.models.patch_conv import PatchConv
from gsjax.models.resize import resize

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# width, blocks, heads. There are no published weights for ti, which is for small runs and tests.
SIZES = {
    "ti": (192, 12, 3),
    "S": (384, 12, 6),
    "B": (768, 12, 12),
    "L": (1024, 24, 16),
    "g": (1536, 40, 24),
}

_normal = nn.initializers.truncated_normal(0.02)


@no_type_check  # JAX builds it from anything: shapes, shardings, axes
@flax.struct.dataclass
class DinoOutput:
    """The transformer's tokens for a batch of images, after its last LayerNorm."""

    cls_token: Float[Array, "b d"]
    patch_tokens: Float[Array, "b t d"]  # row-major over the patch grid, without registers
    taps: tuple[Float[Array, "b t d"], ...] = ()  # patch tokens after the blocks asked for


class DinoViT(nn.Module):
    """A vision transformer with a class token; `dino` builds the published sizes.

    Parameters, the softmax, the statistics of the norms and the resampling of positions are
    always float32.

    Attributes:
      width: channels of a token (D).
      depth: blocks.
      heads: attention heads; they divide `width`.
      mlp_width: hidden channels of a block's MLP.
      patch_size: side of a patch in pixels.
      grid: rows and columns of patches that the positional embedding was learned for.
      registers: extra tokens that take part in attention and are then dropped.
      swiglu: gated MLP (DINOv2 g) instead of GELU.
      layer_scale: a learned factor per channel on both residual branches (DINOv2).
      antialias: widen the kernel when positions are resampled to a coarser grid.
      offset: patches added to the target grid to compute the resampling scale; 0.1 in the
        published code of DINO v1 and of DINOv2 without registers, whose results depend on it.
      epsilon: of the LayerNorms.
      dtype: of the computation and the outputs.
    """

    width: int
    depth: int
    heads: int
    mlp_width: int
    patch_size: int = 14
    grid: tuple[int, int] = (37, 37)
    registers: int = 0
    swiglu: bool = False
    layer_scale: bool = True
    antialias: bool = False
    offset: float = 0.1
    epsilon: float = 1e-6
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        images: Float[Array, "b h w 3"],
        keep: Bool[Array, "b t"] | None = None,
        taps: Collection[int] = (),
    ) -> DinoOutput:
        """Encodes normalized images (see `preprocess`).

        Height and width may differ. Pixels beyond the last whole patch are ignored.

        Args:
          images: the normalized images.
          keep: which patches are used, row-major; None: all. The others are masked out of the
            attention: every other token is as if they had been dropped before the first block,
            but shapes do not depend on the data. Their own output tokens are meaningless.
          taps: after how many blocks patch tokens are also returned, in ascending order. The last
            LayerNorm applies to them too, as in the published code of DINOv2.
        """
        tokens = PatchConv(self.width, self.patch_size, self.dtype, name="patch_embed")(images)
        batch, rows, columns, _ = tokens.shape
        tokens = tokens.reshape(batch, rows * columns, self.width)

        cls_token = self.param("cls_token", _normal, (1, 1, self.width))
        tokens = jnp.concatenate([self._repeat(cls_token, batch), tokens], axis=1)
        tokens = tokens + self._positions((rows, columns)).astype(self.dtype)
        if self.registers:  # after the positions, since registers have none
            registers = self.param("register_tokens", _normal, (1, self.registers, self.width))
            registers = self._repeat(registers, batch)
            tokens = jnp.concatenate([tokens[:, :1], registers, tokens[:, 1:]], axis=1)

        attended = None
        if keep is not None:  # the class token and registers are always used
            attended = jnp.pad(keep, ((0, 0), (1 + self.registers, 0)), constant_values=True)
        norm = _layer_norm(self.epsilon, self.dtype, "norm")
        tapped = []
        for index in range(self.depth):
            tokens = Block(
                heads=self.heads,
                mlp_width=self.mlp_width,
                swiglu=self.swiglu,
                layer_scale=self.layer_scale,
                epsilon=self.epsilon,
                dtype=self.dtype,
                name=f"block_{index}",
            )(tokens, attended)
            if index + 1 in taps:
                tapped.append(norm(tokens)[:, 1 + self.registers :])
        tokens = norm(tokens)
        return DinoOutput(tokens[:, 0], tokens[:, 1 + self.registers :], tuple(tapped))

    @property
    def learned_size(self) -> tuple[int, int]:
        """(height, width) in pixels of images whose positions need no resampling."""
        rows, columns = self.grid
        return rows * self.patch_size, columns * self.patch_size

    def _positions(
        self, grid: tuple[int, int]
    ) -> Float[Array | np.ndarray, "1 1+{grid[0]*grid[1]} {self.width}"]:
        """Returns the positions of the class token, as learned, and of the patches, resampled."""
        rows, columns = self.grid
        learned = self.param("pos_embed", _normal, (1, 1 + rows * columns, self.width))
        if grid == self.grid:
            return learned
        patches = resize(
            learned[:, 1:].reshape(1, rows, columns, self.width),
            grid,
            "bicubic",
            self.antialias,
            scale=((grid[0] + self.offset) / rows, (grid[1] + self.offset) / columns),
        )
        return jnp.concatenate([learned[:, :1], patches.reshape(1, -1, self.width)], axis=1)

    def _repeat(
        self, tokens: Float[Array | np.ndarray, "1 n d"], batch: int
    ) -> Float[Array, "{batch} n d"]:
        return jnp.tile(tokens.astype(self.dtype), (batch, 1, 1))


class Block(nn.Module):
    """A pre-norm transformer block: self-attention and an MLP, both residual."""

    heads: int
    mlp_width: int
    swiglu: bool
    layer_scale: bool
    epsilon: float
    dtype: DTypeLike

    @nn.compact
    def __call__(
        self, tokens: Float[Array, "b n d"], attended: Bool[Array, "b n"] | None = None
    ) -> Float[Array, "b n d"]:
        """Mixes tokens across the image, then channels within each token.

        Args:
          tokens: those of the block before.
          attended: which of them attention may read; None: all.
        """
        norm = functools.partial(_layer_norm, self.epsilon, self.dtype)
        mixed = self._attention(norm("norm1")(tokens), attended)
        tokens = tokens + self._scaled("ls1", mixed)
        return tokens + self._scaled("ls2", self._mlp(norm("norm2")(tokens)))

    def _attention(self, tokens, attended):
        batch, length, width = tokens.shape
        qkv = self._dense(3 * width, "qkv")(tokens)
        qkv = qkv.reshape(batch, length, 3, self.heads, width // self.heads)
        mask = None if attended is None else attended[:, None, None, :]
        mixed = jax.nn.dot_product_attention(qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2], mask=mask)
        return self._dense(width, "proj")(mixed.reshape(batch, length, width))

    def _mlp(self, tokens):
        width = tokens.shape[-1]
        if self.swiglu:
            gate, value = jnp.split(self._dense(2 * self.mlp_width, "w12")(tokens), 2, axis=-1)
            return self._dense(width, "w3")(nn.silu(gate) * value)
        hidden = nn.gelu(self._dense(self.mlp_width, "fc1")(tokens), approximate=False)
        return self._dense(width, "fc2")(hidden)

    def _scaled(self, name, tokens):
        if not self.layer_scale:
            return tokens
        gamma = self.param(name, nn.initializers.ones, (tokens.shape[-1],))
        return tokens * gamma.astype(self.dtype)

    def _dense(self, features, name):
        return nn.Dense(features, dtype=self.dtype, kernel_init=_normal, name=name)


def _layer_norm(epsilon: float, dtype: DTypeLike, name: str) -> nn.LayerNorm:
    # The fast variance subtracts two large numbers, and loses digits that PyTorch keeps.
    return nn.LayerNorm(epsilon=epsilon, use_fast_variance=False, dtype=dtype, name=name)


def dino(
    size: str,
    patch_size: int = 14,
    registers: int = 0,
    dtype: DTypeLike = jnp.float32,
) -> DinoViT:
    """Builds one of the published architectures.

    Patches of 14 pixels mean DINOv2: LayerScale, positions learned at 518×518, SwiGLU in size
    g, and a different resampling of positions with registers. Other patches (16 or 8 pixels)
    mean DINO v1: positions learned at 224×224, and none of the above.

    Args:
      size: ti (192 channels, 12 blocks), S (384, 12), B (768, 12), L (1024, 24), g (1536, 40).
      patch_size: side of a patch in pixels.
      registers: register tokens; the published models have 4 or none.
      dtype: of the computation.

    Raises:
      UserError: an unknown size.
    """
    if size not in SIZES:
        raise UserError("dino.size", f"{size!r} is not one of {', '.join(SIZES)}")
    width, depth, heads = SIZES[size]
    second = patch_size == 14
    swiglu = second and size == "g"
    side = (518 if second else 224) // patch_size
    # The gated MLP has three matrices, so two thirds of the width cost the same; a multiple of 8.
    mlp_width = (int(4 * width * 2 / 3) + 7) // 8 * 8 if swiglu else 4 * width
    return DinoViT(
        width=width,
        depth=depth,
        heads=heads,
        mlp_width=mlp_width,
        patch_size=patch_size,
        grid=(side, side),
        registers=registers,
        swiglu=swiglu,
        layer_scale=second,
        antialias=registers > 0,
        offset=0.0 if registers else 0.1,
        dtype=dtype,
    )


def size_of(module: DinoViT) -> str:
    """Returns the name of a module's size in `SIZES`, or "" if it is not there."""
    shape = module.width, module.depth, module.heads
    return next((size for size, known in SIZES.items() if known == shape), "")


def preprocess(
    images: Float[Array, "b h w 3"], image_size: int, normalize: bool = True
) -> Float[Array, "b s s 3"]:
    """Resizes images to the square input of DINO, with PyTorch's antialiased bilinear filter.

    Args:
      images: in [0, 1], of any height and width; the aspect ratio is not kept.
      image_size: side of the square (s) in pixels.
      normalize: subtract ImageNet's mean and divide by its standard deviation, as DINO was
        trained. The published code of the inpainter does not.
    """
    images = resize(images, (image_size, image_size), "bilinear", antialias=True)
    if not normalize:
        return images
    return (images - np.array(IMAGENET_MEAN, np.float32)) / np.array(IMAGENET_STD, np.float32)
