"""The jobs of a sweep: what is done for one line, wherever that is, and every line in a process of its own."""

import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from ebm_cli import console
from ebm_cli.config import compose
from ebm_cli.config.schema import check_signature
from ebm_cli.errors import Busy, InputError, Interrupted, Problem, RunFailed, report
from ebm_cli.runner import train
from ebm_cli.runner.experiment import Experiment
from ebm_cli.runs import run
from ebm_cli.runs.run import Run
from ebm_cli.sweeps import processes
from ebm_cli.sweeps.processes import Died, Send
from ebm_cli.sweeps.progress import SweepProgress
from ebm_cli.sweeps.slots import plan
from ebm_cli.types import Count, Follower, Natural, Positive

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
        places = [log, Path(self.path) / "train.log"] if self.path else [log]
        return next((str(place) for place in places if place.exists()), "")


@dataclass
class Job:
    """What a launcher calls with the words of a run, wherever that is. What goes wrong is in its outcome; only `Interrupted` is raised."""

    dirs: tuple[Path, ...]
    id: str  # of the sweep
    group: str
    good: tuple[str, ...] = GOOD  # how a job may end; a search takes divergence for an answer
    metric: str = "kl"  # by which its runs are compared
    best: str | float = "least"  # of that, as a metric says it
    outcomes: list[Outcome] = field(default_factory=list)  # of those that have ended, as the sweeper was told
    typed: tuple[str, ...] = field(default_factory=lambda: tuple(sys.argv))  # Hydra puts words of its own there

    def __call__(self, _: Any) -> Outcome | None:
        """As Hydra's own launchers call it, here or on another machine."""
        words = compose.words_of_job()
        print(f"\n# ebm train {' '.join(words)}", flush=True)
        return self.run(words, [console.Progress()], wait=True)

    def run(self, words: Sequence[str], followers: Sequence[Follower], *, wait: bool) -> Outcome | None:
        """One run, trained or reused; None where another process holds it and it is not to be waited for."""
        started, words, path, sys.argv = time.perf_counter(), tuple(words), "", list(self.typed)
        try:
            composed = compose.compose(words, self.dirs)
            composed.config["group"] = composed.config.get("group") or self.group
            experiment = Experiment.of(composed)
            path = str(experiment.run.path)
            train.train(experiment, composed, followers, wait=wait)
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
            return self.run(words, [EventReporter(send, log)], wait=wait)
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
        with SweepProgress(lines, slots, [one.words for one in self.outcomes]) as board:

            def see(number: int, event: Mapping[str, Any]) -> None:
                if event.get("event") == "started":
                    paths[number] = event["path"]
                elif event.get("event") == "ended" and event["result"] is not None:
                    results[number] = event["result"]
                board.see(number, event)

            tasks = [partial(self.in_process, tuple(words), log) for words, log in zip(lines, logs, strict=True)]
            try:
                processes.launch(tasks, slots, logs, see, grace_s=grace_s)
            except Interrupted as stop:
                self.outcomes += [self.outcome_of(lines[n], results[n], paths.get(n, ""), logs[n]) for n in sorted(results)]
                done = sum(one.state in GOOD for one in self.outcomes)
                raise Interrupted(stop.signal, f"{done} of {first + len(lines)} jobs are done; the same line again goes on") from None
        return [self.outcome_of(lines[n], results[n], paths.get(n, ""), logs[n]) for n in range(len(lines))]

    def outcome_of(self, words: Sequence[str], result: Outcome | Died, path: str, log: Path) -> Outcome:
        """What is known of a job that has ended. Its output is in the run's folder; where there is no run, it stays where it is."""
        if isinstance(result, Died):
            if path and (one := Run(Path(path))).state() == "interrupted":  # it could not say why itself
                with suppress(Busy), one.lock(wait=False):  # else another process is at work on it already
                    one.log(result.reason)
                    one.set_status(result.state, result.reason)
            result = Outcome(tuple(words), result.state, result.reason, path)
        if path or result.state in (*GOOD, "diverged"):
            log.unlink(missing_ok=True)
        return replace(result, path=result.path or path)


class EventReporter:
    """Tells the launcher what happens to a run, and has what is printed go to the run's own folder. A `Follower`."""

    def __init__(self, send: Send, log: Path) -> None:
        self._send, self._log = send, log

    def start(self, run: Run, config: Mapping[str, Any], step: int) -> None:
        sys.stdout.flush()
        before = self._log.read_text() if self._log.exists() else ""  # another sweep of the same line may have ended
        processes.redirect(run.path / "output.log")
        print(before, end="", flush=True)
        self._tell({"event": "started", "path": str(run.path), "n_steps": config["trainer"]["n_steps"], "step": step})

    def row(self, row: Mapping[str, Any]) -> None:
        self._tell({"event": "row", "step": row["step"], "kl": console.mean(row.get("kl"))})

    def end(self, state: str, summary: Mapping[str, Any] | None) -> None:
        pass

    def _tell(self, event: dict[str, Any]) -> None:
        with suppress(OSError):  # where the launcher was killed this process is about to be told, and to save its state
            self._send(event)
