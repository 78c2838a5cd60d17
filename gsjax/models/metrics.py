"""How close an image is to the original: the table of all metrics, and PSNR, L1 and SSIM.

`METRICS`, at the end, has one entry per metric; validation, evaluation, the choice of the best
checkpoint and the plots follow from it. PSNR, L1 and SSIM give one number per image, so that
callers can average over any number of batches. `where` is 1 at the pixels that count (for the
hole, `1 - known`); if it is empty, the result is that of a perfect match.
"""

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gsjax.models.lpips import BACKBONES, lpips_name

MAX_PSNR = 100.0  # dB; the value for (nearly) equal images, instead of infinity

_RADIUS = 5  # of SSIM's window: 11 pixels
_SIGMA = 1.5
_C1 = 0.01**2
_C2 = 0.03**2


def psnr(
    prediction: Float[Array, "b h w c"],
    target: Float[Array, "b h w c"],
    where: Float[Array, "b h w 1"] | None = None,
) -> Float[Array, " b"]:
    """Returns the peak signal-to-noise ratio in dB, for values in [0, 1].

    The squared error is averaged over the pixels of `where` and all channels.
    At most `MAX_PSNR`, which is also the result for an empty `where`.
    """
    error = _masked_mean(jnp.square(prediction - target), where)
    return -10 * jnp.log10(jnp.maximum(error, 10 ** (-MAX_PSNR / 10)))


def l1(
    prediction: Float[Array, "b h w c"],
    target: Float[Array, "b h w c"],
    where: Float[Array, "b h w 1"] | None = None,
) -> Float[Array, " b"]:
    """Returns the mean absolute error over `where` and the channels; 0 for an empty `where`."""
    return _masked_mean(jnp.abs(prediction - target), where)


def ssim(
    prediction: Float[Array, "b h w c"],
    target: Float[Array, "b h w c"],
    where: Float[Array, "b h w 1"] | None = None,
) -> Float[Array, " b"]:
    """Returns the mean of `ssim_map`.

    Over `where`, if given, borders included; 1 if it is empty. Otherwise over the
    pixels whose window lies inside the image, as scikit-image does.

    Raises:
      ValueError: without `where`, if no window fits into the image.
    """
    similarity = ssim_map(prediction, target)
    if where is not None:
        return 1 - _masked_mean(1 - similarity, where)
    inside = similarity[:, _RADIUS:-_RADIUS, _RADIUS:-_RADIUS]
    if inside.size == 0:
        height, width = prediction.shape[1:3]
        size = 2 * _RADIUS + 1
        raise ValueError(f"SSIM needs at least {size} pixels a side, not {height} by {width}")
    return jnp.mean(inside, axis=(1, 2, 3))


def ssim_map(
    prediction: Float[Array, "b h w c"], target: Float[Array, "b h w c"]
) -> Float[Array, "b h w c"]:
    """Returns the structural similarity at every pixel, for values in [0, 1].

    Wang et al. (2004): a Gaussian window of 11 pixels with a standard deviation of 1.5, K1 = 0.01,
    K2 = 0.03. Images are mirrored at their border.
    """
    mean_x, mean_y, var_x, var_y, covariance = _local_moments(prediction, target)
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
    return luminance * (2 * covariance + _C2) / (var_x + var_y + _C2)


def mean_fill(
    image: Float[Array, "b h w c"], known: Float[Array, "b h w 1"]
) -> Float[Array, "b h w c"]:
    """Returns the image with its unknown pixels set to the mean color of its known ones.

    The simplest baseline for inpainting. Middle gray if nothing is known.
    """
    count = jnp.sum(known, axis=(1, 2), keepdims=True)
    total = jnp.sum(image * known, axis=(1, 2), keepdims=True)
    mean = jnp.where(count > 0, total / jnp.maximum(count, 1), 0.5)
    return image * known + mean * (1 - known)


def _masked_mean(values, where):
    if where is None:
        return jnp.mean(values, axis=(1, 2, 3))
    count = jnp.sum(where, axis=(1, 2, 3)) * values.shape[-1]
    # The selection keeps NaN outside of the mask out of the sum.
    return jnp.sum(jnp.where(where > 0, values * where, 0), axis=(1, 2, 3)) / jnp.maximum(count, 1)


