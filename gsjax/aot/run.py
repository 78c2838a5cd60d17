"""The command's work: from a config to figures."""

from collections.abc import Sequence
from typing import Any

from ml_collections import ConfigDict

from gsjax import sharding
from gsjax.aot import chips, program, report
from gsjax.checks import check_program
from gsjax.errors import UserError


def run(
    config: ConfigDict,
    topology: str,
    chip: chips.Chip,
    sides: Sequence[int],
    inference: bool = False,
    confirm: bool = False,
) -> dict[str, Any]:
    """Compiles, prints, and returns `report.figures` and what they are of.

    Args:
      config: of the run; what it says of data is not looked at.
      topology: the slice, like v5e:4x4.
      chip: its generation, from `chips.parse`.
      sides: its sides in chips, from there too.
      inference: of the filling of images instead of the train step.
      confirm: compile with the largest batch suggested as well.

    Raises:
      UserError: a mistake in the config, or it does not go with the slice.
    """
    config = config.copy_and_resolve_references()
    if config.model.backend == "triton":
        raise UserError("model.backend: triton is for GPUs; for TPUs there are auto, pallas, xla")
    if config.model.backend == "auto":  # would choose by what runs here
        config.model.backend = "pallas"
        print("model.backend=auto: pallas, as on TPUs", flush=True)
    devices = chips.devices_of(topology)
    mesh = sharding.make_mesh(config.mesh.data, config.mesh.fsdp, devices)
    check_program(config, len(devices))

    parts = 1 if inference else config.train.accumulate

    def compiled(batch: int) -> dict[str, Any]:
        config.train.batch_size = batch
        lowered = program.lower(config, mesh, inference)
        outcome = program.compile_program(lowered.lowered)
        result = {
            "program": "inference" if inference else "train step",
            "topology": topology,
            "mesh": dict(mesh.shape),
        } | report.figures(lowered, outcome, chip, sides, batch, parts)
        print(report.text(result), flush=True)
        return result

    result = compiled(config.train.batch_size)
    largest = result["largest_batch_per_chip"]
    if confirm and largest:
        # A batch is computed in equal parts.
        result["confirmed"] = compiled(max(largest - largest % parts, parts) * len(devices))
    return result
