"""Converted networks on disk: a folder that can be used like a run's workdir.

It has a checkpoint at step 0. An inpainter also has the `config.json` that describes it; a DINO has
`dino.json` with the fields of `DinoViT`, not all of which are in a config.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from gsjax.config import saved
from gsjax.files import new_folder, write_atomically
from gsjax.models.dino import DinoViT
from gsjax.trained import checkpoints

DINO = "dino.json"


def write(
    folder: str | Path,
    networks: Mapping[str, Any],
    config: ConfigDict | None = None,
    dino: DinoViT | None = None,
) -> None:
    """Writes the folder atomically.

    Args:
      folder: must not exist, or be empty.
      networks: variables by the name of the network: generator, dino, lpips.
      config: of the generator, if there is one.
      dino: the DINO's module, if there is one.

    Raises:
      UserError: the folder exists or cannot be written.
    """
    with new_folder(folder) as unfinished:
        checkpoints.save_single(unfinished / "checkpoints", dict(networks))
        if config is not None:
            write_atomically(unfinished / saved.CONFIG, saved.encode_config(config))
        if dino is not None:
            fields = dataclasses.asdict(dino)
            fields = {key: fields[key] for key in fields if key not in ("dtype", "parent", "name")}
            write_atomically(unfinished / DINO, json.dumps(fields, indent=2).encode() + b"\n")
