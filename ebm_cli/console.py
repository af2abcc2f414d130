"""Console output: messages, a progress display for slow operations, and tables of results.

Progress goes to stderr, results to stdout. All text passes through this module or `errors.report`, which escape control characters: names,
column headers and the files of a run may come from somebody else.
"""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, TextIO

from ebm_cli.errors import printable, printable_lines

SECONDS_BETWEEN_LINES = 5.0
HIDDEN = ("seed", "seeds", "n_steps")


def show(text: str = "", *, end: str = "\n") -> None:
    """Print text of one or more lines to stdout."""
    print(printable_lines(text), end=end, flush=True)


def say(line: str) -> None:
    """Print a line about the progress to stderr."""
    with contextlib.suppress(OSError):  # where a line cannot be shown, the work goes on
        print(printable(line), file=sys.stderr, flush=True)


def is_live() -> bool:
    """Whether stderr is a terminal on which colors and moving lines are allowed."""
    return sys.stderr.isatty() and not os.environ.get("NO_COLOR")


@contextlib.contextmanager
def waiting(what: str) -> Iterator[Callable[[str], None]]:
    """Show that a slow operation is in progress: a spinner on a terminal, a line every few seconds elsewhere.

    The function that it yields names the part of the operation that begins.
    """
    if is_live():
        from rich.console import Console

        with Console(stderr=True).status(what) as status:
            yield lambda part: status.update(f"{what} {part}")
        return
    done, begun = threading.Event(), [what, time.perf_counter()]

    def tell() -> None:
        while not done.wait(SECONDS_BETWEEN_LINES):
            say(f"{begun[0]}: {time.perf_counter() - begun[1]:.0f} s")

    def part_begins(part: str) -> None:
        begun[:] = f"{what} {part}", time.perf_counter()

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield part_begins
    finally:
        done.set()
        teller.join()


def results(summary: Mapping[str, Any], asked: Collection[str] = ()) -> None:
    """Print the numbers of a summary, or those that are asked for. For a stack: the mean, the 95 % interval and the value of each seed."""
    per_seed, reasons, units = summary.get("per_seed"), summary["reasons"], summary.get("units", {})
    hidden = {*HIDDEN, *summary.get("not_shown", ())}
    numbers = [
        key for key, value in summary.items() if isinstance(value, int | float | None) and key in (asked or summary) and key not in hidden
    ]
    rows = []
    for key in sorted(numbers, key=lambda key: list(units).index(key) if key in units else len(units)):
        value = [text(summary[key]), units.get(key, "")]
        if per_seed:
            low_high = summary["ci95"].get(key)
            value.append(f"[{text(low_high[0])}, {text(low_high[1])}]" if low_high else "")
            value.append(" ".join(text(number) for number in per_seed.get(key, [])))
        rows.append([key, *value])
    heads = ["", "mean" if per_seed else "value", "unit", *(["95 % interval", "per seed"] if per_seed else [])]
    table(heads, rows)
    found: dict[str, list[str]] = {}
    for key, why in ((key, why) for key, why in reasons.items() if key in numbers):
        for reason in dict.fromkeys(why if isinstance(why, list) else [why]):
            if reason:
                found.setdefault(reason, []).append(key)
    for reason, keys in found.items():
        show(f"no {', '.join(keys)}: {reason}")


def table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = ("value", "mean"), file: TextIO | None = None
) -> None:
    """Print aligned columns to `file`, by default stdout. Columns without a heading and without content are left out."""
    heads, rows = [printable(head) for head in heads], [[printable(cell) for cell in row] for row in rows]
    used = [i for i, head in enumerate(heads) if head or any(row[i] for row in rows)]
    widths = {i: max(len(row[i]) for row in (heads, *rows)) for i in used}
    for row in (heads, *rows):
        cells = [row[i].rjust(widths[i]) if heads[i] in right else row[i].ljust(widths[i]) for i in used]
        print("  ".join(cells).rstrip(), file=file)


def text(value: Any) -> str:
    """A number in the format of the tables."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e4 else f"{value:.4e}"
    return str(value)
