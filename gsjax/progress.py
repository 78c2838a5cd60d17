"""Progress bars on stderr, or plain lines if it is not a terminal."""

import sys

import tqdm


def progress_bar(
    total: int,
    initial: int,
    desc: str,
    active: bool = True,
    unit: str = " steps",
    unit_scale: bool = False,
) -> tqdm.tqdm:
    """Returns a progress bar on stderr.

    `bar.set_postfix_str("loss 0.123 · 87 images/s", refresh=False)` adds text behind it.
    If stderr is not a terminal, it prints a line at most every 10 seconds instead.

    Args:
      total: the number of units, or 0 if unknown.
      initial: the number of units that are already done.
      desc: the text before the bar.
      active: whether to show anything.
      unit: the name of the unit.
      unit_scale: whether to abbreviate numbers (k, M).
    """
    options = dict(
        total=total or None, initial=initial, desc=desc, disable=not active, unit=unit,
        unit_scale=unit_scale,
    )  # fmt: skip
    if sys.stderr.isatty():
        return tqdm.tqdm(**options, dynamic_ncols=True)
    return tqdm.tqdm(
        **options,
        file=_Lines(),
        mininterval=10,
        maxinterval=10,
        delay=1e-9,  # no line before the first step
        bar_format="{desc}: {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}{postfix}]",
    )


class _Lines:
    """Stderr for tqdm in a log file: each state is a line instead of overwriting the last."""

    def write(self, text: str) -> None:
        text = text.strip()
        if text:
            sys.stderr.write(text + "\n")

    def flush(self) -> None:
        sys.stderr.flush()
