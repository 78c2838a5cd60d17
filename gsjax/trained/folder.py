"""Converted networks on disk: a folder that is read like a run's workdir.

It holds a checkpoint at step 0 and, with an inpainter, the `config.json` that describes it;
with a DINO, `dino.json`, the fields of `DinoViT` that no config names.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from gsjax.errors import UserError, check_whole
from gsjax.files import new_folder, read_json, write_atomically
from gsjax.models.dino import DinoViT
from gsjax.trained import checkpoints, restore
from gsjax.training import record

_DINO = "dino.json"


def write(
    folder: str | Path,
    networks: Mapping[str, Any],
    config: ConfigDict | None = None,
    dino: DinoViT | None = None,
) -> None:
    """Writes the folder, all of it or nothing.

    Args:
      folder: where to; must not exist, or be empty.
      networks: the variables of each by its name: generator, dino, lpips.
      config: of the generator, if there is one.
      dino: the module of the dino, if there is one.

    Raises:
      UserError: the folder exists or cannot be written.
    """
    with new_folder(folder) as unfinished:
        checkpoints.save_alone(unfinished / "checkpoints", dict(networks))
        if config is not None:
            write_atomically(unfinished / record.CONFIG, record.encode_config(config))
        if dino is not None:
            fields = dataclasses.asdict(dino)
            fields = {key: fields[key] for key in fields if key not in ("dtype", "parent", "name")}
            write_atomically(unfinished / _DINO, json.dumps(fields, indent=2).encode() + b"\n")


def read_dino(folder: str | Path, field: str) -> tuple[DinoViT, dict]:
    """Reads the module, as `read_module`, and the variables of the DINO in a converted folder."""
    module = read_module(folder, field)
    variables = restore.restore_params(folder, "dino")
    depth, arrays = module.depth, len(jax.tree.leaves(variables))
    if depth > arrays:
        raise UserError(f"{field}: {folder}/{_DINO}: depth is {depth}, but it has {arrays} arrays")
    wanted = jax.eval_shape(
        lambda: module.init(jax.random.key(0), jnp.zeros((1, *module.learned_size, 3)))
    )
    checkpoints.check_same_shapes(
        f"{field}: {folder}", variables, wanted, f"Its {_DINO} must be the one written with it"
    )
    return module, variables


def read_module(folder: str | Path, field: str) -> DinoViT:
    """Reads which DINO is in a converted folder.

    Args:
      folder: which `write` has written.
      field: the flag or config field that named it, for errors.

    Raises:
      UserError: there is none in it, or it cannot be.
    """
    path = Path(folder) / _DINO
    try:
        fields = read_json(path)
        module = DinoViT(**fields | {"grid": tuple(fields["grid"])})
    except (OSError, ValueError, TypeError, KeyError):
        raise UserError(
            f"{field}: {folder} holds no DINO; expected what `python -m gsjax.convert` has "
            "written from a DINO, or from an inpainter with one inside"
        ) from None
    _check_module(module, f"{field}: {path}")
    return module


# Of what is counted, the least and the most.
_RANGES = {
    "width": (1, 2**14),
    "depth": (1, 256),
    "heads": (1, 2**10),
    "mlp_width": (1, 2**16),
    "patch_size": (1, 64),
    "registers": (0, 64),
}
_MOST_PATCHES = 2**10  # a side of the grid


def _check_module(module: DinoViT, named: str) -> None:
    for name, (least, most) in _RANGES.items():
        value = getattr(module, name)
        check_whole(value, least, f"{named}: {name}")
        if value > most:
            raise UserError(f"{named}: {name} is {value}; it must be at most {most}")
    for side in module.grid:
        check_whole(side, 1, f"{named}: grid")
    if len(module.grid) != 2 or max(module.grid) > _MOST_PATCHES:
        raise UserError(f"{named}: grid must be two numbers of at most {_MOST_PATCHES}")
    if module.width % module.heads:
        raise UserError(f"{named}: heads is {module.heads}; it must divide width, {module.width}")
    for name in ("swiglu", "layer_scale", "antialias"):
        if not isinstance(getattr(module, name), bool):
            raise UserError(f"{named}: {name} must be true or false")
    for name in ("offset", "epsilon"):
        value = getattr(module, name)
        if not isinstance(value, float | int) or not 0 <= value <= 1:
            raise UserError(f"{named}: {name} must be a number from 0 to 1")
