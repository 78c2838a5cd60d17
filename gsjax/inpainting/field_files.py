"""Reads and writes fields as .npz; docs/inpainting.md describes the format."""

import io
import json
import os
import zipfile
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8

from gsjax.errors import UserError
from gsjax.files import write_atomically
from gsjax.inpainting.geometry import Crop
from gsjax.inpainting.windows import Patches
from gsjax.models.gaussian_head import Gaussians

_FORMAT = 2
_CHANNELS = {"means": 2, "cholesky": 3, "colors": 3}  # of the arrays of Gaussians


def write(
    path: str | os.PathLike,
    image: UInt8[np.ndarray, "h w 3"],
    hole: Bool[np.ndarray, "h w"],
    size: tuple[int, int],
    patches: Patches,
    crops: list[Crop],
    gaussians: list[Gaussians],
    rim: float,
    copied: Bool[np.ndarray, "h w"] | None,
) -> None:
    """Writes a file atomically; all arguments but the path are those of `Field`.

    Raises:
      UserError: it cannot be written.
    """
    header = {
        "format": _FORMAT,
        "crop": size,
        "rim": rim,
        "grid": patches.grid,
        "patch": patches.size,
        "overlap": patches.overlap,
        "normalize": patches.normalize,
        "crossfade": patches.crossfade,
    }
    arrays: dict[str, Any] = {} if copied is None else {"copied": np.packbits(copied, axis=1)}
    arrays |= {
        "layout": np.frombuffer(json.dumps(header).encode(), np.uint8),
        "image": image,
        "hole": np.packbits(hole, axis=1),
        "crops": np.array(crops, np.int32).reshape(-1, 6),
        "counts": np.array([len(one.means) for one in gaussians], np.int32),
    }
    for name, channels in _CHANNELS.items():
        listed = [getattr(one, name) for one in gaussians]
        arrays[name] = np.concatenate(listed or [np.zeros((0, 0, channels), np.float32)])
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    try:
        write_atomically(path, content.getvalue())
    except OSError as error:
        raise UserError(path, f"cannot write: {error.strerror or error}") from error


def read(path: str | os.PathLike) -> dict[str, Any]:
    """Returns the arguments of `Field` by name, without running code from the file.

    Raises:
      UserError: the file does not exist or is not a field.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        header = json.loads(arrays["layout"].tobytes())
        if header["format"] != _FORMAT:
            raise UserError(path, f"it is in format {header['format']}, not {_FORMAT}")
        fields = _fields(arrays, header)
        fit = _fit(arrays, **fields)
    except FileNotFoundError:
        raise UserError(path, "it does not exist") from None
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(path, "this is not a field that Field.save has written") from error
    if not fit:
        raise UserError(path, "this is not a field: its arrays do not fit together")
    return fields


def _fields(arrays: dict[str, np.ndarray], header: dict) -> dict[str, Any]:
    """Returns the arguments of `Field`, not yet checked against each other."""
    _, width = arrays["image"].shape[:2]
    masks = {name: arrays[name] for name in ("hole", *arrays.keys() & {"copied"})}
    masks = {name: np.unpackbits(mask, axis=1)[:, :width] > 0 for name, mask in masks.items()}
    rows, columns = header["grid"]
    patches = Patches(
        (rows, columns), header["patch"], header["overlap"], header["normalize"],
        crossfade=bool(header.get("crossfade", False)),
    )  # fmt: skip
    ends = np.cumsum(arrays["counts"])
    parts = [np.split(arrays[name], ends[:-1]) if len(ends) else [] for name in _CHANNELS]
    return {
        "image": arrays["image"],
        "hole": masks["hole"],
        "size": tuple(header["crop"]),
        "patches": patches,
        "crops": [Crop(*map(int, row)) for row in arrays["crops"]],
        "gaussians": [Gaussians(*three) for three in zip(*parts, strict=True)],
        "rim": float(header.get("rim", 1.0)),
        "copied": masks.get("copied"),
    }


def _fit(
    arrays: dict[str, np.ndarray], image, hole, size, patches, crops, gaussians, rim, copied
) -> bool:
    """Returns whether the arguments of `Field`, read from these arrays, fit together."""
    counts, (_, per_patch, _) = arrays["counts"], arrays["means"].shape
    rows, columns = patches.grid
    # A crop has the patches of a full one, or those of a small one of its own size.
    grids = [
        (rows * columns, crop.height // patches.size * (crop.width // patches.size))
        for crop in crops
    ]
    shapes = [[getattr(one, name).shape for name in _CHANNELS] for one in gaussians]
    return (
        image.dtype == np.uint8
        and image.shape == (*image.shape[:2], 3)
        and hole.shape == image.shape[:2]
        and (copied is None or copied.shape == hole.shape)
        and len(crops) == len(gaussians) == len(counts)
        and 0 < rim <= 1
        and patches.crossfade <= patches.overlap <= patches.size / 2
        and all(own in grid for own, grid in zip(counts, grids, strict=True))
        and shapes
        == [[(own, per_patch, channels) for channels in _CHANNELS.values()] for own in counts]
    )
