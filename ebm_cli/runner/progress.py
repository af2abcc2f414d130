"""The progress of one training run: a live progress bar on a terminal, plain lines elsewhere."""

import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from ebm_cli.console import SECONDS_BETWEEN_LINES, is_live, say
from ebm_cli.core.contracts import Follower, RunFolder
from ebm_cli.core.student_t import mean


class Progress(Follower):
    """Shows every new row of a run, with the first of the `tracked` numbers that has been measured."""

    def __init__(self, tracked: Mapping[str, str]) -> None:
        self._tracked, self._shown, self._live = tracked, "", None

    def start(self, run: RunFolder, config: Mapping[str, Any], step: int) -> None:
        self._title, self._n_steps, self._first_step = run.path.name, config["trainer"]["n_steps"], step
        self._started = self._last = time.perf_counter()
        if is_live():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn

            columns = (TextColumn("{task.description}", style="bold", markup=False), BarColumn(), TextColumn("{task.fields[line]}"))
            self._live = Progress(*columns, console=Console(stderr=True), transient=True)
            self._task = self._live.add_task(self._title, total=self._n_steps, completed=step, line="first steps")
            self._live.start()

    def row(self, row: Mapping[str, Any]) -> None:
        now, step = time.perf_counter(), row["step"]
        self._shown = shown(row, self._tracked) or self._shown
        speed = (step - self._first_step) / (now - self._started)
        parts = [f"step {step}/{self._n_steps}"]
        if mean(row.get("loss")) is not None:
            parts.append(f"loss {mean(row['loss']):.4g}")
        parts += [self._shown] * bool(self._shown)
        parts += [f"{speed:.0f} steps/s", f"ETA {(self._n_steps - step) / max(speed, 1e-9):.0f} s"]
        if self._live:
            with suppress(OSError):  # the terminal is gone
                self._live.update(self._task, completed=step, line="  ".join(parts))
        elif now - self._last >= SECONDS_BETWEEN_LINES or step == self._n_steps:
            self._last = now
            say(f"{self._title}: {'  '.join(parts)}")
        if step == self._n_steps:
            self._stop()

    def end(self, state: str, summary: Mapping[str, Any] | None) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._live:
            with suppress(OSError):
                self._live.stop()


def shown(row: Mapping[str, Any], tracked: Mapping[str, str]) -> str:
    """The first of the tracked numbers in a row, with its unit, such as `kl 0.0123 nats`. For a stack it is the mean."""
    for key, unit in tracked.items():
        if (value := mean(row.get(key))) is not None:
            return f"{key} {value:.4f} {unit}".rstrip()
    return ""
