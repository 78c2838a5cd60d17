"""The TPU generations and their slices: public specifications, and options for the compiler."""

import dataclasses
import difflib
import importlib.util
import math
import os
from collections.abc import Sequence
from typing import Any

from gsjax.errors import UserError, first_line

_PLANE = ("1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16")
_CUBE = ("2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "4x4x8", "4x8x8", "8x8x8", "8x8x16")


@dataclasses.dataclass(frozen=True)
class Chip:
    """The peak rates and memory of a chip.

    Attributes:
      flops: FLOP per second in bfloat16 with float32 accumulation, also the default for float32.
      hbm_bytes: the part of its memory that the compiler allows a program.
      hbm_bandwidth: bytes per second, read or written.
      links: bytes per second that a chip can send within its slice, over all links.
      wraps: minimum number of chips along a side for its two ends to be linked.
      network: bytes per second that a chip can send to other slices.
      slices: available slice sizes.
    """

    flops: float
    hbm_bytes: int
    hbm_bandwidth: float
    links: float
    wraps: int
    network: float
    slices: tuple[str, ...]


def _gib(count: float) -> int:
    return int(count * 2**30)


# From the manufacturer's pages on each generation, except for the memory: the pages say 32, 16, 95
# and 32 GB, of which the runtime reserves some. Links are one-way rates, half of the bidirectional
# ones. The pages do not give the network of v4 and v6e; it is assumed to be that of v5p, and four
# times that of v5e.
CHIPS = {
    "v4": Chip(275e12, _gib(30.75), 1200e9, 300e9, 4, 50e9 / 8, _CUBE),
    "v5e": Chip(197e12, _gib(15.75), 819e9, 200e9, 16, 25e9 / 8, _PLANE),
    "v5p": Chip(459e12, _gib(95.74), 2765e9, 600e9, 4, 50e9 / 8, _CUBE),
    "v6e": Chip(918e12, _gib(31.25), 1638e9, 400e9, 16, 100e9 / 8, _PLANE),
}


def parse(topology: str) -> tuple[Chip, tuple[int, ...]]:
    """Parses a slice such as v5e:16x16; returns its chip and sides.

    Raises:
      UserError: there is no such slice; suggests the closest one.
    """
    known = [f"{name}:{size}" for name, chip in CHIPS.items() for size in chip.slices]
    if topology not in known:
        meant = difflib.get_close_matches(topology.lower(), known, 1)
        hint = f"did you mean {meant[0]}? " if meant else ""
        there = "; ".join(f"{name}: {', '.join(chip.slices)}" for name, chip in CHIPS.items())
        raise UserError(
            "--topology",
            f"{topology!r} is not a slice of TPUs",
            f"{hint}There are, as GENERATION:SIZE, {there}",
        )
    name, _, size = topology.partition(":")
    return CHIPS[name], tuple(int(side) for side in size.split("x"))


def link_rate(chip: Chip, sides: Sequence[int]) -> float:
    """Returns the bytes per second that a chip can send in a slice, where some links are unused.

    A side too short to form a ring sends in one direction instead of two.
    """
    along = [side for side in sides if side > 1]
    dimensions = 3 if chip.wraps == 4 else 2
    used = sum(1.0 if side >= chip.wraps else 0.5 for side in along)
    return chip.links * max(used, 0.5) / dimensions


def prepare_environment() -> None:
    """Lets the TPU compiler run on a machine without TPUs; call it before JAX is imported."""
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["TPU_SKIP_MDS_QUERY"] = "1"  # otherwise libtpu queries the cloud's metadata server
    os.environ["ALLOW_MULTIPLE_LIBTPU_LOAD"] = "1"  # no chip is used, so there is no conflict
    # Without a TPU, programs can be written to JAX's cache, but not read.
    os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"
    os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5litepod-4")  # avoids a complaint by libtpu
    os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")


def check_compiler() -> None:
    """Raises UserError if the TPU compiler is not installed."""
    if not importlib.util.find_spec("libtpu") and "TPU_LIBRARY_PATH" not in os.environ:
        raise UserError(
            "libtpu",
            "the compiler for TPUs is not installed; it needs no TPU, only Linux on x86-64",
            'pip install "jax[tpu]", in the version of JAX that is installed',
        )


def devices_of(topology: str) -> Sequence:
    """Returns the devices of a slice, to compile for.

    Raises:
      UserError: there is no such slice, or this compiler does not know it.
    """
    _, sides = parse(topology)
    options: dict[str, Any] = {}
    if topology.startswith("v4:"):
        options["chip_config_name"] = "megacore"  # as on TPUs
    if math.prod(sides) == 1:
        options["chips_per_host_bounds"] = [1, 1, 1]

    from jax.errors import JaxRuntimeError
    from jax.experimental import topologies

    try:
        return topologies.get_topology_desc(topology, "tpu", **options).devices
    except (JaxRuntimeError, RuntimeError) as error:
        raise UserError(
            "--topology", f"the installed libtpu cannot compile for {topology}: {first_line(error)}"
        ) from None
