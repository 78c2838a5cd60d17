"""What training comes to on TPUs: python -m gsjax.aot --config=FILE --topology=v5e:16x16

Compiles the very train step for a slice of TPUs, on a machine without any, and prints the memory
a chip needs and whether it has it, the work of a step, what crosses chips, and the largest batch
that fits. Neither data nor weights need to be there; the compiler does: pip install "jax[tpu]".
The batch is the config's, over all chips: --config.train.batch_size=2048. As in training, the
mesh is --config.mesh.data and --config.mesh.fsdp. Large models take the compiler minutes.

Topologies: v5e and v6e from 1x1 and 2x2 to 16x16, v4 and v5p from 2x2x1 to 8x8x16.
"""

import json
from pathlib import Path

from absl import flags
from ml_collections.config_flags import config_flags

from gsjax import cli
from gsjax.errors import UserError

CONFIG = config_flags.DEFINE_config_file("config", None, "the config file, one of configs/")
TOPOLOGY = flags.DEFINE_string("topology", None, "the slice of TPUs, GENERATION:SIZE, like v5e:4x4")
JSON = flags.DEFINE_string("json", None, "a file to write the figures to")
INFERENCE = flags.DEFINE_boolean(
    "inference", False, "the filling of a batch of images instead of the train step"
)
STAGE = flags.DEFINE_string(
    "stage", "", "the stage whose train step it is; without it, the one that draws most pixels"
)
CONFIRM = flags.DEFINE_boolean(
    "confirm", False, "compile once more, with the largest batch suggested, whether it fits"
)
flags.mark_flags_as_required(["config", "topology"])


def main() -> None:
    """Compiles and reports."""
    from gsjax.aot import chips

    config = CONFIG.value
    chip, sides = chips.parse(TOPOLOGY.value)
    if JSON.value and not Path(JSON.value).absolute().parent.is_dir():
        raise UserError("--json", f"there is no folder {Path(JSON.value).parent}")
    chips.check_compiler()
    chips.prepare_environment()

    from gsjax.aot.estimate import run  # only now: --help and mistakes need no JAX

    options = INFERENCE.value, CONFIRM.value, STAGE.value
    result = run(config, TOPOLOGY.value, chip, sides, *options)
    if JSON.value:
        from gsjax.files import write_atomically

        try:
            write_atomically(JSON.value, json.dumps(result, indent=2).encode() + b"\n")
        except OSError as error:
            raise UserError("--json", f"cannot write {JSON.value}: {error.strerror}") from None


if __name__ == "__main__":
    cli.run(main)
