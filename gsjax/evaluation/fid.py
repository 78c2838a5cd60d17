"""FID, the Fréchet distance between the Inception features of two sets of images.

With means μ and covariances Σ: |μ₁ − μ₂|² + tr Σ₁ + tr Σ₂ − 2 tr (Σ₁ Σ₂)^½.
"""

import hashlib
import io
from collections.abc import Callable, Iterable

import jax
import numpy as np
from absl import logging
from jaxtyping import Array, Float, PyTree, UInt8

from gsjax.fetch import cache_folder
from gsjax.files import write_atomically
from gsjax.models.inception import FEATURES

Extract = Callable[[UInt8[Array | np.ndarray, "b h w 3"]], Float[Array, "b 2048"]]
_BATCH = 8


def frechet_distance(one: Float[np.ndarray, "n d"], other: Float[np.ndarray, "m d"]) -> float:
    """Returns the Fréchet distance between two sets of features, in float64.

    Each covariance is FᵀF for a factor F, and tr (Σ₁ Σ₂)^½ is the sum of the singular values of
    F₁ F₂ᵀ. This is exact even with fewer images than features, unlike the square root of the
    product of the covariances.

    Raises:
      ValueError: a set has fewer than two features.
    """
    (mean, factor), (other_mean, other_factor) = _moments(one), _moments(other)
    shared = np.linalg.svd(factor @ other_factor.T, compute_uv=False).sum()
    spread = np.square(factor).sum() + np.square(other_factor).sum()
    # Rounding may make the distance of equal sets negative.
    return max(0.0, float(np.square(mean - other_mean).sum() + spread - 2 * shared))


def _moments(features):
    """Returns the mean and a factor of the covariance, [k, d] with k ≤ d."""
    if len(features) < 2:
        raise ValueError(f"a covariance needs two images, not {len(features)}")
    features = np.asarray(features, np.float64)
    mean = features.mean(0)
    factor = (features - mean) / np.sqrt(len(features) - 1)
    if len(factor) > factor.shape[1]:
        factor = np.linalg.qr(factor, mode="r")
    return mean, factor


def cached_features(
    extract: Extract, weights: PyTree, digest: str, images: Iterable[UInt8[np.ndarray, "h w 3"]]
) -> Float[np.ndarray, "n 2048"]:
    """Returns the features of images, from the cache if possible.

    Args:
      extract: maps a batch of images to features.
      weights: of the network; part of the cache key.
      digest: a hash of all images; the other part of the key.
      images: read only if their features are not in the cache.
    """
    key = hashlib.sha256(digest.encode())
    for leaf in jax.tree.leaves(jax.device_get(weights)):
        key.update(np.ascontiguousarray(leaf).data)
    path = cache_folder() / "features" / f"{key.hexdigest()[:32]}.npy"
    try:
        features = np.load(path, allow_pickle=False)
        if features.ndim == 2 and features.shape[1] == FEATURES:
            return features
    except (OSError, ValueError, EOFError):  # missing or damaged
        pass
    features = extract_all(extract, images)
    try:
        content = io.BytesIO()
        np.save(content, features)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content.getvalue())
    except OSError as error:
        logging.warning("features are not kept in %s: %s", path.parent, error.strerror)
    return features


def extract_all(
    extract: Callable, images: Iterable[UInt8[np.ndarray, "h w 3"]]
) -> Float[np.ndarray, "n d"]:
    """Returns the features of images of one size, in batches of 8; the last one is padded."""
    features: list[np.ndarray] = []
    batch: list[np.ndarray] = []

    def flush():
        filler = [batch[-1]] * (_BATCH - len(batch))
        features.append(np.asarray(extract(np.stack(batch + filler)))[: len(batch)])
        batch.clear()

    for image in images:
        batch.append(image)
        if len(batch) == _BATCH:
            flush()
    if batch:
        flush()
    return np.concatenate(features)
