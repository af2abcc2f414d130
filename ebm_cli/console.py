"""What a person sees: a live view of training on a terminal, plain lines elsewhere, and tables of results.

Progress goes to stderr, results to stdout.
"""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TextIO

SECONDS_BETWEEN_LINES = 5.0
HIDDEN = ("seed", "seeds", "n_steps")


def say(line: str) -> None:
    """One line about what is going on."""
    with contextlib.suppress(BrokenPipeError):  # who reads progress no longer must not end what is in progress
        print(line, file=sys.stderr, flush=True)


def is_live() -> bool:
    """Whether progress goes to a terminal that takes colours and moving lines."""
    return sys.stderr.isatty() and not os.environ.get("NO_COLOR")


@contextlib.contextmanager
def waiting(what: str) -> Iterator[None]:
    """Say what takes long, while it does: a moving line on a terminal, else a line now and then."""
    if is_live():
        from rich.console import Console

        with Console(stderr=True).status(what):
            yield
        return
    done, started = threading.Event(), time.perf_counter()

    def tell() -> None:
        while not done.wait(SECONDS_BETWEEN_LINES):
            say(f"{what}: {time.perf_counter() - started:.0f} s")

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield
    finally:
        done.set()
        teller.join()


def results(summary: Mapping[str, Any]) -> None:
    """The table of final metrics, on stdout. Of a stack: mean, 95 % interval and every seed."""
    per_seed, reasons, units = summary.get("per_seed"), summary["reasons"], summary.get("units", {})
    numbers = [key for key, value in summary.items() if (value is None or isinstance(value, (int, float))) and key not in HIDDEN]
    rows = []
    for key in sorted(numbers, key=lambda key: list(units).index(key) if key in units else len(units)):
        value = [text(summary[key]), units.get(key, "")]
        if per_seed:
            low_high = summary["ci95"].get(key)
            value.append(f"[{text(low_high[0])}, {text(low_high[1])}]" if low_high else "")
            value.append(" ".join(text(one) for one in per_seed.get(key, [])))
        rows.append([key, *value])
    heads = ["", "mean" if per_seed else "value", "unit", *(["95 % interval", "per seed"] if per_seed else [])]
    table(heads, rows)
    found: dict[str, list[str]] = {}
    for key, why in reasons.items():
        for reason in dict.fromkeys(why if isinstance(why, list) else [why]):
            if reason:
                found.setdefault(reason, []).append(key)
    for reason, keys in found.items():
        print(f"no {', '.join(keys)}: {reason}")


def table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = ("value", "mean"), file: TextIO | None = None
) -> None:
    """Aligned columns, on stdout where no file is named; empty ones are left out."""
    used = [i for i, head in enumerate(heads) if head or any(row[i] for row in rows)]
    widths = {i: max(len(row[i]) for row in (heads, *rows)) for i in used}
    for row in (heads, *rows):
        cells = [row[i].rjust(widths[i]) if heads[i] in right else row[i].ljust(widths[i]) for i in used]
        print("  ".join(cells).rstrip(), file=file)


def text(value: Any) -> str:
    """A number as a table has it."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e4 else f"{value:.4e}"
    return str(value)
