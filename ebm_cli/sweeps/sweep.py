"""A sweep: the runs of one line. What it has_memory of them, and the table at its end.

A sweep is named by its line, so that the same line typed again is the same sweep: what is finished is reused, the rest goes on.
"""

import json
import os
import re
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from ebm_cli import console
from ebm_cli.comparison.compare import badness
from ebm_cli.config import compose, schema
from ebm_cli.core import student_t
from ebm_cli.errors import InputError, Problem, RunFailed, nearest
from ebm_cli.runner import experiment, results
from ebm_cli.runner.results import DIVERGED
from ebm_cli.runs import run
from ebm_cli.sweeps.jobs import Job, Outcome
from ebm_cli.sweeps.progress import labels
from ebm_cli.training.signals import Stop
from ebm_cli.training.trainer import pick_device

OUTSIDE = re.compile(  # words that change neither a run nor which there are
    r"[+~]*(hydra[./]launcher|hydra\.sweeper\.n_(jobs|trials)=|device=|force=|logger[.=]|metric[.=]|name=|sweep\.|tags=)"
)


@dataclass
class Lines:
    """The lines of a sweep as they are checked before its first run: each by itself, and against those before it."""

    dirs: tuple[Path, ...]
    here: bool  # whether they run on this machine: another one may have another device
    first: dict[str, Any] = field(default_factory=dict)  # the config of the first
    best: str | float = "least"  # of the metric that they are compared by
    _runs: dict[str, Sequence[str]] = field(default_factory=dict)  # by what they compute
    _seeds: dict[tuple[str, ...], dict[int, str]] = field(default_factory=dict)  # by the rest of the line
    _data: set[str] = field(default_factory=set)

    def check(self, line: Sequence[str]) -> list[Problem]:
        """What is wrong with a line."""
        try:
            composed = compose.compose(line, self.dirs)
            typed = experiment.check(composed)
            if self.here:
                pick_device(typed["device"])
            if (data := json.dumps(typed["dataset"])) not in self._data:
                _ = schema.build(typed["dataset"]).standardization  # a file is read
                self._data.add(data)
        except InputError as error:
            return list(error.problems)
        metrics = {name: schema.build(node) for name, node in typed["metric"].items()}
        metric, direction = typed["sweep"]["metric"], typed["sweep"]["direction"]
        if metric not in (known := results.numbers(metrics)):
            return [Problem(f"sweep.metric={metric}: no run will have it", nearest(metric, known))]
        best = results.best(metrics).get(metric) if direction is None else {"min": "least", "max": "greatest"}[direction]
        if best is None:
            return [Problem(f"sweep.metric={metric}: no value of it is better than another", "sweep.direction=min, or max")]
        self.best = best
        self.first = self.first or composed.config
        other = self._runs.setdefault(run.identity(typed), line)
        if other is not line:
            return [self._twins(line, other)]
        seeds = range(typed["seed"], typed["seed"] + (typed["seeds"] or 1))
        taken = self._seeds.setdefault(tuple(word for word in line if not word.startswith("seed=")), {})
        double = [seed for seed in seeds if taken.setdefault(seed, f"seed={typed['seed']}") != f"seed={typed['seed']}"]
        if double:
            words = f"{taken[double[0]]} and seed={typed['seed']} with seeds={typed['seeds']}"
            return [Problem(f"{words}: seed {double[0]} would count twice", f"seeds {typed['seeds']} apart do not overlap")]
        return []

    def _twins(self, line: Sequence[str], other: Sequence[str]) -> Problem:
        """Two lines that train the same."""
        changed = [word for word, before in zip(line, other, strict=True) if word != before]
        if not changed:
            return Problem("a value stands twice in this sweep", "each value once")
        before = next(word for word, after in zip(other, line, strict=True) if word != after)
        hint = "take it out of the sweep"
        if changed[0].startswith(("draws.", "metric", "sampler")):
            hint = f"`ebm evaluate RUN {changed[0].removeprefix('draws.')}` measures a run in another way"
        return Problem(f"{before} and {changed[0]} train the same run", hint)


@dataclass
class Line:
    """What differs between the rows of the table: runs that differ by their seed alone stand in one."""

    words: tuple[str, ...]  # without a seed
    outcomes: list[Outcome]
    dirs: tuple[Path, ...] = ()

    def values(self, key: str) -> list[float | None]:
        """A metric of every seed; None where there is none."""
        found = []
        for one in self.outcomes:
            summary = one.summary
            found += summary.get("per_seed", {}).get(key) or [summary.get(key)]
        return [value if isinstance(value, (int, float)) else None for value in found]

    def mean(self, key: str) -> float | None:
        """Over the seeds; one without a number leaves the mean without one: a mean over those that did well would flatter."""
        return console.mean(self.values(key))

    def interval(self, key: str) -> list[float] | None:
        """The 95 % Student t interval of the mean."""
        return None if self.mean(key) is None else student_t.interval(self.values(key))

    @property
    def command(self) -> str:
        """The line that makes these runs again."""
        seeds = [word.partition("=")[2] for one in self.outcomes for word in one.words if word.startswith("seed=")]
        given = [f"seed={','.join(seeds)}"] if seeds else []
        return to_type([*(["-m"] if len(seeds) > 1 else []), *self.words, *given], self.dirs)

    @property
    def states(self) -> str:
        """`finished`, or how many are not."""
        states = [one.state for one in self.outcomes]
        return states[0] if len(set(states)) == 1 else ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))


