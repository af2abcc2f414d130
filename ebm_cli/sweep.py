"""A sweep: the runs of one line. What each of its jobs does, what it remembers, and the table at its end.

A sweep is named by its line, so that the same line typed again is the same sweep: what is finished is reused, the rest goes on.
"""

import json
import os
import re
import shlex
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from ebm_cli import config, console, evaluation, launcher, run, training
from ebm_cli.board import Board, labels
from ebm_cli.errors import Busy, InputError, Interrupted, Problem, RunFailed, report
from ebm_cli.experiment import Experiment
from ebm_cli.launcher import Died, Send
from ebm_cli.run import Run
from ebm_cli.schema import check_signature
from ebm_cli.signals import Stop
from ebm_cli.slots import plan
from ebm_cli.types import Count, Follower, Natural, Positive

OUTSIDE = re.compile(r"[+~]*(hydra[./]|device=|force=|group=|logger[.=]|metric[.=]|name=|sweep\.|tags=)")  # words that change no run
SHOWN = ("nll", "sliced_wasserstein", "train_seconds")  # beside the metric that is sorted by
GOOD = ("finished",)


def local(gpus: Literal["auto"] | Natural | list[Natural | str], jobs_per_gpu: Count, cpu_jobs: Count | None, grace_s: Positive) -> None:
    """The settings of `hydra/launcher=gpu`, as a signature."""


@dataclass(frozen=True)
class Outcome:
    """How one job ended: finished, diverged, failed, refused, interrupted."""

    words: tuple[str, ...]
    state: str
    reason: str = ""
    path: str = ""  # of the run; "" where none was made
    seconds: float = 0.0  # that the job took

    @property
    def summary(self) -> dict[str, Any]:
        return Run(Path(self.path)).read("summary.json") if self.path else {}

    def where(self, log: Path) -> str:
        """The file to look into."""
        return str(log if log.exists() or not self.path else Path(self.path) / "train.log")


@dataclass
class Job:
    """What a launcher calls with the words of a run, wherever that is. What goes wrong is in its outcome; only `Interrupted` is raised."""

    dirs: tuple[Path, ...]
    id: str  # of the sweep
    group: str
    good: tuple[str, ...] = GOOD  # how a job may end; a search takes divergence for an answer
    outcomes: list[Outcome] = field(default_factory=list)  # of those that have ended, as the sweeper was told
    typed: tuple[str, ...] = field(default_factory=lambda: tuple(sys.argv))  # Hydra puts words of its own there

    def __call__(self, _: Any) -> Outcome | None:
        """As Hydra's own launchers call it, here or on another machine."""
        words = config.words_of_job()
        print(f"\n# ebm train {' '.join(words)}", flush=True)
        return self.run(words, [console.Progress()], wait=True)

    def run(self, words: Sequence[str], followers: Sequence[Follower], *, wait: bool) -> Outcome | None:
        """One run, trained or reused; None where another process holds it and it is not to be waited for."""
        started, words, path, sys.argv = time.perf_counter(), tuple(words), "", list(self.typed)
        try:
            composed = config.compose(words, self.dirs)
            composed.config["group"] = composed.config.get("group") or self.group
            experiment = Experiment.of(composed)
            path = str(experiment.run.path)
            training.train(experiment, composed, followers, wait=wait)
            state, reason = "finished", ""
        except Busy:
            return None
        except InputError as error:
            report(error.problems, 2)
            state, reason = "refused", str(error)
        except RunFailed as error:
            report(error.problems, 1)
            state, reason = ("diverged" if experiment.run.state() == "diverged" else "failed"), str(error)
        except (Exception, SystemExit) as error:
            traceback.print_exc()
            state, reason = "failed", f"{type(error).__name__}: {error}"
        return Outcome(words, state, reason, path, time.perf_counter() - started)

    def in_process(self, words: Sequence[str], log: Path, send: Send, wait: bool) -> Outcome | None:
        """The same in a process of its own, which tells its launcher what happens."""
        try:
            return self.run(words, [Teller(send, log)], wait=wait)
        except Interrupted as stop:
            return Outcome(tuple(words), "interrupted", f"signal {stop.signal}")

    def launch(self, lines: Sequence[Sequence[str]], settings: Mapping[str, Any], first: int) -> list[Outcome]:
        """Every line in a process of its own, as many at once as there are slots. `settings`: of `hydra/launcher=gpu`."""
        problems: list[Problem] = []
        settings = check_signature(local, dict(settings), "hydra.launcher", problems)
        if problems:
            raise InputError(*problems)
        if settings["gpus"] == "auto" and all("device=cpu" in words for words in lines):
            settings["gpus"] = 0
        grace_s, slots = settings.pop("grace_s"), plan(**settings)
        folder = run.outputs() / "sweeps" / self.id
        logs = [folder / f"{first + number}.log" for number in range(len(lines))]
        paths: dict[int, str] = {}
        results: dict[int, Any] = {}
        with Board(lines, slots, [one.words for one in self.outcomes]) as board:

            def see(number: int, event: Mapping[str, Any]) -> None:
                if event.get("event") == "started":
                    paths[number] = event["path"]
                elif event.get("event") == "ended" and event["result"] is not None:
                    results[number] = event["result"]
                board.see(number, event)

            tasks = [partial(self.in_process, tuple(words), log) for words, log in zip(lines, logs, strict=True)]
            try:
                launcher.launch(tasks, slots, logs, see, grace_s=grace_s)
            except Interrupted as stop:
                self.outcomes += [self.outcome_of(lines[n], results[n], paths.get(n, ""), logs[n]) for n in sorted(results)]
                done = sum(one.state in GOOD for one in self.outcomes)
                raise Interrupted(stop.signal, f"{done} of {first + len(lines)} jobs are done; the same line again goes on") from None
        return [self.outcome_of(lines[n], results[n], paths.get(n, ""), logs[n]) for n in range(len(lines))]

    def outcome_of(self, words: Sequence[str], result: Outcome | Died, path: str, log: Path) -> Outcome:
        """What is known of a job that has ended. Its output is in the run's folder; where there is no run, it stays where it is."""
        if isinstance(result, Died):
            if path and (one := Run(Path(path))).state() == "interrupted":  # it could not say why itself
                one.log(result.reason)
                one.set_status(result.state, result.reason)
            result = Outcome(tuple(words), result.state, result.reason, path)
        if path or result.state in (*GOOD, "diverged"):
            log.unlink(missing_ok=True)
        return replace(result, path=result.path or path)


