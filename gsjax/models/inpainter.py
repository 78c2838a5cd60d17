"""The whole model: a masked image and its semantic token in, an image of Gaussians out."""

import dataclasses
import math
from typing import no_type_check

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from gsjax.kernels.rasterizer import rasterize
from gsjax.models import patches
from gsjax.models.borrow import Borrow
from gsjax.models.coarse_fill import push_pull
from gsjax.models.encoder import Encoder
from gsjax.models.folded import FoldedEncoder
from gsjax.models.gaussian_head import GaussianHead, Gaussians, anchors
from gsjax.models.mlp import Mlp
from gsjax.models.patch_conv import PatchConv


@no_type_check  # JAX builds it from anything: shapes, shardings, axes
@flax.struct.dataclass
class Inpainting:
    """What the model returns.

    Attributes:
      image: the drawing, not clamped to [0, 1].
      token: the masked image's token, mapped towards that of the clean image; None without a
        semantic branch.
      gaussians: the Gaussians of each patch, patches row by row, in pixels of patches that are
        padded by `drawn_overlap`.
    """

    image: Float[Array, "b h w 3"]
    token: Float[Array, "b d"] | None
    gaussians: Gaussians


class GaussianInpainter(nn.Module):
    """Inpaints by 2D Gaussian splatting (Li et al. 2025, arXiv 2509.01964).

    The attributes are the fields of `gsjax.config.networks.Model`. `dtype` is that of the
    encoder's computation; parameters, Gaussians and splatting are float32. With `recompute`, the
    backward pass rematerializes the residual blocks.
    """

    patch_size: int = 16
    overlap: int = 1
    gaussians: int = 324
    features: int = 12
    fold: int = 0
    width: int = 64
    max_width: int = 1024
    downs: int = 3
    blocks: int = 9
    skips: bool = True
    semantic: bool = True
    mask_channel: bool = False
    residual_colors: bool = False
    normalize_splats: bool = False
    backend: str = "auto"
    recompute: bool = False
    dtype: DTypeLike | None = None
    crossfade: int = 0
    normalize_images: bool = False
    borrow: bool = False

    @nn.compact
    def __call__(
        self,
        images: Float[Array, "b h w 3"],
        dino_token: Float[Array, "b d"] | None = None,
        known: Float[Array, "b h w 1"] | None = None,
    ) -> Inpainting:
        """Draws masked images.

        Args:
          images: in [0, 1], and 0 in the holes.
          dino_token: DINO's class token of these images; required by `semantic`.
          known: 1 where a pixel is known; required by `mask_channel` and `residual_colors`.
        """
        if known is None and (self.mask_channel or self.residual_colors):
            raise ValueError("mask_channel and residual_colors need `known`")
        if self.normalize_images and not self.residual_colors:
            raise ValueError("normalize_images needs residual_colors")
        if self.borrow and not self.residual_colors:
            raise ValueError("borrow needs residual_colors")
        if dino_token is None and self.semantic:
            raise ValueError("the semantic branch needs `dino_token`")
        height, width = images.shape[1:3]
        if height % self.patch_size or width % self.patch_size:
            raise ValueError(f"patches of {self.patch_size} px do not divide {height}×{width} px")
        token = self._align(dino_token) if self.semantic else None
        fill = None if known is None or not self.residual_colors else push_pull(images, known)
        seen = images if fill is None else fill
        contrast: Array | float = 1.0
        if self.normalize_images:
            seen, contrast = normalized(seen)
        cells, features = self._encode(seen, token, known)
        features = features.astype(jnp.promote_types(features.dtype, jnp.float32))
        if self.borrow:
            features, copied, share = self._borrow(cells, features, seen, known)
        head = GaussianHead(self.patch_size, self.overlap, self.backend, name="head")
        gaussians = head(features)
        if fill is not None:
            corrections = gaussians.colors
            if self.borrow:
                corrections += share * (copied - corrections)
            filled = patches.cut(fill, self.patch_size, self.overlap)
            colors = contrast * corrections + self._sample_at_anchors(filled)
            gaussians = dataclasses.replace(gaussians, colors=colors)
        gaussians = dataclasses.replace(
            gaussians, means=gaussians.means + (self.drawn_overlap - self.overlap)
        )
        return Inpainting(self.picture(gaussians, (height, width)), token, gaussians)

    @property
    def drawn_overlap(self) -> int:
        """Pixels by which patches are drawn over their neighbors: `crossfade`, else `overlap`."""
        return self.crossfade or self.overlap

    @nn.nowrap
    def make_encoder(self, name: str | None = None) -> Encoder | FoldedEncoder:
        """Returns the module that the fields describe."""
        if self.fold:
            return FoldedEncoder(
                self.features, self.fold, self.width, self.max_width, self.downs, self.blocks,
                self.recompute, self.dtype, name=name,
            )  # fmt: skip
        return Encoder(
            self.features, self.width, self.max_width, self.downs, self.blocks, self.skips,
            self.recompute, self.dtype, name=name,
        )  # fmt: skip

    @nn.nowrap
    def stride(self) -> int:
        """Returns the pixels that must divide an image's height and width."""
        return math.lcm(self.patch_size, self.make_encoder().stride())

    def picture(self, gaussians: Gaussians, size: tuple[int, int]) -> Float[Array, "b h w 3"]:
        """Draws all patches of an image, padded by `drawn_overlap` pixels, and joins them.

        Args:
          gaussians: patches row by row.
          size: (height, width) of the image.
        """
        grid = (size[0] // self.patch_size, size[1] // self.patch_size)
        extent = self.patch_size + 2 * self.drawn_overlap
        drawn = draw(gaussians, (extent, extent), self.normalize_splats, self.backend)
        join = patches.crossfade if self.crossfade else patches.blend
        return join(drawn, grid, self.drawn_overlap)

    def _align(self, token) -> Float[Array, "b d"]:
        """Maps the masked image's token towards that of the clean image."""
        dim = token.shape[-1]
        return Mlp((4 * dim, dim), self.dtype, name="alignment")(token)

    def _encode(self, images, token, known) -> tuple[Array, Float[Array, "b p n f"]]:
        """Returns the encoder's features and, by a strided convolution, those of each Gaussian."""
        seen = jnp.concatenate([images, known], -1) if self.mask_channel else images
        encoder = self.make_encoder("encoder")
        side = self.patch_size // max(self.fold, 1)
        to_patches = PatchConv(self.gaussians * self.features, side, self.dtype, name="to_patches")
        cells = encoder(seen, token)
        features = to_patches(cells)
        return cells, features.reshape(images.shape[0], -1, self.gaussians, self.features)

    def _borrow(self, cells, features, seen, known) -> tuple[Array, Array, Array]:
        """Returns features that see the borrowed detail, its colors, and its share.

        The colors are those of the borrowed detail at each Gaussian's anchor, as corrections of
        the fill; the share says how much of them replaces the Gaussian's own correction.
        """
        cell = max(self.fold, 1)
        borrow = Borrow(self.patch_size, self.overlap, cell, self.dtype, name="borrow")
        change = borrow(cells, seen, known).change
        zeros, little = nn.initializers.zeros, nn.initializers.constant(-2.0)
        width = self.gaussians * self.features
        to_features = nn.Dense(width, False, kernel_init=zeros, name="borrowed_features")
        added = to_features(change.reshape(*change.shape[:2], -1))
        features = features + added.reshape(features.shape)
        share = nn.sigmoid(nn.Dense(1, bias_init=little, name="borrowed_share")(features))
        # A patch without hole keeps its own colors.
        share = share * jnp.any(change != 0, (2, 3, 4))[..., None, None]
        return features, self._sample_at_anchors(change), share

    def _sample_at_anchors(self, cut: Float[Array, "b p s s c"]) -> Float[Array, "b p n c"]:
        """Samples padded patches bilinearly at the anchors of their Gaussians."""
        side, extent = round(self.gaussians**0.5), self.patch_size + 2 * self.overlap
        along = anchors(side, extent)[:side, 0]
        pixels = np.arange(extent)
        weights = np.maximum(0.0, 1.0 - np.abs(np.clip(along, 0, extent - 1)[:, None] - pixels))
        weights = jnp.asarray(weights, cut.dtype)
        sampled = jnp.einsum("bpyxc,iy,jx->bpijc", cut, weights, weights)
        return sampled.reshape(*cut.shape[:2], self.gaussians, cut.shape[-1])


# Mean and standard deviation of photographs in [0, 1].
_PHOTO_STATISTICS = (0.45, 0.25)


def normalized(
    images: Float[Array, "b h w 3"],
) -> tuple[Float[Array, "b h w 3"], Float[Array, "b 1 1 1"]]:
    """Gives each image the mean (per channel) and deviation (over all channels) of photographs.

    Returns:
      The images, and their deviation relative to that of photographs.
    """
    mean, deviation = _PHOTO_STATISTICS
    centered = images - images.mean((1, 2), keepdims=True)
    # The epsilon leaves an image of one color as it is, and keeps the root's gradient finite.
    contrast = jnp.sqrt(jnp.square(centered).mean((1, 2, 3), keepdims=True) + 1e-8) / deviation
    return centered / contrast + mean, contrast


def draw(
    gaussians: Gaussians, patch_shape: tuple[int, int], normalize: bool, backend: str = "auto"
) -> Float[Array, "*p h w c"]:
    """Splats Gaussians on their patches.

    With `normalize`, a pixel is the opacity-weighted mean of the colors instead of their sum:
    Σ α·color / Σ α, and 0 where hardly anything is drawn.
    """
    means, cholesky, colors = gaussians.means, gaussians.cholesky, gaussians.colors
    if not normalize:
        return rasterize(means, cholesky, colors, patch_shape, backend)
    colors = jnp.concatenate([colors, jnp.ones_like(colors[..., :1])], axis=-1)
    drawn = rasterize(means, cholesky, colors, patch_shape, backend)
    return drawn[..., :-1] / jnp.maximum(drawn[..., -1:], 1e-3)


def composite(
    image: Float[Array, "b h w c"],
    prediction: Float[Array, "b h w c"],
    known: Float[Array, "b h w 1"],
) -> Float[Array, "b h w c"]:
    """Returns the image with its holes filled by the prediction, clipped to [0, 1]."""
    return jnp.where(known > 0, image, jnp.clip(prediction, 0.0, 1.0))


def init_variables(model: GaussianInpainter, key: jax.Array, token_size: int):
    """Returns fresh parameters, initialized on the smallest image that the layers accept.

    Args:
      model: the inpainter.
      key: the random key.
      token_size: channels of DINO's token; 0 without a semantic branch.
    """
    stride = model.stride()
    size = -(-model.make_encoder().min_side() // stride) * stride
    image = jnp.zeros((1, size, size, 3))
    token = jnp.zeros((1, token_size)) if model.semantic else None
    return jax.jit(model.init)(key, image, token, jnp.ones_like(image[..., :1]))
