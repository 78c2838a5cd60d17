"""Packs a trained inpainter into two small files to share: its parameters and its config.

python -m gsjax.pack --checkpoint=RUN --output=DIR

Parameters are stored in half precision in generator.safetensors, a format that cannot contain code.
`gsjax.inpaint`, `gsjax.evaluate` and `--config.initial` accept DIR as a checkpoint, like the run.
"""

import os

from absl import flags

from gsjax import cli
from gsjax.files import check_new_folder

CHECKPOINT = flags.DEFINE_string(
    "checkpoint", None, "a run's workdir, or a checkpoint in it", required=True
)
OUTPUT = flags.DEFINE_string("output", None, "the folder to write the two files to", required=True)


def main() -> None:
    """Packs the generator that validated best, or that of a given checkpoint."""
    from gsjax.trained import packed
    from gsjax.trained.load import read_generator

    output = os.path.expanduser(OUTPUT.value)
    check_new_folder(output)
    config, generator = read_generator(CHECKPOINT.value)
    size = packed.write_packed(output, config, generator)
    print(f"done: {size / 1e6:.1f} MB; fill with --checkpoint={output}")


if __name__ == "__main__":
    cli.run(main)
