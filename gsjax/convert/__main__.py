"""Converts published PyTorch weights to a checkpoint that training can start from.

python -m gsjax.convert reference --input=FILE --output=FOLDER
python -m gsjax.convert dino --input=FILE --output=FOLDER [--blocks=8]
python -m gsjax.convert lpips --input=FILE --linear=FILE --output=FOLDER
python -m gsjax.convert inception --input=FILE --output=FOLDER

reference: the inpainter, from a checkpoint of the published trainer (and the DINO in it, if any)
dino:      DINO v1 or v2, with the official key names or Hugging Face's
lpips:     torchvision's AlexNet, VGG16 or SqueezeNet 1.1, and the linear heads of LPIPS 0.1
inception: FID's Inception-v3, pt_inception-2015-12-05-6726825d.pth
Files are .pth, .pt or .bin (which need PyTorch), .safetensors or .npz; code in them is never run.
"""

import os
from collections.abc import Callable
from typing import Any

from absl import flags

from gsjax import cli
from gsjax.errors import UserError
from gsjax.files import check_new_folder

INPUT = flags.DEFINE_string("input", None, "the file of published weights", required=True)
OUTPUT = flags.DEFINE_string(
    "output", None, "the folder to write; must be new or empty", required=True
)
OVERLAP = flags.DEFINE_integer(
    "overlap",
    None,
    "reference: pixels by which a patch draws over its neighbors; 1 by default",
    lower_bound=0,
    upper_bound=2**10,
)
IMAGE_SIZE = flags.DEFINE_integer(
    "image_size",
    None,
    "dino: side of images in pixels that positions were learned at, if their grid is not square",
    lower_bound=1,
    upper_bound=2**16,
)
HEADS = flags.DEFINE_integer(
    "heads", None, "dino: attention heads, if they do not have 64 channels each", lower_bound=1
)
BLOCKS = flags.DEFINE_integer(
    "blocks", None, "dino: keep only this many first blocks, and the last norm", lower_bound=1
)
OFFSET = flags.DEFINE_float(
    "offset",
    None,
    "dino: patches added when positions are resampled; by default 0.1 with official keys and no "
    "registers, else 0",
)
LINEAR = flags.DEFINE_string(
    "linear", None, "lpips: the file of linear heads; downloaded if neither given nor in --input"
)


def main(what: str) -> None:
    """Reads, converts, writes, and prints what was recognized."""
    options: dict[str, dict[str, Any]] = {
        "reference": {"overlap": OVERLAP.value},
        "dino": {
            "image_size": IMAGE_SIZE.value,
            "heads": HEADS.value,
            "blocks": BLOCKS.value,
            "offset": OFFSET.value,
        },
        "lpips": {"linear": LINEAR.value},
        "inception": {},
    }
    for other in options.keys() - {what}:
        for name, value in options[other].items():
            if value is not None:
                raise UserError(f"--{name}", f"it is for {other}, not for {what}")
    source, output = (os.path.expanduser(flag.value) for flag in (INPUT, OUTPUT))
    check_new_folder(output)

    from gsjax.convert import command  # imported here, since --help needs no JAX

    commands: dict[str, Callable[..., str]] = {
        "reference": command.convert_reference,
        "dino": command.convert_dino,
        "lpips": command.convert_lpips,
        "inception": command.convert_inception,
    }
    given = {name: value for name, value in options[what].items() if value is not None}
    print(commands[what](source, output, **given))


if __name__ == "__main__":
    cli.run(main, commands=("reference", "dino", "lpips", "inception"))
