"""Plots the curves of one or several runs, to compare them.

python -m gsjax.plot --runs=runs/photos,runs/mine [--metrics=loss/total,val/psnr_hole] \\
    [--output=curves.png]
"""

import json
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from gsjax import cli
from gsjax.errors import UserError, suggestion
from gsjax.files import read_regular, write_atomically

RUNS = flags.DEFINE_list("runs", None, "workdirs of runs, separated by commas", required=True)
SCALARS = flags.DEFINE_list("metrics", None, "scalars to plot; by default losses and validation")
OUTPUT = flags.DEFINE_string("output", "curves.png", "the PNG to write")

Curves = dict[str, tuple[list[float], list[float]]]  # by metric: steps, values


def read_curves(run: str | Path) -> Curves:
    """Returns the curves in a run's `metrics.jsonl`; null (NaN or infinite) becomes NaN.

    Raises:
      UserError: the file is missing or damaged.
    """
    path = Path(run) / "metrics.jsonl"
    curves: Curves = {}
    try:
        for line in read_regular(path).decode().splitlines():
            values = json.loads(line)
            step = float(values.pop("step"))
            for name, value in values.items():
                steps, series = curves.setdefault(name, ([], []))
                steps.append(step)
                series.append(float("nan" if value is None else value))
    except OSError as error:
        raise UserError(
            "--runs", f"{path}: {error.strerror}", f"is {run} a run's workdir?"
        ) from None
    except (ValueError, KeyError, AttributeError, TypeError, OverflowError, RecursionError):
        raise UserError(
            "--runs", f"{path} is damaged", "expected one JSON object per line"
        ) from None
    return curves


def draw_curves(runs: dict[str, Curves], metrics: Sequence[str]) -> bytes:
    """Returns a PNG with a panel per metric, and a line per run in each."""
    import io

    from matplotlib.figure import Figure

    columns = min(3, len(metrics))
    rows = -(-len(metrics) // columns)
    figure = Figure(figsize=(5 * columns, 3.2 * rows), layout="constrained")
    for index, metric in enumerate(metrics):
        axes = figure.add_subplot(rows, columns, index + 1)
        for run, curves in runs.items():
            if metric in curves:
                axes.plot(*curves[metric], label=run, marker=".", markersize=3, linewidth=1)
        axes.set(title=title_of(metric), xlabel="step")
        axes.grid(alpha=0.3)
        if index == 0:
            axes.legend(fontsize="small")
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110)
    return content.getvalue()


def title_of(name: str) -> str:
    """Returns a scalar's name, with its unit and the direction of better values, if known."""
    from gsjax.models.metrics import METRICS  # only now: --help needs no JAX

    metric = METRICS.get(name.rpartition("/")[2]) if name.startswith("val/") else None
    if metric is None:
        return name
    return f"{name} {metric.arrow}" + (f" ({metric.unit})" if metric.unit else "")


def main() -> None:
    """Reads the runs and writes the plot."""
    if not OUTPUT.value.lower().endswith(".png"):
        raise UserError("--output", f"{OUTPUT.value} is not the name of a PNG, such as curves.png")
    from gsjax.models.metrics import VALIDATED  # only now: --help needs no JAX

    plotted = ("loss/", *(f"val/{m.name}" for m in VALIDATED if m.plotted), "gradient_norm")
    runs = {run: read_curves(run) for run in RUNS.value}
    found = sorted({name for curves in runs.values() for name in curves})
    metrics = SCALARS.value or [name for name in found if name.startswith(plotted)]
    for name in metrics:
        if name not in found:
            meant = suggestion(name, found)
            hint = f"; did you mean {meant}?" if meant else f"; there are {', '.join(found)}"
            raise UserError("--metrics", f"no run has {name}{hint}")
    if not metrics:
        raise UserError("--runs", "they have nothing to draw yet")
    try:
        write_atomically(OUTPUT.value, draw_curves(runs, metrics))
    except OSError as error:
        raise UserError("--output", f"cannot write {OUTPUT.value}: {error.strerror}") from None
    print(f"wrote {OUTPUT.value}: {len(metrics)} metrics of {len(runs)} runs")


if __name__ == "__main__":
    cli.run(main)
