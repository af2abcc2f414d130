"""A sweep: the runs of a command line, the file that stores their results, and the table at the end.

The id of a sweep is derived from its line, so the same command is the same sweep. Finished runs are reused, and the others continue.
"""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from ebm_cli import console
from ebm_cli.comparison.compare import is_data
from ebm_cli.core import student_t
from ebm_cli.core.ranking import badness
from ebm_cli.errors import InputError, RunFailed, nearest
from ebm_cli.runner.line import command_of
from ebm_cli.runner.results import DIVERGED
from ebm_cli.runs.run import outputs, write
from ebm_cli.sweeps.jobs import Job, Outcome
from ebm_cli.sweeps.progress import labels
from ebm_cli.training.signals import Stop


@dataclass
class Line:
    """A row of the table: the runs that differ only in their seeds."""

    words: tuple[str, ...]  # the overrides without the seed
    outcomes: list[Outcome]
    dirs: tuple[Path, ...] = ()

    def values(self, key: str) -> list[float | None]:
        """The metric of every seed; None for a seed without a value."""
        found = []
        for outcome in self.outcomes:
            summary = outcome.summary
            found += summary.get("per_seed", {}).get(key) or [summary.get(key)]
        return [value if isinstance(value, (int, float)) else None for value in found]

    def mean(self, key: str) -> float | None:
        """The mean over seeds, or None if a seed has no value."""
        return student_t.mean(self.values(key))

    def interval(self, key: str) -> list[float] | None:
        """The 95 % Student t interval of the mean."""
        return None if self.mean(key) is None else student_t.interval(self.values(key))

    @property
    def command(self) -> str:
        """The command that reproduces these runs."""
        seeds = [word.partition("=")[2] for outcome in self.outcomes for word in outcome.words if word.startswith("seed=")]
        given = [f"seed={','.join(seeds)}"] if seeds else []
        return command_of([*(["-m"] if len(seeds) > 1 else []), *self.words, *given], self.dirs)

    @property
    def states(self) -> str:
        """The state of all runs, such as `finished`, or the number of runs in each state."""
        states = [outcome.state for outcome in self.outcomes]
        return states[0] if len(set(states)) == 1 else ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))


