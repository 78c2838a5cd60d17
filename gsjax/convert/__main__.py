"""Published PyTorch weights to a checkpoint that training and inference load.

python -m gsjax.convert reference --input=FILE --output=FOLDER
python -m gsjax.convert dino --input=FILE --output=FOLDER

reference: the inpainter, from what the published trainer saves (and the DINO inside, if any)
dino:      DINO v1 or v2, by the official key names or Hugging Face's
Files are .pth, .pt or .bin (which need PyTorch), .safetensors or .npz; no code in them is run.
"""

from absl import flags

from gsjax import cli

INPUT = flags.DEFINE_string("input", None, "the file of published weights")
OUTPUT = flags.DEFINE_string("output", None, "the folder to write, which must not exist")
OVERLAP = flags.DEFINE_integer(
    "overlap", 1, "reference: pixels by which a patch draws over its neighbors"
)
IMAGE_SIZE = flags.DEFINE_integer(
    "image_size", None, "dino: side in pixels that positions were learned at, if it does not show"
)
flags.mark_flags_as_required(["input", "output"])


def main(what: str) -> None:
    """Reads, converts, writes, and says what was recognized."""
    from pathlib import Path

    from gsjax.convert import command  # only now: --help and mistyped flags need no JAX
    from gsjax.errors import UserError

    if Path(OUTPUT.value).exists():
        raise UserError(f"--output: {OUTPUT.value} exists; choose another name")
    if what == "dino":
        print(command.convert_dino(INPUT.value, OUTPUT.value, IMAGE_SIZE.value))
    else:
        print(command.convert_reference(INPUT.value, OUTPUT.value, OVERLAP.value))


if __name__ == "__main__":
    cli.run(main, commands=("reference", "dino"))
