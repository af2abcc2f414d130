"""The jobs of a sweep: the work for a single line on any machine, and the dispatch of all lines of a sweep."""

import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TextIO

from ebm_cli import console
from ebm_cli.config import compose
from ebm_cli.config.roles import DRAWS, MEASURES, new_labels, with_role
from ebm_cli.core.contracts import Follower, RunFolder
from ebm_cli.errors import Busy, InputError, Interrupted, RunFailed, report
from ebm_cli.io import inside
from ebm_cli.runner.experiment import Experiment
from ebm_cli.runner.line import compose_line
from ebm_cli.runner.progress import Progress, shown
from ebm_cli.runner.train import train
from ebm_cli.runs.run import Run, outputs
from ebm_cli.sweeps.dispatch import BUSY, Died, Engine, Event, Send, dispatch
from ebm_cli.sweeps.processes import redirect
from ebm_cli.sweeps.progress import SweepProgress
from ebm_cli.types import Best

GOOD = ("finished",)
MakeFollower = Callable[[Mapping[str, str]], Follower]  # takes the numbers that a run tracks, with their units


@dataclass(frozen=True)
class Outcome:
    """How a job ended: finished, diverged, failed, refused or interrupted."""

    words: tuple[str, ...]
    state: str
    reason: str = ""
    path: str = ""  # the folder of the run; "" if none was created
    seconds: float = 0.0  # the duration of the job

    @property
    def summary(self) -> dict[str, Any]:
        return Run(Path(self.path)).read("summary.json") if self.path else {}

    def where(self, log: Path) -> str:
        """The path of the log file with the details, or "" if there is none."""
        places = [log, Path(self.path) / "train.log"] if self.path else [log]
        return next((str(place) for place in places if place.exists()), "")


@dataclass
class Job:
    """The function that a launcher calls with the overrides of a run. Failures are stored in the outcome; only `Interrupted` is raised."""

    dirs: tuple[Path, ...]
    id: str  # the id of the sweep
    group: str
    good: tuple[str, ...] = GOOD  # the states that are not failures; a search accepts divergence
    metric: str = "kl"  # the number by which runs are compared
    best: Best = "min"  # which value of the metric is best
    outcomes: list[Outcome] = field(default_factory=list)  # of the jobs that have ended, in the order of the sweeper
    typed: tuple[str, ...] = field(default_factory=lambda: tuple(sys.argv))  # the original command line; Hydra appends to sys.argv

    def __call__(self, _: Any) -> Outcome | None:
        """The entry point for Hydra's own launchers, on this or another machine."""
        words = compose.words_of_job()
        console.show(f"\n# ebm train {' '.join(words)}")
        return self.run(words, Progress, wait=True)

    def run(self, words: Sequence[str], follower: MakeFollower, *, wait: bool) -> Outcome | None:
        """Train or reuse the run. Returns None if another process holds the run and `wait` is false."""
        started, words, path, sys.argv = time.perf_counter(), tuple(words), "", list(self.typed)
        try:
            composed = compose_line(words, self.dirs)
            composed.config["group"] = composed.config.get("group") or self.group
            experiment = Experiment.of(composed)
            path = str(experiment.run.path)
            train(experiment, composed, [follower(experiment.tracked())], wait=wait)
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

    def launch(self, lines: Sequence[Sequence[str]], first: int, engine: Engine) -> list[Outcome]:
        """The outcome of every line, in order. Runs that have finished or that another process trains do not occupy a slot."""
        folder = outputs() / "sweeps" / self.id
        logs = [folder / f"{first + number}.log" for number in range(len(lines))]
        sent = replace(self, outcomes=[])
        tasks = [SweepTask(sent, tuple(words), log) for words, log in zip(lines, logs, strict=True)]
        outcomes: dict[int, Outcome] = {}
        results: dict[int, Any] = {}
        with SweepProgress(lines, engine.places, [outcome.words for outcome in self.outcomes]) as progress:

            def see(number: int, event: Event) -> None:
                if event.get("event") == "started":
                    tasks[number].started = True
                elif event.get("event") == "ended" and event["result"] is not None:
                    outcomes[number] = self.outcome_of(tasks[number], event["result"])
                    event = {"event": "ended", "result": outcomes[number]}
                progress.see(number, event)

            try:
                dispatch(tasks, engine, see, results, known=lambda number: known(self, tasks[number]))
            except Interrupted as stop:
                self.outcomes += [outcomes[number] for number in sorted(outcomes)]
                done = sum(outcome.state in GOOD for outcome in self.outcomes)
                ending = f"{stop.hint}; " if stop.hint else ""
                hint = f"{done} of {first + len(lines)} jobs are done; {ending}the same command continues the others"
                raise Interrupted(stop.signal, hint) from None
        return [outcomes[number] for number in range(len(lines))]

    def outcome_of(self, task: "SweepTask", result: Outcome | Died) -> Outcome:
        """The outcome of a job that has ended. The sweep's log is removed if the run's folder holds the output of the job."""
        run = Run(task.path) if task.started else None
        if isinstance(result, Died):
            if run and run.state() == "interrupted":  # the job could not record the reason itself
                with suppress(Busy), run.lock(wait=False):  # Busy: another process has already taken over the run
                    run.log(result.reason)
                    run.set_status(result.state, result.reason)
            elif not run and (result.state == "failed" or task.log.exists()):
                with task.appending() as file:
                    file.write(f"{result.reason}\n")
            result = Outcome(task.words, result.state, result.reason)
        if run or result.state in (*GOOD, "diverged"):
            task.log.unlink(missing_ok=True)
        return replace(result, path=result.path or (str(run.path) if run else ""))


