"""Finding and reading a trained inpainter."""

import os
from pathlib import Path

import jax

from gsjax import checkpoints, record
from gsjax.convert.folder import read_dino
from gsjax.errors import UserError
from gsjax.inpainting.network import Network
from gsjax.models.inpainter import init_variables
from gsjax.semantic import load_dino
from gsjax.state import build_networks

# Weights that come with the package, by name: the folder of each, beside this file.
BUNDLED: dict[str, str] = {}


def check_path(path: str | os.PathLike) -> Path:
    """Returns the folder that a path, or the name of weights that come with gsjax, means.

    Raises:
      UserError: there is no such folder.
    """
    name = os.fspath(path)
    bundled = BUNDLED.get(name)
    folder = Path(__file__).parent / bundled if bundled else Path(name).expanduser()
    if not folder.exists():
        known = f", or one of the weights {', '.join(BUNDLED)}" if BUNDLED else ""
        raise UserError(f"checkpoint: there is no folder {name!r}; give a run's workdir{known}")
    if not folder.is_dir():
        raise UserError(f"checkpoint: {name} is a file; give a run's workdir or a checkpoint in it")
    return folder


def load_network(path: str | os.PathLike) -> Network:
    """Reads a trained inpainter, as `Inpainter.load` says.

    Raises:
      UserError: there is no checkpoint, or no inpainter in it.
    """
    folder = check_path(path)
    # What validated best, if a whole run is given.
    best = folder / "best"
    checkpoint = best if checkpoints.latest_step(best) is not None else folder
    try:
        return _read(checkpoint)
    except UserError as error:
        raise UserError(f"checkpoint: {error}") from None


def _read(folder: Path) -> Network:
    checkpoint = checkpoints.find_checkpoint(folder)
    workdir = checkpoints.workdir_of(checkpoint)
    config = record.read_config(workdir)
    try:
        found = checkpoints.names_in(checkpoint)
        if "generator" not in found:
            raise UserError(f"{checkpoint} holds {', '.join(sorted(found))}, but no generator")
        if not config.model.semantic:
            dino, dino_variables = None, {}
        elif "dino" in found:
            dino, dino_variables = read_dino(workdir, "its DINO")
        else:
            dino, dino_variables = load_dino(config)
        networks = build_networks(config, dino)
        generator = checkpoints.restore_params(checkpoint, checkpoints.generator_in(checkpoint))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{workdir}/config.json does not describe an inpainter of this version: {error}"
        ) from error
    except OSError as error:
        raise UserError(f"{checkpoint} cannot be read: {error}") from error
    token = networks.dino.width if networks.dino else 0
    wanted = jax.eval_shape(lambda: init_variables(networks.generator, jax.random.key(0), token))
    checkpoints.check_same_shapes(
        str(checkpoint), generator, wanted, "Its config.json must be that of the same run"
    )
    return Network(config, networks.generator, networks.dino, generator, dino_variables)
