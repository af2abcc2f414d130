"""The wrapper around loggers: it keeps their errors from ending a run, and remembers what each of them has received.

metrics.jsonl and summary.json are authoritative; a logger is a mirror of them. `mirrors.json` in the run's folder records what each logger
has received, so that repeating the command of a finished run sends it once to a logger that does not have it yet.
"""

import contextlib
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any

from ebm_cli import console
from ebm_cli.core.contracts import Logger
from ebm_cli.core.student_t import mean
from ebm_cli.runs.run import Run

MEMORY = "mirrors.json"


class GuardedLogger:
    """A `Follower` that wraps a logger. An error in the logger is reported once, and training continues without the logger."""

    def __init__(self, logger: Logger) -> None:
        self._logger, self._run, self._broken = logger, None, False

    def start(self, run: Run, config: Mapping[str, Any], step: int) -> None:
        self._run = run
        self._tell(self._logger.start, run, config, step)

    def row(self, row: Mapping[str, Any]) -> None:
        if not self._broken:
            self._tell(self._logger.row, row)

    def end(self, state: str, summary: Mapping[str, Any] | None) -> None:
        if self._run:
            self._tell(self._logger.end, state, summary)  # even after an error: the logger may hold files and processes
            if not self._broken:
                self._tell(lambda: remember(self._run, self._logger.where, seen=_truth(self._run)))

    def again(self, run: Run, config: Mapping[str, Any], summary: Mapping[str, Any]) -> None:
        """Send a run that has already ended, unless the logger has received it in its present state."""
        if recall(run, self._logger.where).get("seen") != _truth(run):
            rows = run.rows()
            self.start(run, config, rows[-1]["step"] if rows else 0)
            self.end(run.state(), summary)

    def _tell(self, method: Callable[..., None], *arguments: Any) -> None:
        try:
            method(*arguments)
        except (Exception, SystemExit) as error:
            if not self._broken:
                line = f"{self._logger.where}: {type(error).__name__}: {' '.join(str(error).split())}"
                console.say(f"warning: {line}; the run continues without this logger")
                with contextlib.suppress(OSError):
                    self._run.log(line)
            self._broken = True


def recall(run: Run, where: str) -> dict[str, Any]:
    """The facts that a logger has stored about a run."""
    return run.read(MEMORY).get(where, {})


def remember(run: Run, where: str, **facts: Any) -> None:
    """Update the facts that a logger has stored about a run."""
    run.write(MEMORY, run.read(MEMORY) | {where: recall(run, where) | facts})


def flat(row: Mapping[str, Any], first_seed: int) -> dict[str, Any]:
    """A row with one number per name and no missing values. A stack gives the mean as `loss` and each model as `loss/seed3`."""
    numbers: dict[str, Any] = {}
    for key, value in row.items():
        per_seed = value if isinstance(value, list) else []
        numbers |= {key: mean(value)} | {f"{key}/seed{first_seed + i}": number for i, number in enumerate(per_seed)}
    return {key: value for key, value in numbers.items() if value is not None}


def _truth(run: Run) -> str:
    """A hash of the results of the run, ten hexadecimal digits."""
    files = (run.path / name for name in ("metrics.jsonl", "summary.json"))
    return sha256(b"".join(file.read_bytes() for file in files if file.exists())).hexdigest()[:10]
