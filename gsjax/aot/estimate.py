"""Implements the command: estimates the cost of a config."""

import math
from collections.abc import Sequence
from typing import Any

from ml_collections import ConfigDict

from gsjax import sharding
from gsjax.aot import chips, program, report
from gsjax.errors import UserError
from gsjax.training.checks import check_without_inputs
from gsjax.training.stages import Stage, plan, with_total_steps


def run(
    config: ConfigDict,
    topology: str,
    chip: chips.Chip,
    sides: Sequence[int],
    inference: bool = False,
    confirm: bool = False,
    stage: str = "",
) -> dict[str, Any]:
    """Compiles, prints a report, and returns `report.figures` with a description of the program.

    Args:
      config: of the run; its data fields are ignored.
      topology: the slice, like v5e:4x4.
      chip: its generation, from `chips.parse`.
      sides: its sides in chips, from `chips.parse`.
      inference: compile inference instead of the train step.
      confirm: also compile with the largest suggested batch.
      stage: the stage to compile; "" for the (last) one that draws the most pixels per step.

    Raises:
      UserError: the config is invalid, or does not fit the slice.
    """
    config = with_total_steps(config) if inference else _stage_config(config, stage)
    config = config.copy_and_resolve_references()
    if config.model.backend == "triton":
        raise UserError("model.backend", "triton is for GPUs", "use auto, pallas or xla for TPUs")
    if config.model.backend == "auto":  # would depend on this machine
        config.model.backend = "pallas"
        print("model.backend=auto: pallas, as on TPUs", flush=True)
    devices = chips.devices_of(topology)
    mesh = sharding.make_mesh(config.mesh.data, config.mesh.fsdp, devices)
    check_without_inputs(config, len(devices))

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


def _stage_config(config: ConfigDict, name: str) -> ConfigDict:
    """Returns the config of a stage by name, or of the one that draws the most pixels per step."""

    def pixels(stage: Stage) -> tuple[int, int]:
        return stage.config.train.batch_size * math.prod(stage.config.data.image_size), stage.index

    stages = {stage.name: stage for stage in plan(config)}
    if name and name not in stages:
        known = ", ".join(config.train.stages) or "none"
        raise UserError("--stage", f"the run has no stage {name!r}", f"there are {known}")
    chosen = stages[name] if name else max(stages.values(), key=pixels)
    if chosen.name:
        print(f"stage {chosen.name}, {chosen.index + 1} of {len(stages)}", flush=True)
    return chosen.config