@dataclass
class SweepTask:
    """A line of a sweep as a task of an engine."""

    job: Job
    words: tuple[str, ...]
    log: Path
    path: Path | None = None  # the folder of the run, once known
    started: bool = False

    def __call__(self, send: Send) -> Outcome | None:
        """Train or reuse the run and report its progress through `send`."""
        try:
            return self.job.run(self.words, lambda tracked: EventReporter(send, self.log, tracked), wait=False)
        except Interrupted as stop:
            return Outcome(self.words, "interrupted", f"signal {stop.signal}")

    def appending(self) -> TextIO:
        """The log of the task, opened for appending."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        return open(self.log, "a")


class EventReporter(Follower):
    """Reports the progress of a run and redirects the output of this process into the run's folder."""

    def __init__(self, send: Send, log: Path, tracked: Mapping[str, str]) -> None:
        self._send, self._log, self._tracked = send, log, tracked

    def start(self, run: RunFolder, config: Mapping[str, Any], step: int) -> None:
        sys.stdout.flush()
        before = self._log.read_text() if self._log.exists() else ""  # another sweep of the same line may have removed it
        inside.unshare(run.path, run.path / "output.log")
        redirect(run.path / "output.log")
        sys.stdout.write(before)
        sys.stdout.flush()
        self._report({"event": "started", "path": str(run.path), "n_steps": config["trainer"]["n_steps"], "step": step})

    def row(self, row: Mapping[str, Any]) -> None:
        self._report({"event": "row", "step": row["step"], "shown": shown(row, self._tracked)})

    def end(self, state: str, summary: Mapping[str, Any] | None) -> None:
        """Reports nothing: the result of the task says how the job ended."""

    def _report(self, event: dict[str, Any]) -> None:
        with suppress(OSError):  # the launcher was killed; this process will soon notice and save its state
            self._send(event)


def known(job: Job, task: SweepTask) -> Any:
    """The outcome of a line if nothing is left to do, BUSY if another process trains its run, None otherwise."""
    if task.path and Run(task.path).state() == "running":
        return BUSY
    try:
        run, config, _ = Experiment.named(compose_line(task.words, job.dirs))
        task.path = run.path
        if run.state() == "running":
            return BUSY
        if run.state() != "finished" or config["force"] or config["logger"] or new_labels(config, run.config()):
            return None
        measured_with = run.read("summary.json").get("measured_with", {})
    except InputError as error:
        with task.appending() as file, redirect_stderr(file):
            report(error.problems, 2)
        return Outcome(task.words, "refused", str(error))
    except Exception:  # raised by a component: the job raises it again in its own process and reports it there
        return None
    config["metric"] = measured_with.get("metric", {}) | config["metric"]
    return Outcome(task.words, "finished", "", str(run.path)) if with_role(config, DRAWS, MEASURES) == measured_with else None
