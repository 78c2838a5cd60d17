"""What the published PyTorch code computed, and the rule that made the weights it ran with."""

import json
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

FOLDER = Path(__file__).parent / "fixtures"
TOLERANCE = 2e-4  # absolute and relative


class Published(NamedTuple):
    """A network of the published code: how it was built, its weights, what it computed."""

    config: dict
    state_dict: dict[str, np.ndarray]
    arrays: dict[str, np.ndarray]


def load(name: str) -> Published:
    """Reads `fixtures/<name>.npz` and makes the weights it was computed with."""
    with np.load(FOLDER / f"{name}.npz") as archive:
        arrays = {key: archive[key] for key in archive.files}
    config = json.loads(str(arrays.pop("config")))
    shapes = json.loads(str(arrays.pop("state_dict_shapes")))
    return Published(config, {key: fill(key, tuple(shape)) for key, shape in shapes}, arrays)


def fill(key: str, shape: tuple[int, ...]) -> np.ndarray:
    """Returns the weights that a key has in all fixtures."""
    z = np.random.default_rng(zlib.crc32(key.encode())).standard_normal(shape).astype(np.float32)
    if z.ndim > 1:
        return z / np.sqrt(np.prod(shape[1:])).astype(np.float32)
    if key.endswith(("weight", "gamma")):
        return 1 + np.float32(0.1) * z
    return np.float32(0.1) * z


def nhwc(images: np.ndarray) -> np.ndarray:
    """PyTorch's order of image axes to ours."""
    return np.transpose(images, (0, 2, 3, 1))


def check(stage: str, ours, published: np.ndarray, tolerance: float = TOLERANCE) -> None:
    """Asserts that a stage is the published one, and prints how far it is from it."""
    ours = np.asarray(ours)
    assert ours.shape == published.shape, stage
    print(f"{stage}: largest difference {np.abs(ours - published).max():.1e}")
    np.testing.assert_allclose(ours, published, atol=tolerance, rtol=tolerance, err_msg=stage)
