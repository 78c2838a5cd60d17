"""How training scales over TPUs, computed from the output of `gsjax.aot`; nothing is run.

python -m gsjax.aot --config=configs/celeba.py --topology=v5e:2x2 --json=two.json
python -m benchmarks.scale --figures=two.json [--batch_per_chip=8 | --batch=2048]

With files for two batch sizes per chip, on one TPU generation, FLOP and memory are extrapolated
linearly in the number of images; with one file, proportionally. Only gradients cross chips, as
when everything is replicated. `docs/scale.md` lists the other assumptions.
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

FIGURES = flags.DEFINE_list("figures", None, "JSON files from gsjax.aot, separated by commas")
PER_CHIP = flags.DEFINE_integer("batch_per_chip", 8, "images per chip", lower_bound=1)
BATCH = flags.DEFINE_integer("batch", None, "global batch size, instead", lower_bound=1)
REACHED = flags.DEFINE_float(
    "reached", 0.5, "the fraction of the chip's peak rates that a step reaches", 0.01, 1.0
)
flags.mark_flag_as_required("figures")

COUNTS = (1, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Line(NamedTuple):
    """A quantity that grows linearly with the images per chip."""

    fixed: float
    each: float

    def at(self, images: float) -> float:
        """Returns the quantity for a number of images."""
        return self.fixed + self.each * images


def line_through(figures: Sequence[Mapping[str, Any]], name: str) -> Line:
    """Returns the line through the smallest and the largest batch, or through 0 if only one."""
    ordered = sorted(figures, key=lambda one: one["batch_per_chip"])
    (x, y), (x2, y2) = ((one["batch_per_chip"], one[name]) for one in (ordered[0], ordered[-1]))
    if x == x2:
        return Line(0.0, y / x)
    each = (y2 - y) / (x2 - x)
    return Line(y - each * x, each)


def slices_of(chip: chips.Chip, count: int) -> tuple[tuple[int, ...], int] | None:
    """Returns the sides of a slice and the number of slices that make `count` chips, or None."""
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
    """Returns the seconds of a step, by part, on `count` chips with `images` images each.

    Gradients are summed within a slice over its links, then between slices over the network, where
    each chip sums its part of them. Nothing overlaps with computation. Returns None if no slices
    make `count` chips.
    """
    placed = slices_of(chip, count)
    if placed is None:
        return None
    sides, slices = placed
    slice_chips = math.prod(sides)
    summed = figures[0]["collectives"]["all-reduce"]["bytes"]
    arithmetic = line_through(figures, "flops").at(images) / chip.flops
    memory = line_through(figures, "bytes").at(images) / chip.hbm_bandwidth
    return {
        "chip": max(arithmetic, memory) / reached,
        "links": 2 * summed * (1 - 1 / slice_chips) / chips.link_rate(chip, sides),
        "network": 2 * summed / slice_chips * (1 - 1 / slices) / chip.network,
    }


def table(
    figures: Sequence[Mapping[str, Any]],
    chip: chips.Chip,
    batch: int | None,
    per_chip: int,
    reached: float,
) -> str:
    """Returns a Markdown table with a row per number of chips."""
    peak = line_through(figures, "peak_bytes")
    columns = ["chips", "slices", "images per chip", "memory, GB", "chip, ms", "links, ms"]
    columns += ["network, ms", "step, ms", "images/s", "images/s per chip", "efficiency"]
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
    """Returns the contents of the files.

    Raises:
      UserError: a file is unreadable or not for a train step that fits, or generations differ.
    """
    contents = []
    for path in paths:
        try:
            figures = json.loads(Path(path).read_text())
            usable = figures["program"] == "train step" and figures["fits"]
            usable = usable and "all-reduce" in figures["collectives"]
        except OSError as error:
            raise UserError("--figures", f"{path}: {error.strerror}") from None
        except (ValueError, KeyError, TypeError):
            raise UserError("--figures", f"{path} is not what gsjax.aot writes") from None
        if not usable:
            raise UserError("--figures", f"{path} is no train step on several chips that fits")
        contents.append(figures)
    if len({one["topology"].split(":")[0] for one in contents}) > 1:
        raise UserError("--figures", "the files are of several generations of TPU")
    return contents


def main() -> None:
    """Prints the table."""
    figures = read_figures(FIGURES.value)
    chip, _ = chips.parse(figures[0]["topology"])
    print(table(figures, chip, BATCH.value, PER_CHIP.value, REACHED.value))


if __name__ == "__main__":
    cli.run(main)