@dataclass
class Sweep:
    """The runs of a command line and the metric by which they are compared."""

    typed: tuple[str, ...]  # the overrides as typed
    job: Job

    @property
    def metric(self) -> str:
        return self.job.metric

    @property
    def folder(self) -> Path:
        return outputs() / "sweeps" / self.job.id

    @contextmanager
    def stored(self) -> Iterator[None]:
        """Write `sweep.json` at the end of the block, however it ends, unless no job has started."""
        started, state = time.time(), "interrupted"
        try:
            with Stop().listening():
                yield
            state = "finished"
        except (InputError, RunFailed) as error:
            state = "refused" if isinstance(error, InputError) else "failed"
            raise
        finally:
            if state != "refused" and (self.job.outcomes or state != "interrupted"):
                self.save(state, time.time() - started)

    @property
    def same_data(self) -> bool:
        """Whether all runs have the same data. Otherwise no run is the best."""
        return len({tuple(word for word in outcome.words if is_data(word.partition("=")[0])) for outcome in self.job.outcomes}) == 1

    def lines(self) -> list[Line]:
        """The rows of the table, the best first and those without a value last; in the order of the jobs if their data differ."""
        groups: dict[tuple[str, ...], list[Outcome]] = {}
        for outcome in self.job.outcomes:
            words = tuple(word for word in outcome.words if not word.startswith(("seed=", "force=")))
            groups.setdefault(words, []).append(outcome)

        def order(line: Line) -> tuple[bool, float]:
            mean = line.mean(self.metric)
            return mean is None, 0.0 if mean is None else badness(mean, self.job.best)

        found = [Line(words, outcomes, self.job.dirs) for words, outcomes in groups.items()]
        return sorted(found, key=order) if self.same_data else found

    @property
    def best(self) -> str | None:
        """The command of the best line; None if no line has a value, or if the data of the lines differ."""
        lines = self.lines()
        return lines[0].command if lines and self.same_data and lines[0].mean(self.metric) is not None else None

    def save(self, state: str, seconds: float) -> None:
        """Write `sweep.json`: the command line, the best line, the table and every run."""
        self.folder.mkdir(parents=True, exist_ok=True)
        lines = self.lines()
        table = [
            {"words": line.words, "state": line.states, self.metric: line.mean(self.metric), "ci95": line.interval(self.metric)}
            | {"n": len(line.values(self.metric)), "line": line.command}
            for line in lines
        ]
        facts = {"id": self.job.id, "group": self.job.group, "state": state, "line": command_of(["-m", *self.typed], self.job.dirs)}
        facts |= {
            "metric": self.metric,
            "direction": self.job.best,
            "seconds": seconds,
            "time": time.time(),
            "best": self.best,
            "table": table,
        }
        runs = [asdict(outcome) for outcome in self.job.outcomes]
        write(self.folder / "sweep.json", json.dumps(facts | {"runs": runs}, indent=1) + "\n")

    def show(self) -> None:
        """Print the table, the best command and the path of the results. Raises `RunFailed` if a job has failed."""
        lines, headlines = self.lines(), dict.fromkeys(key for outcome in self.job.outcomes for key in outcome.summary.get("headline", ()))
        others = [key for key in (*headlines, "train_seconds") if key != self.metric and any(line.mean(key) is not None for line in lines)]
        rows = []
        for label, line in zip(labels([line.words for line in lines]), lines, strict=True):
            low_high = line.interval(self.metric)
            interval = f"[{console.text(low_high[0])}, {console.text(low_high[1])}]" if low_high else ""
            mean, n = console.text(line.mean(self.metric)), str(len(line.values(self.metric)))
            rows.append([label, line.states, n, mean, interval, *(console.text(line.mean(key)) for key in others)])
        console.table(["", "state", "n", self.metric, "95 % interval", *others], rows, right=["n", self.metric, *others])
        if self.best:
            console.show(f"best: {self.best}")
        elif lines and not self.same_data:
            console.show("no best run: the runs have different data")
        elif reason := self._reason():
            console.show(f"no best run: no run has a value of {self.metric}: {reason}")
        console.show(f"Results saved to {self.folder / 'sweep.json'}")
        self._report_failures()
        measured = [key for outcome in self.job.outcomes for key in outcome.summary]
        if measured and self.metric not in measured:
            raise RunFailed(f"sweep.metric={self.metric}: no run has this metric", nearest(self.metric, numbers(self.job.outcomes)))

    def _reason(self) -> str:
        """The reason for which a run that has ended has no value of the metric; "" if there is none."""
        for outcome in self.job.outcomes:
            found = outcome.summary.get("reasons", {}).get(self.metric, "")
            if reason := next(filter(None, found), "") if isinstance(found, list) else found:
                return reason
        return ""

    def _report_failures(self) -> None:
        """Print a table of the failed jobs on stderr and raise `RunFailed`, if there are any."""
        names = labels([outcome.words for outcome in self.job.outcomes]) if self.job.outcomes else []
        failed = [(number, outcome) for number, outcome in enumerate(self.job.outcomes) if outcome.state not in self.job.good]
        if not failed:
            return
        rows = [
            [names[number], outcome.state, outcome.reason.partition("\n")[0][:100], outcome.where(self.folder / f"{number}.log")]
            for number, outcome in failed
        ]
        console.table(["job", "state", "reason", "see"], rows, file=sys.stderr)
        hint = "the same command tries them again"
        if all(outcome.state == "diverged" for _, outcome in failed):
            hint = f"{DIVERGED}; force=true trains them again"
        raise RunFailed(f"{len(failed)} of {len(self.job.outcomes)} jobs failed", hint)


def numbers(outcomes: Sequence[Outcome]) -> list[str]:
    """The names of the numbers by which the runs can be compared."""
    return sorted({key for outcome in outcomes for key, value in outcome.summary.items() if isinstance(value, float)})
