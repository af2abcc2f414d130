"""A run shown elsewhere: what a logger is told, what it has been told already, and what happens when it breaks.

metrics.jsonl and summary.json are the truth, a logger is a mirror. `mirrors.json` in the run's folder says what each has seen, so that a
finished run typed again is shown once to a logger that has not seen it.
"""

import contextlib
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any

from ebm_cli import console
from ebm_cli.runs.run import Run
from ebm_cli.types import Logger

MEMORY = "mirrors.json"


class GuardedLogger:
    """A logger that ends no training: what it raises is said once, and the run goes on without it. A `Follower`."""

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
            self._tell(self._logger.end, state, summary)  # also of a broken one, which may hold files and processes
            if not self._broken:
                self._tell(lambda: remember(self._run, self._logger.where, seen=_truth(self._run)))

    def again(self, run: Run, config: Mapping[str, Any], summary: Mapping[str, Any]) -> None:
        """A run that has ended before, where the logger has not seen it as it is now."""
        if recall(run, self._logger.where).get("seen") != _truth(run):
            rows = run.rows()
            self.start(run, config, rows[-1]["step"] if rows else 0)
            self.end(run.state(), summary)

    def _tell(self, what: Callable[..., None], *arguments: Any) -> None:
        try:
            what(*arguments)
        except (Exception, SystemExit) as error:
            if not self._broken:
                line = f"{self._logger.where}: {type(error).__name__}: {' '.join(str(error).split())}"
                console.say(f"warning: {line}; the run goes on without it")
                with contextlib.suppress(OSError):
                    self._run.log(line)
            self._broken = True


def recall(run: Run, where: str) -> dict[str, Any]:
    """What a logger has remembered of a run."""
    return run.read(MEMORY).get(where, {})


def remember(run: Run, where: str, **facts: Any) -> None:
    """Lay facts over what a logger has remembered."""
    run.write(MEMORY, run.read(MEMORY) | {where: recall(run, where) | facts})


def flat(row: Mapping[str, Any], first_seed: int) -> dict[str, Any]:
    """A row with one number for each name. Of a stack: the mean as `loss`, every model's as `loss/seed3`. What is missing is left out."""
    numbers: dict[str, Any] = {}
    for key, value in row.items():
        per_seed = value if isinstance(value, list) else []
        numbers |= {key: console.mean(value)} | {f"{key}/seed{first_seed + i}": one for i, one in enumerate(per_seed)}
    return {key: value for key, value in numbers.items() if value is not None}


def _truth(run: Run) -> str:
    """Ten hexadecimal digits for what there is to be seen."""
    files = (run.path / name for name in ("metrics.jsonl", "summary.json"))
    return sha256(b"".join(file.read_bytes() for file in files if file.exists())).hexdigest()[:10]
