"""Engines on other machines. slurm.py and ray.py submit the tasks; the tasks report their progress through files.

The machines share the outputs folder. The results of a run are in the run's folder, the events of a task are in a file beside the logs of
the sweep, and the engine itself only returns how each task ended.
"""

import json
import os
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ebm_cli.runs.run import Run
from ebm_cli.sweeps.dispatch import Died, Engine, Event
from ebm_cli.sweeps.jobs import EventReporter, Outcome, SweepTask
from ebm_cli.sweeps.processes import redirect

TICK_S = 1.0  # seconds between two polls
OURS = ("EBM_", "WANDB_")  # prefixes of the environment variables that are sent with a task
SECRET = "WANDB_API_KEY"  # never sent with a task, since a submitted task may be stored in a file


@dataclass(frozen=True)
class RemoteJob:
    """A task as it is sent to another machine, with the working directory and the environment variables that it depends on."""

    task: SweepTask
    here: str  # the working directory of the command
    environment: Mapping[str, str]
    time: float  # the time of submission

    @property
    def events(self) -> Path:
        """The file to which the task writes its events."""
        return self.task.log.with_suffix(".jsonl")

    def __call__(self) -> Outcome | None:
        """Train or reuse the run. Returns None if another process holds it. Raises `Interrupted` after saving the state."""
        for name in [name for name in os.environ if name.startswith("EBM_")]:
            del os.environ[name]
        os.environ |= self.environment
        os.chdir(self.here)  # relative paths, including EBM_OUTPUTS, keep their meaning
        redirect(self.task.log)
        facts = Run(self.task.path).read("environment.json") if self.task.path else {}
        begun = facts.get("created", 0.0) >= self.time  # this job created the run and was requeued: force applies to the first start only
        words = (*self.task.words, "force=false") if begun else self.task.words
        self.tell({"event": "launched", "slot": socket.gethostname()})
        return self.task.job.run(words, lambda tracked: EventReporter(self.tell, self.task.log, tracked), wait=False)

    def tell(self, event: Mapping[str, Any]) -> None:
        """Append an event to the file. Errors, such as a full disk, are ignored: they must not end a run."""
        with suppress(OSError), open(self.events, "a") as file:
            file.write(json.dumps(event) + "\n")

    def stopped(self, signal: int) -> Outcome:
        """The outcome of the job if a signal ended it."""
        return Outcome(self.task.words, "interrupted", f"signal {signal}")


@dataclass
class Reports:
    """Reads the file of events of a task while the task appends to it."""

    path: Path
    n_read: int = 0  # the number of bytes read so far

    def news(self) -> list[dict[str, Any]]:
        """The events since the last call. An incomplete line is left for the next call."""
        try:
            with open(self.path, "rb") as file:
                file.seek(self.n_read)
                whole = file.read().rpartition(b"\n")[0]
        except OSError:  # the task has not started
            return []
        self.n_read += len(whole) + 1 if whole else 0
        return [json.loads(line) for line in whole.splitlines()]

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)


class RemoteEngine(Engine, ABC):
    """The base of engines whose tasks report through files. A subclass submits jobs, lists those that have ended, and cancels them."""

    name: str

    def __init__(self) -> None:
        self._reports: dict[int, Reports] = {}
        self._cancelled = False

    @property
    def places(self) -> list[str]:
        return [self.name]

    @abstractmethod
    def submit(self, jobs: Mapping[int, RemoteJob]) -> None:
        """Submit these jobs."""

    @abstractmethod
    def ended(self) -> Iterator[tuple[int, Outcome | Died | None]]:
        """The jobs that have ended since the last call, with their results; None if another process held the run."""

    @abstractmethod
    def end_all(self) -> None:
        """Ask every job to save its state and end."""

    def capacity(self) -> None:
        return None

    def start(self, tasks: Iterable[tuple[int, SweepTask]]) -> None:
        environment = {name: value for name, value in os.environ.items() if name.startswith(OURS) and name != SECRET}
        jobs = {number: RemoteJob(task, os.getcwd(), environment, time.time()) for number, task in tasks}
        for number, job in jobs.items():
            job.events.parent.mkdir(parents=True, exist_ok=True)
            self._reports[number] = Reports(job.events)
            self._reports[number].remove()  # removes the events of an earlier job
        if jobs:
            self.submit(jobs)

    def poll(self) -> Iterator[tuple[int, Event]]:
        if not self._cancelled:
            time.sleep(TICK_S)
        for number, reports in self._reports.items():
            for event in reports.news():
                yield number, event
        for number, result in self.ended():
            reports = self._reports.pop(number)
            for event in reports.news():  # events written after the loop above
                yield number, event
            reports.remove()
            yield number, {"event": "ended", "result": result}
        if self._cancelled:  # the events of jobs that are still ending are no longer needed
            for reports in self._reports.values():
                reports.remove()

    def cancel(self) -> None:
        self._cancelled = True
        if self._reports:
            self.end_all()
