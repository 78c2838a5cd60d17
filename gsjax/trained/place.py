"""What is at a path: a run, a checkpoint, a converted or packed folder, bundled weights or hf:...

A run keeps two generators, and a path to its workdir means one of them:

- "best": the one that validated best, if the run keeps it (in `best/`), else the last one. Filling,
  evaluating and packing use it.
- "last": the one of the newest checkpoint. `config.initial` uses it, since training continues from
  a generator and its discriminator, and only checkpoints have both.

Of a checkpoint with a moving average of the generator, that average is taken in both cases. A path
to anything else means what is there.
"""

import difflib
import os
from pathlib import Path
from typing import Literal, NamedTuple

from gsjax.errors import UserError, at
from gsjax.trained import checkpoints, hub, packed

# Folders of the bundled weights by name, relative to the package.
BUNDLED: dict[str, str] = {
    "photos": "weights/photos",  # fills that look best
    "photos-smooth": "weights/photos-smooth",  # fills with the highest PSNR
}


class Place(NamedTuple):
    """A generator on disk.

    Attributes:
      folder: that of a packed inpainter, or one checkpoint.
      workdir: the folder with its `config.json`, if it has one.
      packed: whether it is a packed inpainter.
    """

    folder: Path
    workdir: Path
    packed: bool


def locate(path: str | os.PathLike, which: Literal["best", "last"]) -> Place:
    """Returns where the generator of a path is.

    Args:
      path: a run's workdir, its folder of checkpoints or one of them, what `python -m
        gsjax.convert` or `python -m gsjax.pack` wrote, the name of bundled weights, or
        hf:OWNER/NAME[@REVISION], which is downloaded.
      which: the generator of a run; see above.

    Raises:
      UserError: there is none.
    """
    folder = folder_of(path)
    if packed.is_packed(folder):
        return Place(folder, folder, packed=True)
    best = folder / "best"
    if which == "best" and checkpoints.latest_step(best) is not None:
        folder = best
    checkpoint = Path(checkpoints.find_checkpoint(folder))
    return Place(checkpoint, checkpoint.parent.parent, packed=False)


def folder_of(path: str | os.PathLike) -> Path:
    """Returns the folder of a path, or of bundled weights by their name.

    Raises:
      UserError: it is hf:... and cannot be downloaded.
    """
    if hub.is_hub(path):
        with at("checkpoint"):
            return hub.download(os.fspath(path))
    bundled = BUNDLED.get(os.fspath(path))
    return Path(__file__).parents[1] / bundled if bundled else Path(path).expanduser()


def bundled_hint(path: str | os.PathLike) -> str:
    """Returns a hint for errors: the bundled weights, and the one that was probably meant."""
    meant = difflib.get_close_matches(os.fspath(path).lower(), BUNDLED, 1)
    suggestion = f"; did you mean {meant[0]}?" if meant else ""
    return f"one of the weights that come with gsjax: {', '.join(BUNDLED)}{suggestion}"


def check_path(path: str | os.PathLike) -> Path:
    """Returns the folder of a path, or of bundled weights by their name.

    Raises:
      UserError: there is no such folder.
    """
    name, folder = os.fspath(path), folder_of(path)
    if not folder.exists():
        raise UserError(
            "checkpoint",
            f"there is no folder {name!r}",
            f"give a run's workdir, or {bundled_hint(name)}",
        )
    if not folder.is_dir():
        raise UserError(
            "checkpoint", f"{name} is a file", "give a run's workdir or a checkpoint in it"
        )
    return folder
