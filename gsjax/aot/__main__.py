"""Estimates training on TPUs: python -m gsjax.aot --config=FILE --topology=v5e:16x16

Compiles the actual train step for a TPU slice, on a machine without TPUs. Prints the memory per
chip and whether it fits, the FLOP and bytes of a step, its collectives, and the largest batch that
fits. Needs neither data nor weights, but the compiler: pip install "jax[tpu]". The batch size is
the global one: --config.train.batch_size=2048. As in training, --config.mesh.data and
--config.mesh.fsdp set the mesh. Large models take minutes to compile.

Topologies: v5e and v6e from 1x1 and 2x2 to 16x16, v4 and v5p from 2x2x1 to 8x8x16.
"""

import json
from pathlib import Path

from absl import flags
from ml_collections.config_flags import config_flags

from gsjax import cli
from gsjax.errors import UserError

CONFIG = config_flags.DEFINE_config_file(
    "config", None, "a config file, or the name of one that comes with gsjax, such as photos"
)
TOPOLOGY = flags.DEFINE_string(
    "topology", None, "the TPU slice, GENERATION:SIZE, like v5e:4x4", required=True
)
JSON = flags.DEFINE_string("json", None, "a file to write the figures to")
INFERENCE = flags.DEFINE_boolean(
    "inference", False, "compile inference on a batch of images instead of the train step"
)
STAGE = flags.DEFINE_string(
    "stage", "", "the stage to compile; by default, the one that draws the most pixels per step"
)
CONFIRM = flags.DEFINE_boolean(
    "confirm", False, "compile again with the largest suggested batch, to confirm that it fits"
)
flags.mark_flag_as_required("config")


def main() -> None:
    """Compiles and reports."""
    from gsjax.aot import chips

    config = CONFIG.value
    chip, sides = chips.parse(TOPOLOGY.value)
    if JSON.value and not Path(JSON.value).absolute().parent.is_dir():
        raise UserError("--json", f"there is no folder {Path(JSON.value).parent}")
    chips.check_compiler()
    chips.prepare_environment()

    from gsjax.aot.estimate import run  # imported here, since --help needs no JAX

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
