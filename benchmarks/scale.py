"""How training scales over TPUs, computed from what `gsjax.aot` wrote; nothing is run.

python -m gsjax.aot --config=configs/celeba.py --topology=v5e:2x2 --json=two.json
python -m benchmarks.scale --figures=two.json [--batch_per_chip=8 | --batch=2048]

With files of two batch sizes a chip, of one generation of TPU, work and memory are taken to grow
with the images along a line through both, otherwise in proportion. What crosses chips are the
gradients, as when everything is replicated. `docs/scale.md` says what else is assumed.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags

from gsjax import cli
from gsjax.aot import chips
from gsjax.errors import UserError

FIGURES = flags.DEFINE_list("figures", None, "files that gsjax.aot wrote, with commas between")
PER_CHIP = flags.DEFINE_integer("batch_per_chip", 8, "images a chip", lower_bound=1)
BATCH = flags.DEFINE_integer("batch", None, "images over all chips, instead", lower_bound=1)
REACHED = flags.DEFINE_float(
    "reached", 0.5, "the part of the chip's peak rates that a step reaches", 0.01, 1.0
)
flags.mark_flag_as_required("figures")

COUNTS = (1, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Line(NamedTuple):
    """A quantity that grows with the images of a chip."""

    fixed: float
    each: float

    def at(self, images: float) -> float:
        """Returns it for so many images."""
        return self.fixed + self.each * images


def line_through(figures: Sequence[Mapping[str, Any]], name: str) -> Line:
    """Returns the line through the smallest and the largest batch; through 0 if there is one."""
    ordered = sorted(figures, key=lambda one: one["batch_per_chip"])
    (x, y), (x2, y2) = ((one["batch_per_chip"], one[name]) for one in (ordered[0], ordered[-1]))
    if x == x2:
        return Line(0.0, y / x)
    each = (y2 - y) / (x2 - x)
    return Line(y - each * x, each)


def slices_of(chip: chips.Chip, count: int) -> tuple[tuple[int, ...], int] | None:
    """Returns the sides of a slice and how many slices make `count` chips; None if none do."""
    sizes = [tuple(int(side) for side in size.split("x")) for size in chip.slices]
    fitting = [sides for sides in sizes if count % math.prod(sides) == 0]
    sides = max(fitting, key=math.prod, default=None)
    if sides is None or (math.prod(sides) < count and sides != max(sizes, key=math.prod)):
        return None
    return sides, count // math.prod(sides)


def seconds(
    figures: Sequence[Mapping[str, Any]],
    chip: chips.Chip,
    count: int,
    images: float,
    reached: float,
) -> dict[str, float] | None:
    """Returns what a step takes on `count` chips of `images` each; None if no slices make them.

    Gradients are summed within a slice over its links and then, each chip a part of them,
    among slices over the network; nothing of it while the chip computes.
    """
    placed = slices_of(chip, count)
    if placed is None:
        return None
    sides, slices = placed
    chips_here = math.prod(sides)
    summed = figures[0]["collectives"]["all-reduce"]["bytes"]
    arithmetic = line_through(figures, "flops").at(images) / chip.flops
    memory = line_through(figures, "bytes").at(images) / chip.hbm_bandwidth
    return {
        "chip": max(arithmetic, memory) / reached,
        "links": 2 * summed * (1 - 1 / chips_here) / chips.link_rate(chip, sides),
        "network": 2 * summed / chips_here * (1 - 1 / slices) / chip.network,
    }


def table(
    figures: Sequence[Mapping[str, Any]],
    chip: chips.Chip,
    batch: int | None,
    per_chip: int,
    reached: float,
) -> str:
    """Returns a table in Markdown, a row for each number of chips that slices make."""
    peak = line_through(figures, "peak_bytes")
    columns = ["chips", "slices", "images a chip", "memory, GB", "chip, ms", "links, ms"]
    columns += ["network, ms", "step, ms", "images/s", "images/s a chip", "efficiency"]
    rows, alone = [columns, ["---"] * len(columns)], None
    for count in COUNTS:
        images = per_chip if batch is None else batch / count
        took = seconds(figures, chip, count, images, reached)
        if took is None or images < 1:
            continue
        step = sum(took.values())
        rate = images / step
        alone = alone or rate
        full = "" if peak.at(images) <= chip.hbm_bytes else " (too much)"
        slices = slices_of(chip, count)[1]
        rows.append(
            [f"{count}", f"{slices}", f"{images:g}", f"{peak.at(images) / 1e9:.1f}{full}"]
            + [f"{1e3 * took[name]:.1f}" for name in ("chip", "links", "network")]
            + [f"{1e3 * step:.0f}", f"{count * rate:.0f}", f"{rate:.0f}", f"{rate / alone:.2f}"]
        )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def read_figures(paths: Sequence[str]) -> list[dict[str, Any]]:
    """Returns what the files hold.

    Raises:
      UserError: one cannot be read, or is not of a train step that fits on one kind of chip.
    """
    found = []
    for path in paths:
        try:
            figures = json.loads(Path(path).read_text())
            usable = figures["program"] == "train step" and figures["fits"]
            usable = usable and "all-reduce" in figures["collectives"]
        except OSError as error:
            raise UserError(f"--figures: {path}: {error.strerror}") from None
        except (ValueError, KeyError, TypeError):
            raise UserError(f"--figures: {path} is not what gsjax.aot writes") from None
        if not usable:
            raise UserError(f"--figures: {path} is no train step on several chips that fits")
        found.append(figures)
    if len({one["topology"].split(":")[0] for one in found}) > 1:
        raise UserError("--figures: the files are of several generations of TPU")
    return found


def main() -> None:
    """Prints the table."""
    figures = read_figures(FIGURES.value)
    chip, _ = chips.parse(figures[0]["topology"])
    print(table(figures, chip, BATCH.value, PER_CHIP.value, REACHED.value))


if __name__ == "__main__":
    cli.run(main)
