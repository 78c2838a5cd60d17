"""Prepares a run: checks the config, loads data and weights, and writes nothing yet."""

from pathlib import Path
from typing import NamedTuple

import jax
from absl import logging
from jax.sharding import Mesh
from jaxtyping import PyTree
from ml_collections import ConfigDict

from gsjax import distributed, sharding
from gsjax.data.images import ImageSource
from gsjax.data.pipeline import Sources, validation_batches, warn_unreadable
from gsjax.models.build import Networks, build_networks
from gsjax.trained import checkpoints
from gsjax.trained.dino import complete_dino_config, load_dino
from gsjax.trained.initial import load_initial
from gsjax.trained.lpips import load_lpips
from gsjax.training.checks import check_config, check_resumed


class Prepared(NamedTuple):
    """What a run needs besides its state.

    Attributes:
      mesh: of all devices.
      networks: the modules.
      frozen: the variables of dino and lpips.
      sources: the images.
      validation_data: this process's batches.
      initial: networks to start from, if any.
    """

    mesh: Mesh
    networks: Networks
    frozen: PyTree
    sources: Sources
    validation_data: list[dict]
    initial: dict[str, PyTree]


def prepare(config: ConfigDict, workdir: Path) -> Prepared:
    """Checks the config and loads data and weights; nothing is written.

    Raises:
      UserError: as for `train`. If one process fails, all raise.
    """
    process = jax.process_index()
    has_checkpoint = checkpoints.latest_step(workdir / "checkpoints") is not None
    resumes = bool(distributed.max_over_processes(process == 0 and has_checkpoint))
    with distributed.shared_errors():
        complete_dino_config(config)
        sources = check_config(config, resumes)
        mesh = sharding.make_mesh(config.mesh.data, config.mesh.fsdp)
    # Process 0 downloads first: machines that share a cache cannot lock it for each other.
    for first in (True, False):
        with distributed.shared_errors():
            if first == (process == 0):
                dino, dino_variables = load_dino(config)
                lpips, lpips_variables = load_lpips(config.lpips)
    with distributed.shared_errors():
        networks = build_networks(config, dino, lpips)
        validation_data = load_validation_data(config, sources.validation)
        initial = {} if resumes else load_initial(config, networks)
        if resumes and process == 0:
            done = checkpoints.latest_step(workdir / "checkpoints")
            check_resumed(workdir, config, done or 0)
    if dino is not None and config.dino.weights == "random" and process == 0:
        logging.warning(
            "dino.weights is 'random': the run uses an UNTRAINED DINO %s; what it says means "
            "little. Give a file of weights for real training.",
            config.dino.size,
        )
    frozen = {"dino": dino_variables, "lpips": lpips_variables}
    frozen = {
        name: sharding.put(variables, sharding.of_frozen(variables, mesh))
        for name, variables in frozen.items()
    }
    return Prepared(mesh, networks, frozen, sources, validation_data, initial)


def load_validation_data(config: ConfigDict, source: ImageSource) -> list[dict]:
    """Returns this process's part of the validation batches; warns of unreadable images."""
    share = jax.process_index(), jax.process_count()
    batches = validation_batches(config, config.train.batch_size, *share, source)
    seen: set[int] = set()
    for batch in batches:
        warn_unreadable(batch, source, seen)
        del batch["unreadable"]
    return batches