class Teller:
    """Tells the launcher what happens to a run, and has what is printed go to the run's own folder. A `Follower`."""

    def __init__(self, send: Send, log: Path) -> None:
        self._send, self._log = send, log

    def start(self, run: Run, config: Mapping[str, Any], step: int) -> None:
        sys.stdout.flush()
        before = self._log.read_text() if self._log.exists() else ""  # another sweep of the same line may have ended
        launcher.redirect(run.path / "output.log")
        print(before, end="", flush=True)
        self._send({"event": "started", "path": str(run.path), "n_steps": config["trainer"]["n_steps"], "step": step})

    def row(self, row: Mapping[str, Any]) -> None:
        self._send({"event": "row", "step": row["step"], "kl": console.mean(row.get("kl"))})

    def end(self, state: str, summary: Mapping[str, Any] | None) -> None:
        pass


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
        return None if self.mean(key) is None else evaluation.interval(self.values(key))

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
    metric: str
    direction: str  # min or max

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
        sign = 1 if self.direction == "min" else -1

        def order(line: Line) -> tuple[bool, float]:
            mean = line.mean(self.metric)
            return mean is None, 0.0 if mean is None else sign * mean

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
        facts |= {"metric": self.metric, "direction": self.direction, "seconds": seconds, "time": time.time(), "best": best, "table": table}
        run.write(self.folder / "sweep.json", json.dumps(facts | {"runs": [asdict(one) for one in self.job.outcomes]}, indent=1) + "\n")

    def show(self) -> None:
        """The table, the best line to type again, and where everything is. Raises `RunFailed` where a job did not end well."""
        lines, others = self.lines(), [key for key in SHOWN if key != self.metric]
        rows = []
        for label, line in zip(labels([line.words for line in lines]), lines, strict=True):
            low_high = line.interval(self.metric)
            interval = f"[{console.text(low_high[0])}, {console.text(low_high[1])}]" if low_high else ""
            mean, n = console.text(line.mean(self.metric)), str(len(line.values(self.metric)))
            rows.append([label, line.states, n, mean, interval, *(console.text(line.mean(key)) for key in others)])
        console.table(["", "state", "n", self.metric, "95 % interval", *others], rows, right=["n", self.metric, *others])
        if lines and lines[0].mean(self.metric) is not None:
            print(f"best: {lines[0].command}")
        else:
            print(f"no run has a {self.metric!r}" + (f": there is {', '.join(known)}" if (known := numbers(self.job.outcomes)) else ""))
        print(f"Results saved to {self.folder / 'sweep.json'}", flush=True)
        if failed := [(number, one) for number, one in enumerate(self.job.outcomes) if one.state not in self.job.good]:
            names = labels([one.words for one in self.job.outcomes])
            whys = [one.reason.partition("\n")[0][:100] for _, one in failed]
            wheres = [one.where(self.folder / f"{number}.log") for number, one in failed]
            rows = [[names[number], one.state, *more] for (number, one), *more in zip(failed, whys, wheres, strict=True)]
            console.table(["job", "state", "why", "where"], rows, file=sys.stderr)
            raise RunFailed(f"{len(failed)} of {len(self.job.outcomes)} jobs did not end well", "the same line again tries these once more")


def numbers(outcomes: Sequence[Outcome]) -> list[str]:
    """What runs can be compared by."""
    return sorted({key for one in outcomes for key, value in one.summary.items() if isinstance(value, float)})


def to_type(words: Sequence[str], dirs: Sequence[Path]) -> str:
    """The line that has these words, with leave for the user's own packages and with their options."""
    allow = [f"EBM_ALLOW={shlex.quote(os.environ['EBM_ALLOW'])}"] if os.environ.get("EBM_ALLOW") else []
    return " ".join([*allow, shlex.join(["ebm", "train", *(f"--config-dir={path}" for path in dirs), *words])])


def id_of(words: Sequence[str]) -> str:
    """Eight hexadecimal digits for the words that say what is computed, in any order."""
    return sha256("\n".join(sorted(word for word in words if not OUTSIDE.match(word))).encode()).hexdigest()[:8]
