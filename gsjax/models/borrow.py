"""Patches in the hole borrow from known patches: attention whose values are pixels.

As in contextual attention (Yu et al. 2018, arXiv 1801.07892), a patch in the hole attends to known
patches that resemble it. The values are their detail, which a smooth fill lacks. Attention with a
sharp peak therefore copies texture as sharp as in the photograph.
"""

from typing import no_type_check

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from gsjax.models import patches
from gsjax.models.patch_conv import fold

CHANNELS = 64  # of queries and keys
_TEMPERATURE = 16.0  # initial factor of the cosine similarities
_SMOOTH = 5  # side of the smoothing window, in half patches


@no_type_check  # JAX builds it from anything: shapes, shardings, axes
@flax.struct.dataclass
class Borrowed:
    """What patches borrow.

    Attributes:
      change: what the copies would add to the padded patches of the fill; 0 if a patch has no
        hole, or the image has no source.
      weights: attention of each patch to each source; sums to 1, or is 0 if there is no source.
    """

    change: Float[Array, "b p s s c"]
    weights: Float[Array, "b p q"]


class Borrow(nn.Module):
    """Attention from patches to windows of their size, at a stride of half a patch.

    Queries and keys come from the encoder's cells and the pixels below them; the values are
    pixels. Only windows without unknown pixels are sources.

    Attributes:
      patch_size: side p of a patch in pixels.
      overlap: pixels by which a patch draws over its neighbors; s = p + 2·overlap.
      cell: side of the encoder's cells in pixels; 2·cell divides the patch size.
      dtype: of the computation of queries and keys; parameters are float32.
    """

    patch_size: int
    overlap: int
    cell: int
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(
        self,
        cells: Float[Array, "b y x f"],
        fill: Float[Array, "b y*{self.cell} x*{self.cell} c"],
        known: Float[Array, "b y*{self.cell} x*{self.cell} 1"],
    ) -> Borrowed:
        """Borrows for all patches of an image whose holes are filled smoothly."""
        size, half = self.patch_size, self.patch_size // 2
        pixels = fold(jnp.concatenate([fill, known], -1), half)
        cells = fold(cells, half // self.cell)
        windows = _windows(jnp.concatenate([cells, pixels.astype(cells.dtype)], -1))
        rows, columns = windows.shape[1:3]
        queries = self._embed(windows[:, ::2, ::2], "queries")
        keys = self._embed(windows, "keys")
        cut = patches.cut(known, size, self.overlap, half)
        sources = cut.min((2, 3, 4)) == 1
        temperature = self.param("temperature", nn.initializers.constant(_TEMPERATURE), (1,))
        weights = attend(queries, keys, sources, temperature)

        smooth = _smooth(fill, half)
        detail = patches.cut(fill - smooth, size, self.overlap, half)
        copied = jnp.einsum("bpq,bqyxc->bpyxc", weights, detail)
        # A patch keeps its own smooth part, since the source may be darker or brighter.
        own = detail.reshape(-1, rows, columns, *detail.shape[2:])[:, ::2, ::2]
        own = own.reshape(copied.shape)
        has_hole = patches.cut(known, size, self.overlap).min((2, 3, 4)) < 1
        borrows = has_hole & sources.any(1, keepdims=True)
        return Borrowed(jnp.where(borrows[..., None, None, None], copied - own, 0), weights)

    def _embed(self, windows, name: str) -> Float[Array, "b n d"]:
        """Returns unit vectors of windows, in float32."""
        x = nn.Dense(2 * CHANNELS, dtype=self.dtype, name=f"{name}_in")(windows)
        x = nn.Dense(CHANNELS, dtype=self.dtype, name=f"{name}_out")(nn.gelu(x))
        x = x.reshape(x.shape[0], -1, CHANNELS).astype(jnp.promote_types(x.dtype, jnp.float32))
        return x / jnp.sqrt(jnp.square(x).sum(-1, keepdims=True) + 1e-8)


def attend(
    queries: Float[Array, "b p d"],
    keys: Float[Array, "b q d"],
    sources: Bool[Array, "b q"],
    temperature: Float[Array, "1"] | float,
) -> Float[Array, "b p q"]:
    """Returns attention weights: a softmax over the keys that are sources, 0 for the others."""
    logits = temperature * jnp.einsum("bpd,bqd->bpq", queries, keys)
    # Not −∞: without any source, its softmax would be NaN.
    logits = jnp.where(sources[:, None], logits, jnp.finfo(logits.dtype).min)
    return jax.nn.softmax(logits, axis=-1) * sources[:, None]


def _windows(halves: Float[Array, "b m n c"]) -> Float[Array, "b m-1 n-1 4*c"]:
    """Joins each 2×2 half patches into a window the size of a patch."""
    above = jnp.concatenate([halves[:, :-1, :-1], halves[:, :-1, 1:]], -1)
    below = jnp.concatenate([halves[:, 1:, :-1], halves[:, 1:, 1:]], -1)
    return jnp.concatenate([above, below], -1)


def _smooth(image: Float[Array, "b h w c"], half: int) -> Float[Array, "b h w c"]:
    """Returns an image without detail: means over half patches, averaged over neighborhoods."""
    means = nn.avg_pool(image, (half, half), (half, half))
    wide = (_SMOOTH, _SMOOTH)
    means = nn.avg_pool(means, wide, padding="SAME", count_include_pad=False)
    return jax.image.resize(means, image.shape, "linear")
