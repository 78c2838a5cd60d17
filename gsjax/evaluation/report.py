"""The report of an evaluation: rows per image, a summary, a table, a picture of the worst cases."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, UInt8

from gsjax.errors import UserError
from gsjax.files import write_atomically
from gsjax.models.metrics import METRICS
from gsjax.training.grids import HOLE_COLOR, encode_png, picture_grid

FILES = ("per_image.csv", "table.md", "worst.png", "summary.json")  # in the order of writing
# Columns of the table: title, field of the summary, factor, decimals.
_COLUMNS = (
    *((f"{m.title} {m.arrow}", m.name, m.scale, m.decimals) for m in METRICS.values()),
    ("s an image", "seconds", 1, 3),
)
_NO_MEAN = ("image", "band", "method")


class Worst(NamedTuple):
    """A case with a bad result, to look at.

    Attributes:
      psnr: in the hole, of the first method.
      caption: of its row in the picture.
      original: the image.
      hole: its hole.
      filled: the result of each method, by its name.
    """

    psnr: float
    caption: str
    original: UInt8[np.ndarray, "s s 3"]
    hole: Bool[np.ndarray, "s s"]
    filled: Mapping[str, UInt8[np.ndarray, "s s 3"]]


class Report(NamedTuple):
    """The results of an evaluation.

    Attributes:
      protocol: what was measured, and how.
      notes: remarks on the numbers, one sentence each.
      rows: the values of every image, band and method.
      summary: by band, then method: means over the images that have a value (for seconds the
        median), and `fid` and `fd_dino` if they were measured.
      worst: cases with bad results.
    """

    protocol: Mapping[str, Any]
    notes: Sequence[str]
    rows: Sequence[Mapping[str, Any]]
    summary: Mapping[str, Mapping[str, Mapping[str, float]]]
    worst: Sequence[Worst]


def summarize(
    rows: Sequence[Mapping[str, Any]], distances: Mapping[str, Mapping[tuple[str, str], float]]
) -> dict[str, dict[str, dict[str, float]]]:
    """Returns `Report.summary`; `distances` are by metric, then by (band, method)."""
    grouped: dict[str, dict[str, list]] = {}
    for row in rows:
        grouped.setdefault(row["band"], {}).setdefault(row["method"], []).append(row)
    summary: dict[str, dict[str, dict[str, float]]] = {}
    for band, methods in grouped.items():
        for method, own in methods.items():
            means: dict[str, float] = {"images": len(own)}
            for name in own[0]:
                if name in _NO_MEAN:
                    continue
                values = [row[name] for row in own if not np.isnan(row[name])]
                if values:  # DINO patches may have none
                    means[name] = float((np.median if name == "seconds" else np.mean)(values))
            means |= {metric: of_case[band, method] for metric, of_case in distances.items()}
            summary.setdefault(band, {})[method] = means
    return summary


def markdown(report: Report) -> str:
    """Returns the summary as a table, with a description above and notes below it."""
    methods = [values for band in report.summary.values() for values in band.values()]
    columns = [column for column in _COLUMNS if any(column[1] in values for values in methods)]
    titles = ["hole", "method", *(column[0] for column in columns)]
    lines = [titles, ["---"] * 2 + ["--:"] * len(columns)]
    for band, by_method in report.summary.items():
        for method, values in by_method.items():
            mean = f"{100 * values['hole']:.0f} %"
            name = band if band.isalpha() else f"{band} %"
            line = [f"{name} (mean {mean})", method]
            lines.append(line + [_number(values.get(c[1]), c[2], c[3]) for c in columns])
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    protocol = report.protocol
    holes = f"those in {protocol['masks']}" if protocol["masks"] else f"seed {protocol['seed']}"
    head = (
        f"{protocol['images']} images of {protocol['data']}, center squares at "
        f"{protocol['size']}×{protocol['size']}; holes: {holes}. {protocol['device']}."
        + (f" DINO: {protocol['dino']}." if protocol["dino"] else "")
    )
    notes = "".join(f"\n- {note}" for note in report.notes)
    return f"{head}\n\n{table}\n" + (f"{notes}\n" if notes else "")


def table_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns the rows as CSV with a header."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def worst_grid(worst: Sequence[Worst]) -> UInt8[np.ndarray, "height width 3"]:
    """Draws a row per case: input with its hole in pink, the methods' results, original."""
    pink = np.asarray(HOLE_COLOR, np.uint8)
    columns = {"input": [np.where(one.hole[..., None], pink, one.original) for one in worst]}
    for name in worst[0].filled:
        columns[name] = [one.filled[name] for one in worst]
    columns["original"] = [one.original for one in worst]
    pictures = {title: np.stack(images) for title, images in columns.items()}
    return picture_grid(pictures, [one.caption for one in worst])


def check_writable(folder: str) -> None:
    """Creates the folder; raises UserError unless files can be written to it."""
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / ".probe"
        write_atomically(probe, b"")
        probe.unlink()
    except OSError as error:
        reason = "is a file, not a folder" if path.is_file() else f"cannot be written ({error})"
        raise UserError("--output", f"{folder} {reason}") from error


def write(folder: str, report: Report) -> None:
    """Writes `FILES`, each atomically; those of an earlier evaluation are replaced.

    Raises:
      UserError: the folder cannot be written.
    """
    summary = {
        "protocol": report.protocol,
        "notes": list(report.notes),
        "results": report.summary,
    }
    contents = (
        table_csv(report.rows).encode(),
        markdown(report).encode(),
        encode_png(worst_grid(report.worst)),
        json.dumps(summary, indent=2, ensure_ascii=False).encode() + b"\n",
    )
    try:
        for name, content in zip(FILES, contents, strict=True):
            write_atomically(Path(folder) / name, content)
    except OSError as error:
        raise UserError("--output", f"cannot write to {folder}: {error.strerror}") from error


def _number(value: float | None, factor: float, decimals: int) -> str:
    return "" if value is None else f"{factor * value:.{decimals}f}"
