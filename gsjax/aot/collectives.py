"""Finds the collectives of a compiled program in its text."""

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

KINDS = (
    "all-reduce",
    "all-gather",
    "reduce-scatter",
    "all-to-all",
    "collective-permute",
    "collective-broadcast",
    "ragged-all-to-all",
)

_BITS = {"pred": 8, "bf16": 16, "f8": 8, "f4": 4}  # other names end with their number of bits
_SHAPE = re.compile(r"\b(pred|[sufc]\d+|bf16|f[48]e\w+)\[([\d,]*)\]")
_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) .*\{\s*$")
_CALLED = re.compile(
    r"\b(calls|to_apply|body|condition|true_computation|false_computation|branch_computations|"
    r"called_computations)=(?:\{([^}]*)\}|%?([\w.\-]+))"
)
_OPERATION = re.compile(r"^\s*(?:ROOT )?%?[\w.\-]+ = (.*?) ([a-z][a-z\-]*)\(")


class Collective(NamedTuple):
    """A collective operation.

    Attributes:
      kind: one of `KINDS`.
      bytes: size of the array that is summed, gathered, scattered or sent, per chip.
      group: number of chips that take part together.
      times: number of executions per step, counting every iteration of loops.
    """

    kind: str
    bytes: int
    group: int
    times: int

    @property
    def sent(self) -> float:
        """Bytes that a chip sends over all executions, if no chip receives anything twice."""
        others = (self.group - 1) / self.group
        factor = {"all-reduce": 2 * others, "collective-permute": 1, "collective-broadcast": 1}
        return self.times * self.bytes * factor.get(self.kind, others)


def find(text: str, devices: int) -> list[Collective]:
    """Returns the collectives of a compiled program.

    A collective that the compiler split, to overlap it with computation, occurs several times with
    the same channel, and is returned once.

    Args:
      text: of the program, `compiled.as_text()`.
      devices: number of devices of the program.
    """
    computations, entry = _computations(text)
    times = _times(computations, entry)
    collectives: dict[str, Collective] = {}
    for name, lines in computations.items():
        for index, line in enumerate(lines):
            if times.get(name) and (one := _collective(name, line, devices, times[name])):
                channel = re.search(r"\bchannel_id=(\d+)", line)
                key = f"channel {channel[1]}" if channel else f"{name} {index}"
                if key not in collectives or one.times > collectives[key].times:
                    collectives[key] = one
    return list(collectives.values())


def _collective(computation: str, line: str, devices: int, times: int) -> Collective | None:
    operation = _OPERATION.match(line) if any(kind in line for kind in KINDS) else None
    if not operation:
        return None
    result, opcode = operation.groups()
    kind = opcode.removesuffix("-start")
    if kind not in KINDS:
        return None
    group = _group(line, devices)
    shapes = _top_level(result)
    if opcode.endswith("-start") and kind in ("all-gather", "collective-permute"):
        size = _bytes(shapes[1])  # a tuple: input, output, and possibly more
    else:
        size = _bytes(result)
    if kind == "reduce-scatter":
        size *= group
    if computation.startswith("all-reduce-scatter"):
        kind = "reduce-scatter"  # TPUs implement it as a sum of which each chip keeps a part
    return Collective(kind, size, group, times)


def _computations(text: str) -> tuple[dict[str, list[str]], str]:
    """Returns the lines of each computation by its name, and the name of the entry computation."""
    computations: dict[str, list[str]] = {}
    entry = ""
    lines: list[str] | None = None
    for line in text.splitlines():
        if lines is None:
            if match := _COMPUTATION.match(line):
                lines = computations[match[1]] = []
                entry = match[1] if line.startswith("ENTRY") else entry
        elif line.startswith("}"):
            lines = None
        else:
            lines.append(line)
    return computations, entry


def _times(computations: dict[str, list[str]], entry: str) -> dict[str, int]:
    """Returns the number of executions of each computation per step."""
    times: dict[str, int] = {}

    def visit(name: str, count: int) -> None:
        times[name] = times.get(name, 0) + count
        for line in computations.get(name, ()):
            for how, called in _calls(line):
                trips = _trips(line, computations) if how == "body" else 1
                visit(called, count * trips)

    visit(entry, 1)
    return times


def _calls(line: str) -> Iterator[tuple[str, str]]:
    """Yields (kind of call, name) of the computations that a line calls."""
    if " async-update(" in line or " async-done(" in line:
        return  # continues, or waits for, what another line started
    for match in _CALLED.finditer(line):
        for name in (match[2] or match[3]).split(","):
            yield match[1], name.strip().lstrip("%")


def _trips(line: str, computations: dict[str, list[str]]) -> int:
    """Returns the trip count of a loop: as annotated by the compiler, or the bound of its counter.

    JAX's loops count from 0 by 1. If neither is known, returns 1.
    """
    if known := re.search(r'known_trip_count\W+n\W+"?(\d+)', line):
        return int(known[1])
    condition = next((name for how, name in _calls(line) if how == "condition"), None)
    constants: list[int] = []
    less = False
    for inner in _reachable(computations, condition):
        less = less or (" compare(" in inner and "direction=LT" in inner)
        constants += map(int, re.findall(r"= [su]32\[\]\S* constant\((\d+)\)", inner))
    return constants[0] if less and len(constants) == 1 else 1


def _reachable(computations: dict[str, list[str]], name: str | None) -> Iterator[str]:
    for line in computations.get(name or "", ()):
        yield line
        for _, called in _calls(line):
            yield from _reachable(computations, called)


def _group(line: str, devices: int) -> int:
    """Returns the size of a collective's groups, from any of their notations."""
    if match := re.search(r"replica_groups=\{\{([\d,]*)\}", line):
        return match[1].count(",") + 1
    if match := re.search(r"replica_groups=\[(\d+),(\d+)\]<=", line):
        return int(match[2])
    if match := re.search(r"replica_groups=mesh\[([^\]]*)\].*?\{('[^}]*')\}", line):
        sizes = dict(re.findall(r"'([^']+)'=(\d+)", match[1]))
        return math.prod(int(sizes[axis]) for axis in re.findall(r"'([^']+)'", match[2]))
    return devices


def _top_level(result: str) -> list[str]:
    """Returns the element types of a tuple type, or the type itself."""
    if not result.startswith("("):
        return [result]
    parts, depth, start = [], 0, 1
    for index, letter in enumerate(result):
        depth += (letter in "([{") - (letter in ")]}")
        if (letter == "," and depth == 1) or depth == 0:
            parts.append(result[start:index])
            start = index + 1
        if depth == 0:
            break
    return parts


def _bytes(result: str) -> int:
    return sum(
        math.ceil(math.prod(map(int, filter(None, shape.split(",")))) * _bits(dtype) / 8)
        for dtype, shape in _SHAPE.findall(result)
    )


def _bits(dtype: str) -> int:
    # Names of float8 and float4 have suffixes, as in f8e4m3fn.
    return _BITS.get(dtype) or _BITS.get(dtype.partition("e")[0]) or int(dtype[1:])