def _local_moments(x, y):
    """Returns the window's means, variances and covariance at every pixel.

    In float32, E[x²] - E[x]² loses the precision that SSIM needs in bright, flat places
    (variances are compared with 9e-4). Summing squared distances from the mean does not, and is
    still separable: the variance in the window is the mean of the variances within its rows, plus
    the variance of the rows' means.
    """
    taps = np.exp(-0.5 * (np.arange(-_RADIUS, _RADIUS + 1) / _SIGMA) ** 2)
    taps = (taps / taps.sum()).astype(np.float32)

    def windows(values, axis):
        pad = [(_RADIUS, _RADIUS) if i == axis else (0, 0) for i in range(4)]
        padded = jnp.pad(values, pad, mode="symmetric")
        size = values.shape[axis]
        cut = [slice(None)] * 4
        for start, tap in enumerate(taps):
            cut[axis] = slice(start, start + size)
            yield tap, padded[tuple(cut)]

    def mean(values, axis):
        return sum(tap * shifted for tap, shifted in windows(values, axis))

    def products(a, b, mean_a, mean_b, axis):
        pairs = zip(windows(a, axis), windows(b, axis), strict=True)
        return sum(tap * (u - mean_a) * (v - mean_b) for (tap, u), (_, v) in pairs)

    row_x, row_y = mean(x, 2), mean(y, 2)
    mean_x, mean_y = mean(row_x, 1), mean(row_y, 1)

    def covariance(a, b, row_a, row_b, mean_a, mean_b):
        within = mean(products(a, b, row_a, row_b, 2), 1)
        return within + products(row_a, row_b, mean_a, mean_b, 1)

    return (
        mean_x,
        mean_y,
        covariance(x, x, row_x, row_x, mean_x, mean_x),
        covariance(y, y, row_y, row_y, mean_y, mean_y),
        covariance(x, y, row_x, row_y, mean_x, mean_y),
    )


class Metric(NamedTuple):
    """An entry of `METRICS`.

    Attributes:
      name: its name in `metrics.jsonl` after `val/`, in CSV files and summaries.
      title: its name in tables, with the unit of the values there if it is not `unit`.
      better: which values are better.
      function: of (filled, original, where) as above; None if it needs a network.
      hole: whether only the pixels of the hole count.
      needs: the network that it needs: lpips | inception | dino | branch, the semantic one; empty
        for none.
      unit: of its values, for the axes of plots.
      scale: what its values are multiplied by in tables.
      decimals: that tables show.
      banded: validation also gives its mean over each band of hole sizes.
      plotted: `gsjax.plot` draws it without being asked for it.
    """

    name: str
    title: str
    better: Literal["higher", "lower"]
    function: Callable[..., Float[Array, " b"]] | None = None
    hole: bool = False
    needs: Literal["", "lpips", "inception", "dino", "branch"] = ""
    unit: str = ""
    scale: float = 1.0
    decimals: int = 3
    banded: bool = False
    plotted: bool = False

    @property
    def arrow(self) -> str:
        """Points to where the better values are."""
        return "↑" if self.better == "higher" else "↓"


def _lpips(backbone: str) -> Metric:
    name, title = lpips_name(backbone), f"LPIPS ({backbone})"
    return Metric(name, title, "lower", needs="lpips", banded=True, plotted=True)


# In the order of the columns of a table.
_ENTRIES = (
    Metric("psnr", "PSNR", "higher", psnr, unit="dB", decimals=2),
    Metric("ssim", "SSIM", "higher", ssim, banded=True),
    Metric("l1", "L1 %", "lower", l1, scale=100, decimals=2, banded=True),
    *map(_lpips, BACKBONES),
    Metric("fid", "FID", "lower", needs="inception", decimals=2),
    Metric("dino_class", "DINO class", "lower", needs="dino", banded=True),
    Metric("dino_patches", "DINO patches", "lower", needs="dino", banded=True),
    Metric("token_raw", "raw token", "higher", needs="branch", banded=True),
    Metric("token_mapped", "mapped token", "higher", needs="branch", banded=True),
    Metric("fd_dino", "FD on DINO", "lower", needs="dino", decimals=2),
    Metric(
        "psnr_hole",
        "hole PSNR",
        "higher",
        psnr,
        hole=True,
        unit="dB",
        decimals=2,
        banded=True,
        plotted=True,
    ),
    Metric("ssim_hole", "hole SSIM", "higher", ssim, hole=True, plotted=True),
    Metric("l1_hole", "hole L1 %", "lower", l1, hole=True, scale=100, decimals=2, plotted=True),
)
METRICS: Mapping[str, Metric] = {metric.name: metric for metric in _ENTRIES}
# Those of a validation during training, and what `checkpoint.best` may name: LPIPS is logged
# under its backbone's name, and a run has one of them.
VALIDATED = tuple(m for m in _ENTRIES if m.function is not None or m.needs == "lpips" or m.banded)
BEST = tuple(dict.fromkeys(m.needs or m.name for m in VALIDATED if m.needs in ("", "lpips")))


def measure(
    filled: Float[Array, "b h w c"],
    original: Float[Array, "b h w c"],
    hole: Float[Array, "b h w 1"],
    distances: Mapping[str, Callable],
) -> dict[str, Float[Array, " b"]]:
    """Returns, by name, all metrics with a function and those of `distances`.

    Args:
      filled: images in [0, 1] whose holes are filled.
      original: the same ones before.
      hole: 1 in the hole.
      distances: by a metric's name, functions of (filled, original) with a network in them.
    """
    values = {
        name: metric.function(filled, original, hole if metric.hole else None)
        for name, metric in METRICS.items()
        if metric.function is not None
    }
    return values | {name: distance(filled, original) for name, distance in distances.items()}
