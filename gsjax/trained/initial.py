"""The networks that a run starts from: `config.initial`."""

import jax
from absl import logging
from jaxtyping import PyTree
from ml_collections import ConfigDict

from gsjax.config import saved
from gsjax.config.groups import FIELDS
from gsjax.config.values import value_of
from gsjax.errors import UserError, at
from gsjax.models.build import Networks, init_networks
from gsjax.trained import checkpoints, packed, restore
from gsjax.trained.place import Place, bundled_hint, locate


def check_initial(config: ConfigDict) -> None:
    """Raises UserError if `config.initial` is not a checkpoint; does not read its arrays."""
    if config.initial:
        try:
            locate(config.initial, "last")
        except UserError as error:
            raise UserError(
                f"initial: {error.where}",
                error.what,
                f"{error.remedy}. `python -m gsjax.convert` makes one from PyTorch weights; or "
                f"give {bundled_hint(config.initial)}",
            ) from None


def load_initial(config: ConfigDict, networks: Networks) -> dict[str, PyTree]:
    """Returns the networks in the checkpoint of `config.initial`; empty if none is named.

    A converted or packed checkpoint has only the generator. A run's checkpoint also has the
    discriminator, and possibly a moving average of the generator, which then replaces it.

    Raises:
      UserError: there is no checkpoint, or it has another architecture.
    """
    if not config.initial:
        return {}
    check_initial(config)
    place = locate(config.initial, "last")
    wanted = _shapes(config, networks)
    with at("initial"):
        loaded = _read_initial(place)
        for name in loaded:
            checkpoints.check_same_shapes(
                config.initial,
                {name: loaded[name]},
                {name: wanted[name]},
                "set model, discriminator and dino to what they are in its config.json",
            )
        _warn_of_differences(config, place)
    logging.info("%s taken from %s", " and ".join(loaded), config.initial)
    return loaded


def _shapes(config: ConfigDict, networks: Networks) -> dict[str, PyTree]:
    """Returns the shapes of the variables of the networks of a run."""
    key = jax.random.key(0)
    size = config.data.image_size
    shapes = jax.eval_shape(lambda: init_networks(networks, size, (key, key)))
    return dict(zip(("generator", "discriminator"), shapes, strict=True))


def _read_initial(place: Place) -> dict[str, PyTree]:
    if place.packed:
        return {"generator": packed.read_packed(place.folder)}
    branches = {"generator": restore.generator_in(place.folder)}
    if "discriminator" in restore.names_in(place.folder):
        branches["discriminator"] = "discriminator"
    return {name: restore.restore_params(place.folder, branch) for name, branch in branches.items()}


def _warn_of_differences(config: ConfigDict, place: Place) -> None:
    """Warns of differences that shapes do not show: fields the checkpoint was trained with."""
    if not (place.workdir / saved.CONFIG).exists():
        return
    before = saved.read_config(place.workdir)
    groups = ("model.", "dino.") if config.model.semantic else ("model.",)
    for name in (name for name, field in FIELDS.items() if field.resume == "fixed"):
        trained, configured = value_of(before, name), value_of(config, name)
        if name.startswith(groups) and configured != trained:
            logging.warning(
                "initial: %s was trained with %s=%s; here it is %s",
                *(config.initial, name, trained, configured),
            )
