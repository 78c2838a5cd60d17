"""PatchMatch: fills holes with pixels copied from the rest of a picture.

The randomized search of Barnes et al. (SIGGRAPH 2009) inside the completion of Wexler et al.
(PAMI 2007), by pypatchmatch. Its last step copies each pixel from one source, with its color
shifted by the difference of the means of the surrounding patches. So the source can be recovered,
and detail that an 8-bit or reduced picture lacks can be copied from there.
"""

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

PATCH = 3  # radius of the compared patches; pypatchmatch's choice for photographs
_SEED = 0
_SPACING = 4  # every fourth row and column is searched for; the rest follow from neighbors
_FREQUENCIES = ((0, 1), (1, 0), (1, 1), (0, 2), (2, 0), (1, 2), (2, 1), (0, 3), (3, 0))
_COMPARED = 2  # radius of the patches that decide between candidates


def unavailable_reason() -> str | None:
    """Returns why PatchMatch cannot run here, or None if it can."""
    try:
        import patchmatch
    except ImportError:
        return "pypatchmatch is not installed (pip install pypatchmatch)"
    if not patchmatch.patchmatch_available:
        return "pypatchmatch was installed without its compiled library"
    return None


def patchmatch(
    image: UInt8[np.ndarray, "h w 3"],
    hole: Bool[np.ndarray, "h w"],
    avoid: Bool[np.ndarray, "h w"] | None = None,
) -> UInt8[np.ndarray, "h w 3"]:
    """Fills a hole with PatchMatch alone; deterministic.

    Args:
      image: its values in the hole do not matter.
      hole: True where it should be filled.
      avoid: True where pixels must not be copied from.
    """
    import patchmatch as library

    library.set_random_seed(_SEED)
    others = None if avoid is None else avoid & ~hole
    if others is not None and not others.any():
        others = None
    return library.inpaint(image, hole, global_mask=others, patch_size=PATCH)


def find_sources(
    filled: UInt8[np.ndarray, "h w 3"],
    usable: Bool[np.ndarray, "h w"],
    wanted: Bool[np.ndarray, "h w"],
) -> Int[np.ndarray, " n"] | None:
    """Recovers the pixels that PatchMatch copied from.

    On a sparse grid, a source is the nearest neighbor in the low frequencies of the surrounding
    patch. Between these pixels, and where it fits better, the source of a neighbor is continued.

    Args:
      filled: the whole picture after filling.
      usable: True where pixels may have been copied from.
      wanted: True at the pixels whose sources are returned.

    Returns:
      Flat indices of the sources of the wanted pixels, row by row; None if there are none.
    """
    from scipy.spatial import cKDTree

    height, width = usable.shape
    margin = 3
    whole = cv2.erode(
        np.pad(usable.view(np.uint8), margin), np.ones((2 * margin + 1,) * 2, np.uint8)
    )[margin:-margin, margin:-margin].astype(bool)
    if not whole.any() or not wanted.any():
        return None
    features = _features(filled)
    targets = np.flatnonzero(wanted)
    rows, columns = np.divmod(targets, width)
    sparse = (rows % _SPACING == 0) & (columns % _SPACING == 0)
    if not sparse.any():
        sparse[:] = True
    sources = np.flatnonzero(whole)
    # Unbalanced and uncompacted: much faster to build, hardly slower to query.
    tree = cKDTree(features[whole], balanced_tree=False, compact_nodes=False)
    _, nearest = tree.query(features.reshape(-1, features.shape[-1])[targets[sparse]], eps=0.2)
    match = np.full(height * width, -1)
    match[targets[sparse]] = sources[nearest]
    _propagate(match, filled, whole, targets)
    return match[targets]


def _features(image: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w c"]:
    """Returns low frequencies, without the mean, of the 7×7 pixels around each pixel."""
    colors = image.astype(np.float32)
    planes = np.stack(
        [colors.mean(-1), colors[..., 0] - colors[..., 1], colors[..., 2] - colors[..., 1]]
    )
    side = np.arange(7) + 0.5
    waves = [np.cos(np.pi * k * side / 7).astype(np.float32) for k in range(4)]
    features = []
    for number, plane in enumerate(planes):
        for v, u in _FREQUENCIES if number == 0 else _FREQUENCIES[:2]:
            features.append(
                cv2.sepFilter2D(plane, -1, waves[u], waves[v], borderType=cv2.BORDER_REFLECT)
            )
    return np.stack(features, -1)


def _propagate(match, filled, whole, targets) -> None:
    """Replaces a pixel's source by the continuation of a neighbor's where that fits better."""
    height, width = whole.shape
    r = _COMPARED
    padded = np.pad(filled, ((r, r), (r, r), (0, 0)), "edge").astype(np.int16)
    stride = width + 2 * r
    flat = padded.reshape(-1, 3)
    around = (np.arange(-r, r + 1)[:, None] * stride + np.arange(-r, r + 1)).ravel()

    def patches(index):
        y, x = np.divmod(index, width)
        return flat[((y + r) * stride + x + r)[:, None] + around].astype(np.float32)

    own = patches(targets)
    own -= own.mean(1, keepdims=True)
    cost = np.full(len(targets), np.inf, np.float32)
    usable = whole.ravel()

    def offer(which, sources):
        other = patches(sources)
        other -= other.mean(1, keepdims=True)
        error = np.square(own[which] - other).sum((1, 2))
        better = error < cost[which]
        cost[which[better]] = error[better]
        match[targets[which[better]]] = sources[better]

    known = np.flatnonzero(match[targets] >= 0)
    offer(known, match[targets[known]])
    y, x = np.divmod(targets, width)
    for step in (4, 2, 1, 1, 4, 2, 1):
        for dy, dx in ((0, step), (0, -step), (step, 0), (-step, 0)):
            inside = (y - dy >= 0) & (y - dy < height) & (x - dx >= 0) & (x - dx < width)
            which = np.flatnonzero(inside)
            beside = match[targets[which] - dy * width - dx]
            which, beside = which[beside >= 0], beside[beside >= 0]
            sy, sx = np.divmod(beside, width)
            sy, sx = sy + dy, sx + dx
            ok = (sy >= 0) & (sy < height) & (sx >= 0) & (sx < width)
            which, source = which[ok], (sy * width + sx)[ok]
            ok = usable[source] & (source != match[targets[which]])
            offer(which[ok], source[ok])
