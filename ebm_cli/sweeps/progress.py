"""What a person sees of a sweep while it runs: one live table on a terminal, a line for each job's end elsewhere."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ebm_cli.console import is_live, say
from ebm_cli.sweeps.slots import Slot

SECONDS_BETWEEN_LINES = 30.0  # while no job ends
AT_WORK = ("starting", "running", "measuring")  # states of a job; measuring is what follows its last step
TO_COME = ("waiting", *AT_WORK)
MOST_ENDED = 6  # jobs that have ended, of which the table still shows a row


@dataclass
class Row:
    """One job as it stands."""

    label: str
    state: str = "waiting"
    slot: str = ""
    launched: float = 0.0
    first_step: int = 0
    step: int = 0
    n_steps: int = 0  # 0: nothing was trained; the run is waited for, or was there already
    speed: float = 0.0  # steps per second
    kl: float | None = None
    reason: str = ""

    @property
    def fraction(self) -> float:
        return self.step / self.n_steps if self.n_steps else 0.0


class SweepProgress:
    """Follows the events of `launcher.launch`."""

    def __init__(self, lines: Sequence[Sequence[str]], slots: Sequence[Slot], before: Sequence[Sequence[str]] = ()) -> None:
        """`before`: the lines of batches that have ended, from which these are told apart too."""
        self.rows = [Row(label) for label in labels([*before, *lines])[len(before) :]]
        self._started = self._last = time.monotonic()
        self._live = None
        kinds = {str(slot): list(map(str, slots)).count(str(slot)) for slot in slots}
        say(f"{len(lines)} jobs on {', '.join(f'{kind} x {n}' if n > 1 else kind for kind, n in kinds.items())}")

    def __enter__(self) -> "SweepProgress":
        if is_live():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(get_renderable=self._table, console=Console(stderr=True), transient=True, auto_refresh=False)
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live:
            self._live.stop()

    def see(self, number: int, event: Mapping[str, Any]) -> None:
        """An event of one job; -1 for none in particular."""
        now = time.monotonic()
        if number >= 0:
            self._note(self.rows[number], event, now)
        if self._live:
            if number < 0:
                self._live.refresh()
        elif event.get("event") == "ended" and event["result"] is not None:
            self._last = now
            say(f"[{self._counts()['ended']}/{len(self.rows)}] {self._line(self.rows[number], now)}{self._eta()}")
        elif now - self._last > SECONDS_BETWEEN_LINES:
            self._last = now
            running = "; ".join(self._line(row, now) for row in self.rows if row.state in AT_WORK[1:])
            say(f"[{self._counts()['ended']}/{len(self.rows)}] {running or 'waiting'}{self._eta()}")

    def _note(self, row: Row, event: Mapping[str, Any], now: float) -> None:
        kind = event["event"]
        if kind == "launched":
            row.state, row.slot, row.launched = "starting", event["slot"], now
        elif kind == "started":
            row.state, row.n_steps, row.first_step, row.step, row.launched = "running", event["n_steps"], event["step"], event["step"], now
        elif kind == "row":
            row.step, row.kl = event["step"], row.kl if event["kl"] is None else event["kl"]
            row.state = "measuring" if row.step == row.n_steps else "running"
            row.speed = (row.step - row.first_step) / max(now - row.launched, 1e-9)
        elif kind == "ended":
            result = event["result"]
            row.state, row.reason = (result.state, result.reason.partition("\n")[0]) if result else ("waits for another process", "")

    def _counts(self) -> dict[str, int]:
        ended = [row for row in self.rows if row.state not in (*TO_COME, "waits for another process")]
        return {"ended": len(ended), "failed": sum(row.state != "finished" for row in ended)}

    def _eta(self) -> str:
        """From the work done since the start; runs that were there already are no work."""
        trained = [row for row in self.rows if row.n_steps]
        done = sum((row.step - row.first_step) / row.n_steps for row in trained)
        left = sum(1 - row.fraction for row in self.rows if row.state in TO_COME)
        seconds = (time.monotonic() - self._started) * left / done if done else 0.0
        return f"  (ETA {seconds:.0f} s)" if seconds >= 1 else ""

    def _line(self, row: Row, now: float) -> str:
        parts = [f"{row.label}: {row.state}"]
        if row.state in AT_WORK:
            parts.append(f"step {row.step}/{row.n_steps}")
        elif row.n_steps:
            parts.append(f"in {now - row.launched:.0f} s")
        if row.reason:
            parts.append(row.reason)
        return "  ".join([*parts, *([f"KL {row.kl:.4f} nats"] if row.kl is not None else [])])

    def _table(self) -> Any:
        from rich.table import Table

        counts = self._counts()
        failed = f", {counts['failed']} not well" if counts["failed"] else ""
        table = Table(title=f"{counts['ended']} of {len(self.rows)} done{failed}{self._eta()}", title_justify="left", box=None)
        for head in ("job", "state", "step", "KL (nats)", "steps/s", "on"):
            table.add_column(head, justify="right" if head in ("step", "KL (nats)", "steps/s") else "left", no_wrap=True)
        ended = [row for row in self.rows if row.state not in TO_COME][-MOST_ENDED:]
        for row in (*ended, *(row for row in self.rows if row.state in AT_WORK)):
            step = f"{row.step}/{row.n_steps}" if row.n_steps else ""
            kl = f"{row.kl:.4f}" if row.kl is not None else ""
            table.add_row(row.label, row.state, step, kl, f"{row.speed:.0f}" if row.speed else "", row.slot)
        return table


def labels(lines: Sequence[Sequence[str]]) -> list[str]:
    """The words of each line that not all lines share; all of them where there is one line."""
    shared = set(lines[0]).intersection(*lines[1:]) if len(lines) > 1 else set()
    return [" ".join(word for word in words if word not in shared) or "(defaults)" for words in lines]
