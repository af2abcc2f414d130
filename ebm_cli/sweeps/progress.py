"""The progress of a sweep: a live table on a terminal, otherwise a line for each job that ends."""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ebm_cli.console import is_live, say
from ebm_cli.errors import printable

SECONDS_BETWEEN_LINES = 30.0  # between two lines while no job ends
AT_WORK = ("starting", "running", "measuring")  # states of a job; it is measuring after its last step
ELSEWHERE = "waiting for another process"
TO_COME = ("waiting", ELSEWHERE, *AT_WORK)
N_ENDED = 6  # the live table shows this many of the jobs that have ended


@dataclass
class Row:
    """The progress of a job."""

    label: str
    state: str = "waiting"
    slot: str = ""
    launched: float = 0.0
    first_step: int = 0
    step: int = 0
    n_steps: int = 0  # 0 if the job trains nothing: the run had finished, or another process trains it
    speed: float = 0.0  # steps per second
    shown: str = ""  # the last measured value of the number by which runs are compared
    reason: str = ""

    @property
    def fraction(self) -> float:
        return self.step / self.n_steps if self.n_steps else 0.0


class SweepProgress:
    """Follows the events of a sweep."""

    def __init__(self, lines: Sequence[Sequence[str]], places: Sequence[str], before: Sequence[Sequence[str]] = ()) -> None:
        """`places`: the slots in which the jobs run. `before`: the lines of earlier batches, from which the labels must differ."""
        self.rows = [Row(label) for label in labels([*before, *lines])[len(before) :]]
        self._started = self._last = time.monotonic()
        self._live = None
        counts = {place: places.count(place) for place in dict.fromkeys(places)}
        say(f"{len(lines)} jobs on {', '.join(f'{place} x {n}' if n > 1 else place for place, n in counts.items())}")

    def __enter__(self) -> "SweepProgress":
        if is_live():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(get_renderable=self._table, console=Console(stderr=True), transient=True, auto_refresh=False)
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live:
            with suppress(OSError):
                self._live.stop()

    def see(self, number: int, event: Mapping[str, Any]) -> None:
        """Update the view after an event of the job `number`; -1 is a tick without an event."""
        now = time.monotonic()
        if number >= 0:
            self._update(self.rows[number], event, now)
        if self._live:
            if number < 0:
                with suppress(OSError):  # the terminal is gone
                    self._live.refresh()
        elif event.get("event") == "ended" and event["result"] is not None:
            self._last = now
            say(f"[{self._counts()['ended']}/{len(self.rows)}] {self._line(self.rows[number], now)}{self._eta()}")
        elif now - self._last > SECONDS_BETWEEN_LINES:
            self._last = now
            running = "; ".join(self._line(row, now) for row in self.rows if row.state in AT_WORK[1:])
            say(f"[{self._counts()['ended']}/{len(self.rows)}] {running or 'waiting'}{self._eta()}")

    def _update(self, row: Row, event: Mapping[str, Any], now: float) -> None:
        kind = event["event"]
        if kind == "launched":
            row.state, row.slot, row.launched = "starting", event["slot"], now
        elif kind == "started":
            row.state, row.n_steps, row.first_step, row.step, row.launched = "running", event["n_steps"], event["step"], event["step"], now
        elif kind == "row":
            row.step, row.shown = event["step"], event["shown"] or row.shown
            row.state = "measuring" if row.step == row.n_steps else "running"
            row.speed = (row.step - row.first_step) / max(now - row.launched, 1e-9)
        elif kind == "busy":
            row.state = ELSEWHERE
        elif kind == "ended":
            result = event["result"]
            row.state, row.reason = (result.state, result.reason.partition("\n")[0]) if result else (ELSEWHERE, "")

    def _counts(self) -> dict[str, int]:
        ended = [row for row in self.rows if row.state not in TO_COME]
        return {"ended": len(ended), "failed": sum(row.state != "finished" for row in ended)}

    def _eta(self) -> str:
        """The estimated time left, from the work done since the start. Runs that had finished before are no work.

        Of the jobs that wait, the same share is expected to have finished before as of those that were looked at.
        """
        trained = [row for row in self.rows if row.n_steps]
        done = sum((row.step - row.first_step) / row.n_steps for row in trained)
        stored = sum(not row.n_steps for row in self.rows if row.state not in TO_COME)
        share = len(trained) / max(len(trained) + stored, 1)
        left = sum((1 - row.fraction) * (share if row.state == "waiting" else 1) for row in self.rows if row.state in TO_COME)
        seconds = (time.monotonic() - self._started) * left / done if done else 0.0
        return f"  (ETA {seconds:.0f} s)" if seconds >= 1 else ""

    def _line(self, row: Row, now: float) -> str:
        parts = [f"{row.label}: {row.state}"]
        if row.state in AT_WORK:
            parts.append(f"step {row.step}/{row.n_steps}")
        elif row.n_steps:
            parts.append(f"in {now - row.launched:.0f} s")
        return "  ".join([*parts, *filter(None, (row.reason, row.shown))])

    def _table(self) -> Any:
        from rich.table import Table
        from rich.text import Text

        counts = self._counts()
        failed = f", {counts['failed']} failed" if counts["failed"] else ""
        table = Table(title=f"{counts['ended']} of {len(self.rows)} done{failed}{self._eta()}", title_justify="left", box=None)
        for head in ("job", "state", "step", "measured", "steps/s", "on"):
            table.add_column(head, justify="right" if head in ("step", "steps/s") else "left", no_wrap=True)
        ended = [row for row in self.rows if row.state not in TO_COME][-N_ENDED:]
        for row in (*ended, *(row for row in self.rows if row.state in AT_WORK)):
            step = f"{row.step}/{row.n_steps}" if row.n_steps else ""
            cells = row.label, row.state, step, row.shown, f"{row.speed:.0f}" if row.speed else "", row.slot
            table.add_row(*(Text(printable(cell)) for cell in cells))  # text such as metric=[kl] is no markup
        return table


def labels(lines: Sequence[Sequence[str]]) -> list[str]:
    """The overrides of each line that not all lines share, or all overrides if there is only one line."""
    common = set(lines[0]).intersection(*lines[1:]) if len(lines) > 1 else set()
    return [" ".join(word for word in words if word not in common) or "(defaults)" for words in lines]