@dataclass
class Sweep:
    """The runs of one line, and by what they are compared."""

    typed: tuple[str, ...]  # the line's words
    job: Job

    @property
    def metric(self) -> str:
        return self.job.metric

    @property
    def folder(self) -> Path:
        return run.outputs() / "sweeps" / self.job.id

    @contextmanager
    def kept(self) -> Iterator[None]:
        """`sweep.json` says what is known, however it ends; where nothing was begun there is none."""
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

    def lines(self) -> list[Line]:
        """The best first; those without the number last."""
        groups: dict[tuple[str, ...], list[Outcome]] = {}
        for one in self.job.outcomes:
            groups.setdefault(tuple(word for word in one.words if not word.startswith(("seed=", "force="))), []).append(one)

        def order(line: Line) -> tuple[bool, float]:
            mean = line.mean(self.metric)
            return mean is None, 0.0 if mean is None else badness(mean, self.job.best)

        return sorted((Line(words, outcomes, self.job.dirs) for words, outcomes in groups.items()), key=order)

    def save(self, state: str, seconds: float) -> None:
        """`sweep.json`: the line, the best line, and every run."""
        self.folder.mkdir(parents=True, exist_ok=True)
        lines = self.lines()
        best = lines[0].command if lines and lines[0].mean(self.metric) is not None else None
        table = [
            {"words": line.words, "state": line.states, self.metric: line.mean(self.metric), "ci95": line.interval(self.metric)}
            | {"n": len(line.values(self.metric)), "line": line.command}
            for line in lines
        ]
        facts = {"id": self.job.id, "group": self.job.group, "state": state, "line": to_type(["-m", *self.typed], self.job.dirs)}
        facts |= {"metric": self.metric, "direction": self.job.best, "seconds": seconds, "time": time.time(), "best": best, "table": table}
        run.write(self.folder / "sweep.json", json.dumps(facts | {"runs": [asdict(one) for one in self.job.outcomes]}, indent=1) + "\n")

    def show(self) -> None:
        """The table, the best line to type again, and where everything is. Raises `RunFailed` where a job did not end well."""
        lines, headlines = self.lines(), dict.fromkeys(key for one in self.job.outcomes for key in one.summary.get("headline", ()))
        others = [key for key in (*headlines, "train_seconds") if key != self.metric]
        rows = []
        for label, line in zip(labels([line.words for line in lines]), lines, strict=True):
            low_high = line.interval(self.metric)
            interval = f"[{console.text(low_high[0])}, {console.text(low_high[1])}]" if low_high else ""
            mean, n = console.text(line.mean(self.metric)), str(len(line.values(self.metric)))
            rows.append([label, line.states, n, mean, interval, *(console.text(line.mean(key)) for key in others)])
        console.table(["", "state", "n", self.metric, "95 % interval", *others], rows, right=["n", self.metric, *others])
        if lines and lines[0].mean(self.metric) is not None:
            print(f"best: {lines[0].command}")
        print(f"Results saved to {self.folder / 'sweep.json'}", flush=True)
        if failed := [(number, one) for number, one in enumerate(self.job.outcomes) if one.state not in self.job.good]:
            names = labels([one.words for one in self.job.outcomes])
            whys = [one.reason.partition("\n")[0][:100] for _, one in failed]
            wheres = [one.where(self.folder / f"{number}.log") for number, one in failed]
            rows = [[names[number], one.state, *more] for (number, one), *more in zip(failed, whys, wheres, strict=True)]
            console.table(["job", "state", "why", "where"], rows, file=sys.stderr)
            again = "the same line again tries these once more"
            if all(one.state == "diverged" for _, one in failed):
                again = f"{DIVERGED}; force=true trains them anew"
            raise RunFailed(f"{len(failed)} of {len(self.job.outcomes)} jobs did not end well", again)
        known = [key for one in self.job.outcomes for key in one.summary]
        if known and self.metric not in known:
            raise RunFailed(f"sweep.metric={self.metric}: no run has it", nearest(self.metric, numbers(self.job.outcomes)))


def numbers(outcomes: Sequence[Outcome]) -> list[str]:
    """What runs can be compared by."""
    return sorted({key for one in outcomes for key, value in one.summary.items() if isinstance(value, float)})


def to_type(words: Sequence[str], dirs: Sequence[Path]) -> str:
    """The line that has these words, with leave for the user's own packages and with their options."""
    allow = [f"EBM_ALLOW={shlex.quote(os.environ['EBM_ALLOW'])}"] if os.environ.get("EBM_ALLOW") else []
    return " ".join([*allow, shlex.join(["ebm", "train", *(f"--config-dir={path}" for path in dirs), *words])])


def id_of(words: Sequence[str], dirs: Sequence[Path] = ()) -> str:
    """Eight hexadecimal digits for the words that say what is computed, in any order, for the group, and for the user's own options."""
    counted = [*(word for word in words if not OUTSIDE.match(word)), *(f"--config-dir={path.resolve()}" for path in dirs)]
    return sha256("\n".join(sorted(counted)).encode()).hexdigest()[:8]
