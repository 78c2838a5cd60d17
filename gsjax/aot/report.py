"""Summarizes a compiled program: memory, FLOP, bytes, collectives, and the time they take."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.stages import Compiled
from jaxtyping import PyTree

from gsjax.aot import collectives
from gsjax.aot.chips import Chip, link_rate
from gsjax.aot.program import Outcome, Program


def bytes_per_chip(tree: PyTree) -> int:
    """Returns the bytes per chip of arrays with shapes and shardings."""
    return sum(
        math.prod(array.sharding.shard_shape(array.shape)) * _item_bytes(array.dtype)
        for array in jax.tree.leaves(tree)
    )


def replicated_bytes(tree: PyTree) -> int:
    """Returns the bytes of the arrays that are replicated on every chip."""
    return bytes_per_chip(
        [array for array in jax.tree.leaves(tree) if array.sharding.is_fully_replicated]
    )


def figures(
    program: Program, outcome: Outcome, chip: Chip, sides: Sequence[int], batch: int, parts: int
) -> dict[str, Any]:
    """Returns all figures of a program, for JSON. Sizes are per chip, in bytes.

    `flops` and `bytes` are the compiler's counts per chip and step; `bytes` includes accesses to
    the chip's fast memory. The compiler counts loops as if they ran once. In a step with a split
    batch, nearly everything is in loops over its parts, so the counts are multiplied by these.
    Figures that are unknown because the program does not fit are None.

    Args:
      program: the lowered program.
      outcome: the result of compiling it.
      chip: the generation.
      sides: of the slice, in chips.
      batch: global batch size.
      parts: number of parts that the batch is split into.
    """
    chips = math.prod(sides)
    result: dict[str, Any] = {
        "chips": chips,
        "batch": batch,
        "batch_per_chip": batch // chips,
        "hbm_bytes": chip.hbm_bytes,
        "state_bytes": bytes_per_chip(program.state),
        "frozen_bytes": bytes_per_chip(program.frozen),
        "replicated_bytes": replicated_bytes((program.state, program.frozen)),
        "compile_seconds": round(outcome.seconds, 1),
    }
    if outcome.compiled is None:
        known = result["state_bytes"] + result["frozen_bytes"]
        peak = outcome.needed + (known if outcome.beside else 0)
        names = ("arguments", "temporary", "output", "aliased", "code")
        result |= {f"{name}_bytes": None for name in names}
        result |= {"peak_bytes": peak, "fits": False, "flops": None, "bytes": None}
        result |= {"collectives": None, "seconds": None}
    else:
        result |= _of_compiled(outcome.compiled, chip, sides, parts)
    result["largest_batch_per_chip"] = largest_batch(result)
    return result


def _of_compiled(
    compiled: Compiled, chip: Chip, sides: Sequence[int], parts: int
) -> dict[str, Any]:
    memory, cost = compiled.memory_analysis(), compiled.cost_analysis()
    assert memory is not None  # the compiler for TPUs gives both
    assert cost is not None
    result = {
        "arguments_bytes": memory.argument_size_in_bytes,
        "temporary_bytes": memory.temp_size_in_bytes,
        "output_bytes": memory.output_size_in_bytes,
        "aliased_bytes": memory.alias_size_in_bytes,  # part of the output that reuses arguments
        "code_bytes": memory.generated_code_size_in_bytes,
    }
    peak = sum(result.values()) - 2 * result["aliased_bytes"]
    found = collectives.find(compiled.as_text() or "", math.prod(sides))
    result |= {
        "peak_bytes": peak,
        "fits": peak <= chip.hbm_bytes,
        "flops": parts * cost["flops"],
        "bytes": parts * cost["bytes accessed"],
        "collectives": summary(found),
    }
    return result | {"seconds": seconds(result, chip, sides)}


def summary(found: Sequence[collectives.Collective]) -> dict[str, dict[str, Any]]:
    """Returns, by kind, the number of collectives per step, their size, and the bytes sent."""
    kinds: dict[str, dict[str, Any]] = {}
    for one in found:
        kind = kinds.setdefault(one.kind, {"count": 0, "bytes": 0, "sent_bytes": 0})
        kind["count"] += one.times
        kind["bytes"] += one.times * one.bytes
        kind["sent_bytes"] += round(one.sent)
    return kinds


def seconds(result: Mapping[str, Any], chip: Chip, sides: Sequence[int]) -> dict[str, float]:
    """Returns the minimum time of a step for arithmetic, memory and links, at peak rates."""
    sent = sum(kind["sent_bytes"] for kind in result["collectives"].values())
    return {
        "arithmetic": result["flops"] / chip.flops,
        "memory": result["bytes"] / chip.hbm_bandwidth,
        "links": sent / link_rate(chip, sides),
    }


def largest_batch(result: Mapping[str, Any]) -> int | None:
    """Estimates the largest batch per chip, assuming that all temporaries scale with the images.

    Not all of them do, so slightly more may fit. None if not even the fixed part fits.
    """
    fixed = result["state_bytes"] + result["frozen_bytes"] + (result["code_bytes"] or 0)
    each = (result["peak_bytes"] - fixed) / result["batch_per_chip"]
    count = int((result["hbm_bytes"] - fixed) / max(each, 1))
    return count if count > 0 else None


def text(result: Mapping[str, Any]) -> str:
    """Returns the figures as text."""
    peak, hbm = result["peak_bytes"], result["hbm_bytes"]
    verdict = "fits" if result["fits"] else "DOES NOT FIT"
    lines = [
        f"{result['program']} for {result['topology']}: {result['chips']} chips, mesh data "
        f"{result['mesh']['data']} × fsdp {result['mesh']['fsdp']}, {result['batch']} images, "
        f"{result['batch_per_chip']} per chip; compiled in {result['compile_seconds']:.0f} s",
        f"memory per chip: {_size(peak)} of {_size(hbm)}, {100 * peak / hbm:.0f} %: {verdict}",
    ]
    if result["temporary_bytes"] is not None:
        kept = result["aliased_bytes"]
        place = f" ({_size(kept)} reused for results)" if kept else ""
        lines.append(
            f"  arguments {_size(result['arguments_bytes'])}{place}, temporaries "
            f"{_size(result['temporary_bytes'])}, other results "
            f"{_size(result['output_bytes'] - kept)}, program {_size(result['code_bytes'])}"
        )
    lines.append(
        f"  of the arguments, {'generator' if result['program'] == 'inference' else 'state'} "
        f"{_size(result['state_bytes'])} and frozen networks {_size(result['frozen_bytes'])}; "
        f"{_size(result['replicated_bytes'])} of these are replicated on every chip"
    )
    largest = result["largest_batch_per_chip"]
    lines.append(
        f"largest batch: about {largest} images per chip, {largest * result['chips']} in all, "
        "estimated from the temporaries per image"
        if largest
        else "largest batch: less than one image per chip; try train.recompute, train.precision or "
        "mesh.fsdp"
    )
    if result["seconds"] is None:
        return "\n".join(lines)
    lines.append(
        f"work per chip and step: {result['flops'] / 1e12:.3g} TFLOP, {_size(result['bytes'])} "
        "read and written, as counted by the compiler"
    )
    for kind, of in result["collectives"].items():
        lines.append(
            f"  {of['count']} {kind}: {_size(of['bytes'])}; each chip sends "
            f"{_size(of['sent_bytes'])}"
        )
    if not result["collectives"]:
        lines.append("  no communication between chips")
    times = ", ".join(f"{name} {1e3 * s:.3g} ms" for name, s in result["seconds"].items())
    lines.append(f"minimum time at the public peak rates (nothing was run): {times}")
    return "\n".join(lines)


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.3g} {unit}" if count < 1000 else f"{count:.0f} {unit}"
        count /= 1000
    raise AssertionError


def _item_bytes(dtype) -> int:
    # Typed PRNG keys consist of two words.
    if jax.dtypes.issubdtype(dtype, jax.dtypes.prng_key):
        return jax.eval_shape(jax.random.key_data, jax.ShapeDtypeStruct((), dtype)).size * 4
    return np.dtype(dtype).itemsize
