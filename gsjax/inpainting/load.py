"""Finding and reading a trained inpainter."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from jaxtyping import PyTree
from ml_collections import ConfigDict

from gsjax import checkpoints, packed, reader, record
from gsjax.convert.folder import read_dino
from gsjax.errors import UserError
from gsjax.inpainting.network import Network
from gsjax.models.inpainter import init_variables
from gsjax.semantic import load_dino
from gsjax.state import build_networks


def check_path(path: str | os.PathLike) -> Path:
    """Returns the folder that a path, or the name of weights that come with gsjax, means.

    Raises:
      UserError: there is no such folder.
    """
    name, folder = os.fspath(path), packed.find(path)
    if not folder.exists():
        raise UserError(
            f"checkpoint: there is no folder {name!r}; give a run's workdir, or "
            f"{packed.bundled_hint(name)}"
        )
    if not folder.is_dir():
        raise UserError(f"checkpoint: {name} is a file; give a run's workdir or a checkpoint in it")
    return folder


def read_generator(path: str | os.PathLike) -> tuple[ConfigDict, PyTree]:
    """Returns the config of a trained inpainter and its variables: what validated best of a run.

    Raises:
      UserError: there is no checkpoint, or no inpainter in it.
    """
    return _read(_read_generator, path)


def load_network(path: str | os.PathLike) -> Network:
    """Reads a trained inpainter, as `Inpainter.load` says.

    Raises:
      UserError: there is no checkpoint, or no inpainter in it.
    """
    return _read(_read_network, path)


def _read(read: Callable[[Path], Any], path: str | os.PathLike) -> Any:
    """Reads what validated best, if a whole run is given; errors name the flag."""
    folder = check_path(path)
    best = folder / "best"
    try:
        return read(best if checkpoints.latest_step(best) is not None else folder)
    except UserError as error:
        raise UserError(f"checkpoint: {error}") from None


def _read_generator(folder: Path) -> tuple[ConfigDict, PyTree]:
    if packed.is_packed(folder):
        return record.read_config(folder), packed.read_packed(folder)
    checkpoint = checkpoints.find_checkpoint(folder)
    workdir = checkpoints.workdir_of(checkpoint)
    config = record.read_config(workdir)
    try:
        found = reader.names_in(checkpoint)
        if "generator" not in found:
            raise UserError(f"{checkpoint} holds {', '.join(sorted(found))}, but no generator")
        return config, reader.restore_params(checkpoint, reader.generator_in(checkpoint))
    except OSError as error:
        raise UserError(f"{checkpoint} cannot be read: {error}") from error


def _read_network(folder: Path) -> Network:
    config, generator = _read_generator(folder)
    workdir = folder if packed.is_packed(folder) else checkpoints.workdir_of(folder)
    try:
        if not config.model.semantic:
            dino, dino_variables = None, {}
        elif not packed.is_packed(folder) and "dino" in reader.names_in(folder):
            dino, dino_variables = read_dino(workdir, "its DINO")
        else:
            dino, dino_variables = load_dino(config)
        networks = build_networks(record.completed(config), dino)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{workdir}/config.json does not describe an inpainter of this version: {error}"
        ) from error
    token = networks.dino.width if networks.dino else 0
    wanted = jax.eval_shape(lambda: init_variables(networks.generator, jax.random.key(0), token))
    checkpoints.check_same_shapes(
        str(folder), generator, wanted, "Its config.json must be that of the same run"
    )
    return Network(config, networks.generator, networks.dino, generator, dino_variables)
