"""Records the images that a run trains on, in `images.json` of its workdir.

A step's number and the list of images determine what the step sees. So a change of the folder
changes the data of all remaining steps.
"""

import hashlib
import json
import os
from pathlib import Path

from absl import logging

from gsjax.data.images import ImageSource
from gsjax.files import explained, read_json, write_atomically

FILE = "images.json"


def record_images(workdir: str | os.PathLike, source: ImageSource, resumes: bool) -> None:
    """Records the images of a run; warns if it resumes with different ones.

    Args:
      workdir: the run's folder, which exists.
      source: of the training images.
      resumes: whether the run has been trained before.

    Raises:
      UserError: if the workdir cannot be written to.
    """
    path = Path(workdir) / FILE
    names = "\n".join(source.short_name(index) for index in range(len(source)))
    digest = hashlib.sha256(names.encode(errors="replace")).hexdigest()
    images = {"images": len(source), "names": digest}
    before = _read(path) if resumes else None
    if before is not None and before != images:
        count = before.get("images")
        now = f"{len(source)} images" if count != len(source) else f"{count} other images"
        logging.warning(
            "data.train has %s now and had %s in this run so far: the steps to come see other "
            "data than without the change",
            *(now, count),
        )
    with explained(path.parent):
        write_atomically(path, json.dumps(images).encode() + b"\n")


def _read(path: Path) -> dict | None:
    """Returns the record, or None if it cannot be read, which should not stop the run."""
    try:
        images = read_json(path)
    except (OSError, ValueError):  # missing in older runs, or damaged
        return None
    return images if isinstance(images, dict) else None
