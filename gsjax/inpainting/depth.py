"""How deep a pixel lies in a mask."""

import cv2
import numpy as np
from jaxtyping import Bool, Float


def depth_in(mask: Bool[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """Returns each pixel's distance to the nearest pixel outside a mask; outside it is 0.

    If the mask is everything, pixels are deeper than its height and width together allow.
    """
    if mask.all():  # OpenCV's answer is undefined
        return np.full(mask.shape, sum(mask.shape), np.float32)
    return cv2.distanceTransform(mask.view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
