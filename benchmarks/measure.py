"""Times compiled programs against each other and against the limits of the machine."""

import json
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from jax.stages import Compiled

from gsjax.errors import UserError
from gsjax.kernels.backends import BACKENDS as KNOWN

PATCHES = flags.DEFINE_integer(
    "patches", 256, "number of patches; 256 of 16×16 pixels make an image of 256²", lower_bound=1
)
GAUSSIANS = flags.DEFINE_integer("gaussians", 324, "Gaussians per patch", lower_bound=1)
BACKENDS = flags.DEFINE_list("backends", ["xla"], "backends to compare with the direct formula")
ROUNDS = flags.DEFINE_integer("rounds", 9, "timed runs of each program", lower_bound=1)
OUTPUT = flags.DEFINE_string("output", None, "a file to append the rows to, as JSON lines")


def ways(direct: Callable, op: Callable) -> dict[str, Callable]:
    """Returns the direct formula, and the op with each backend of `--backends`, by name.

    Raises:
      UserError: there is no such backend.
    """
    programs = {"direct": direct}
    for backend in BACKENDS.value:
        if backend not in KNOWN:
            raise UserError("--backends", f"{backend!r} is none of {', '.join(KNOWN)}")
        programs[backend] = lambda *args, backend=backend: op(*args, backend)
    return programs


class Figures(NamedTuple):
    """Time and memory of a program.

    Attributes:
      seconds: the median over all rounds.
      temporary_bytes: the compiler's estimate of memory beyond inputs and outputs.
    """

    seconds: float
    temporary_bytes: int


def compare(
    programs: Mapping[str, tuple[Callable, Sequence[jax.Array]]], rounds: int
) -> dict[str, Figures]:
    """Compiles the programs and times them in turn, so that the machine's load affects all alike.

    Args:
      programs: functions and their arguments by name.
      rounds: how often each is timed, each time after an untimed run.
    """
    compiled = {name: jax.jit(f).lower(*args).compile() for name, (f, args) in programs.items()}
    times: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(rounds):
        for name, program in compiled.items():
            run(program, programs[name][1])  # not timed: caches still hold another program's data
            times[name].append(run(program, programs[name][1]))
    return {
        name: Figures(float(np.median(times[name])), temporary_bytes(program))
        for name, program in compiled.items()
    }


def run(program: Compiled, args: Sequence[jax.Array]) -> float:
    """Returns the seconds of one run."""
    start = time.perf_counter()
    jax.block_until_ready(program(*args))
    return time.perf_counter() - start


def temporary_bytes(program: Compiled) -> int:
    """Returns the compiler's estimate of a program's memory beyond inputs and outputs."""
    return program.memory_analysis().temp_size_in_bytes


def exponentials(count: int) -> tuple[Callable, Sequence[jax.Array]]:
    """Returns a program that only sums `count` float32 exponentials, and its arguments."""

    def program(step):
        return jnp.exp(-step * jnp.arange(count, dtype=jnp.float32)).sum()

    return program, (jnp.float32(1e-7),)


def multiply_adds(count: int) -> tuple[Callable, Sequence[jax.Array]]:
    """Returns a float32 matrix product of `count` multiply-adds, the fastest way to do them."""
    side = 1024
    rows = max(1, count // side**2)

    def program(left, right):
        return jnp.dot(left, right, precision="highest")

    return program, (jnp.ones((rows, side)), jnp.ones((side, side)))


def device_name() -> str:
    """Returns a description of the device and the JAX version."""
    device = jax.devices()[0]
    if device.platform != "cpu":
        return f"{device.device_kind}, JAX {jax.__version__}"
    return f"{cpu_name()}, {os.cpu_count()} cores, JAX {jax.__version__}"


def cpu_name() -> str:
    """Returns the name of the processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def compare_ways(
    what: Mapping,
    forward: Mapping[str, tuple[Callable, Sequence[jax.Array]]],
    both: Mapping[str, tuple[Callable, Sequence[jax.Array]]],
    counts: tuple[tuple[int, int], tuple[int, int]],
) -> None:
    """Times several ways to compute an op and prints a table; `--output` appends JSON lines.

    Args:
      what: the op and its sizes.
      forward: programs by name; ratios are relative to the first.
      both: the same programs with their gradients.
      counts: the exponentials and multiply-adds that every way needs, forward and both.
    """
    floors = {}
    for part, (exps, fmas) in zip(("forward", "both"), counts, strict=True):
        floors[f"{part} exp"] = exponentials(exps)
        floors[f"{part} fma"] = multiply_adds(fmas)
    programs = {f"{name} forward": program for name, program in forward.items()}
    programs |= {f"{name} both": program for name, program in both.items()}
    figures = compare(programs | floors, ROUNDS.value)
    shared = jax.default_backend() == "cpu"
    print(f"{device_name()}; {', '.join(f'{key} {value}' for key, value in what.items())}")
    rows = []
    for name in forward:
        row = {"way": name}
        for part in ("forward", "both"):
            took, first = figures[f"{name} {part}"], figures[f"{next(iter(forward))} {part}"]
            floor = [figures[f"{part} {unit}"].seconds for unit in ("exp", "fma")]
            floor = sum(floor) if shared else max(floor)
            row |= {
                f"{part} ms": 1e3 * took.seconds,
                f"{part} ratio": first.seconds / took.seconds,
                f"{part} MB": took.temporary_bytes / 1e6,
                f"{part} of floor": floor / took.seconds,
            }
        rows.append(row)
    print(table(rows))
    if OUTPUT.value:
        common = {**what, "device": device_name(), "date": time.strftime("%Y-%m-%d")}
        with open(OUTPUT.value, "a") as file:
            file.writelines(json.dumps(common | row) + "\n" for row in rows)


def table(rows: Sequence[Mapping]) -> str:
    """Returns a Markdown table of rows with the same keys."""
    columns = list(rows[0])
    lines = [columns, ["---"] * len(columns)]
    lines += [[_text(row[column]) for column in columns] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _text(value) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
