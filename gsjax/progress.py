"""Progress bars on stderr, and plain lines where it is no terminal."""

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
    """Returns a progress bar, on stderr.

    `bar.set_postfix_str("loss 0.123 · 87 images/s", refresh=False)` shows more behind
    it. Where stderr is not a terminal it is a plain line at most every 10 seconds.

    Args:
      total: what is complete; 0 if unknown.
      initial: what has been done before.
      desc: what is going on.
      active: whether to show anything.
      unit: of all these numbers.
      unit_scale: whether to show them in thousands, millions and so on.
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
