"""Finds and reads a trained inpainter."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jaxtyping import PyTree
from ml_collections import ConfigDict

from gsjax.config import default, saved
from gsjax.config.values import check_types, check_values
from gsjax.errors import UserError, at, first_line, shown
from gsjax.models import limits
from gsjax.models.build import build_networks
from gsjax.models.dino import DinoViT
from gsjax.models.inpainter import GaussianInpainter, init_variables
from gsjax.trained import checkpoints, packed, restore
from gsjax.trained.dino import describe_networks, load_dino
from gsjax.trained.place import Place, check_path, locate


class Trained(NamedTuple):
    """A trained inpainter.

    Attributes:
      config: of its run.
      module: the generator, without parameters.
      dino: the module of the semantic branch, or None.
      variables: of `module`.
      dino_variables: of `dino`.
    """

    config: ConfigDict
    module: GaussianInpainter
    dino: DinoViT | None
    variables: PyTree
    dino_variables: PyTree


def read_generator(path: str | os.PathLike) -> tuple[ConfigDict, PyTree]:
    """Returns the config and variables of a trained inpainter; of a run, the best generator.

    Raises:
      UserError: there is no checkpoint, or no inpainter in it.
    """
    return _read(_read_checked, path)


def load_trained(path: str | os.PathLike) -> Trained:
    """Reads a trained inpainter; see `Inpainter.load`.

    Raises:
      UserError: there is no checkpoint, or no inpainter in it.
    """

    def read(place: Place) -> Trained:
        config, generator = _read_checked(place)
        # After the checks, since the weights of a DINO may be large.
        dino, dino_variables = load_dino(config, training=False)
        networks = build_networks(config, dino)
        return Trained(config, networks.generator, networks.dino, generator, dino_variables)

    return _read(read, path)


def _read(read: Callable[[Place], Any], path: str | os.PathLike) -> Any:
    """Calls `read` with the place of the best generator; errors name the flag."""
    check_path(path)
    try:
        return read(locate(path, "best"))
    except UserError as error:
        raise UserError("checkpoint", " ".join(str(error).splitlines())) from None


def _read_generator(place: Place) -> tuple[ConfigDict, PyTree]:
    if place.packed:
        return _read_config(place.workdir), packed.read_packed(place.folder)
    has_dino = "dino" in restore.names_in(place.folder)
    config = _read_config(place.workdir, has_dino)
    return config, restore.restore_params(place.folder, restore.generator_in(place.folder))


def _read_config(folder: str | os.PathLike, has_dino: bool = False) -> ConfigDict:
    """Reads a config, and checks what decides what the networks are."""
    config = saved.read_config(folder)
    if has_dino:  # the DINO is in this folder, even if it was moved after the conversion
        config.dino.weights = os.fspath(folder)
    try:
        if unknown := sorted({*config.model} - {*default().model}):
            raise UserError(
                f"model.{shown(unknown[0])}", "this version of gsjax does not have such a field"
            )
        check_types(config.to_dict())
        check_values(config)
        networks = describe_networks(config, training=False)
        limits.check_networks(networks, config.data.image_size, config.dino.image_size)
    except UserError as error:
        raise UserError(Path(folder) / saved.CONFIG, shown(error, 300)) from None
    return config


def _read_checked(place: Place) -> tuple[ConfigDict, PyTree]:
    """Returns a config and the variables of the generator that it describes."""
    config, generator = _read_generator(place)
    config_file = place.workdir / saved.CONFIG
    with at(config_file):
        _check_sizes(config, generator)
    try:
        networks = describe_networks(config, training=False)
        token = networks.dino.width if networks.dino else 0
        wanted = jax.eval_shape(
            lambda: init_variables(networks.generator, jax.random.key(0), token)
        )
    except (TypeError, ValueError) as error:
        raise UserError(
            config_file, f"it does not describe an inpainter of this version: {first_line(error)}"
        ) from error
    checkpoints.check_same_shapes(
        str(place.folder), generator, wanted, "its config.json must be that of the same run"
    )
    return config, generator


def _check_sizes(config: ConfigDict, generator: PyTree) -> None:
    """Raises UserError if sizes contradict the arrays; building such a model could take forever."""
    shapes = [array.shape for array in jax.tree.leaves(generator)]
    largest = max((side for shape in shapes for side in shape), default=0)
    for fields, bound, reason in (
        (("blocks", "downs"), len(shapes), f"it has {len(shapes)} arrays"),
        (("width", "gaussians", "features"), largest, f"its arrays have up to {largest} a side"),
    ):
        for field in fields:
            if config.model[field] > bound:
                raise UserError("", f"model.{field} is {config.model[field]}, but {reason}")
