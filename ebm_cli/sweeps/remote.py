"""The jobs of a sweep on other machines. An engine brings them there: `engines/slurm.py`, `engines/ray.py`.

The outputs folder is shared between the machines: what happens to a run is in its own folder, and what an engine brings back is only how
each job ended.
"""

import json
import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from ebm_cli.config import compose
from ebm_cli.errors import InputError, Interrupted
from ebm_cli.runner.experiment import Experiment
from ebm_cli.runs import run
from ebm_cli.runs.run import Run
from ebm_cli.sweeps import processes
from ebm_cli.sweeps.jobs import GOOD, EventReporter, Job, Outcome
from ebm_cli.sweeps.processes import Died
from ebm_cli.sweeps.progress import SweepProgress
from ebm_cli.training.signals import Stop

TICK_S = 1.0
OURS = ("EBM_", "WANDB_")  # what of the environment goes along
SECRET = "WANDB_API_KEY"  # stays: what travels may lie in a file


@dataclass(frozen=True)
class RemoteJob:
    """A job as it travels, with all by which the place where its line was typed differs from others."""

    job: Job
    words: tuple[str, ...]
    path: Path  # of its run
    log: Path
    here: str
    environment: Mapping[str, str]
    time: float  # when it was sent

    @property
    def events(self) -> Path:
        """The file in which the place where the job runs tells the place where its line was typed what happens."""
        return self.log.with_suffix(".jsonl")

    def __call__(self) -> Outcome | None:
        """One run, trained or reused; None where another process holds it. Raises `Interrupted`, with the state saved."""
        for name in [name for name in os.environ if name.startswith("EBM_")]:
            del os.environ[name]
        os.environ |= self.environment
        os.chdir(self.here)  # relative paths, EBM_OUTPUTS among them, mean the same
        processes.redirect(self.log)
        begun = Run(self.path).read("environment.json").get("created", 0.0) >= self.time  # by this parcel: now it is requeued
        words = (*self.words, "force=false") if begun else self.words
        self.tell({"event": "launched", "slot": socket.gethostname()})
        return self.job.run(words, [EventReporter(self.tell, self.log)], wait=False)

    def tell(self, event: Mapping[str, Any]) -> None:
        """One line in the events; a disk that is full is no reason to end a run."""
        with suppress(OSError), open(self.events, "a") as file:
            file.write(json.dumps(event) + "\n")

    def stopped(self, signal: int) -> Outcome:
        """How it ended where a signal ended it."""
        return Outcome(self.words, "interrupted", f"signal {signal}")


class Engine(Protocol):
    """What runs parcels on other machines."""

    name: str

    def start(self, parcels: Mapping[int, RemoteJob]) -> None: ...

    def ended(self) -> Iterator[tuple[int, Outcome | Died | None]]:
        """The jobs that have ended since; None where another process held the run."""
        ...

    def cancel(self) -> None:
        """End every job, with its state saved."""
        ...


@dataclass
class Away:
    """What a job that is away has told so far."""

    path: Path
    read: int = 0  # bytes

    def news(self) -> list[dict[str, Any]]:
        """The events since; a line that is not whole yet is left for the next time."""
        try:
            with open(self.path, "rb") as file:
                file.seek(self.read)
                whole = file.read().rpartition(b"\n")[0]
        except OSError:  # it has not begun
            return []
        self.read += len(whole) + 1 if whole else 0
        return [json.loads(line) for line in whole.splitlines()]

    def forget(self) -> None:
        self.path.unlink(missing_ok=True)


@dataclass
class Dispatch:
    """The lines of a sweep on their way: those that wait for a machine, those that are away, those that have ended."""

    job: Job
    lines: Sequence[Sequence[str]]
    logs: Sequence[Path]
    engine: Engine
    board: SweepProgress
    waiting: list[int] = field(init=False)
    runs: dict[int, Run] = field(default_factory=dict)
    away: dict[int, Away] = field(default_factory=dict)
    results: dict[int, Outcome] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.waiting = list(range(len(self.lines)))
        self.sent = replace(self.job, outcomes=[])
        self.environment = {name: value for name, value in os.environ.items() if name.startswith(OURS) and name != SECRET}

    @property
    def complete(self) -> bool:
        return len(self.results) == len(self.lines)

    def turn(self) -> None:
        """What can be done now: jobs are sent, what they tell is shown, those that have ended are taken in."""
        if parcels := dict(self.ready()):
            self.engine.start(parcels)
        for number, one in self.away.items():
            for event in one.news():
                self.board.see(number, event)
        for number, result in self.engine.ended():
            if result is None:
                self.board.see(number, {"event": "ended", "result": None})
                self.waiting.append(number)
            else:
                self.end(number, result)
        self.board.see(-1, {})

    def ready(self) -> Iterator[tuple[int, RemoteJob]]:
        """Those of the waiting that nobody trains; the finished among them end here."""
        for number in list(self.waiting):
            if number in self.runs and self.runs[number].state() == "running":
                continue
            known = look(self.job, self.lines[number])
            if isinstance(known, Outcome):
                self.waiting.remove(number)
                self.end(number, known)
                continue
            self.runs[number] = known
            if known.state() != "running":
                self.waiting.remove(number)
                yield number, self.pack(number)

    def pack(self, number: int) -> RemoteJob:
        words, path, log = tuple(self.lines[number]), self.runs[number].path, self.logs[number]
        parcel = RemoteJob(self.sent, words, path, log, os.getcwd(), self.environment, time.time())
        self.away[number] = Away(parcel.events)
        self.away[number].forget()  # what an earlier one told
        return parcel

    def end(self, number: int, result: Outcome | Died) -> None:
        path = str(self.runs[number].path) if number in self.runs and self.runs[number].state() != "new" else ""
        if isinstance(result, Died) and not path:
            with open(self.logs[number], "a") as file:
                file.write(f"{result.reason}\n")
        self.results[number] = self.job.outcome_of(self.lines[number], result, path, self.logs[number])
        if number in self.away:
            self.away.pop(number).forget()
        self.board.see(number, {"event": "ended", "result": self.results[number]})

    def cancel(self) -> None:
        """Every job is told to end; what has ended before is the sweep's."""
        self.engine.cancel()
        for one in self.away.values():
            one.forget()
        self.job.outcomes += [self.results[number] for number in sorted(self.results)]


def launch(job: Job, lines: Sequence[Sequence[str]], first: int, engine: Engine) -> list[Outcome]:
    """The outcome of every line, in their order. No machine is taken for what is finished, or to wait for what another process trains."""
    folder = run.outputs() / "sweeps" / job.id
    folder.mkdir(parents=True, exist_ok=True)
    logs = [folder / f"{first + number}.log" for number in range(len(lines))]
    with SweepProgress(lines, [engine.name], [one.words for one in job.outcomes]) as board, Stop().listening():
        sweep = Dispatch(job, lines, logs, engine, board)
        try:
            while not sweep.complete:
                sweep.turn()
                time.sleep(0 if sweep.complete else TICK_S)
        except Interrupted as stop:
            sweep.cancel()
            done = sum(one.state in GOOD for one in job.outcomes)
            hint = f"{done} of {first + len(lines)} jobs are done, the others were told to end; the same line again goes on"
            raise Interrupted(stop.signal, hint) from None
    return [sweep.results[number] for number in range(len(lines))]


def look(job: Job, words: Sequence[str]) -> Outcome | Run:
    """The outcome of a line where nothing is left to do; else the run that it names."""
    try:  # the device is of no run's identity, and here may be none like it
        experiment = Experiment.of(compose.compose([*words, "device=cpu"], job.dirs))
    except InputError as error:
        return Outcome(tuple(words), "refused", str(error))
    one, now = experiment.run, experiment.config
    if one.state() != "finished" or now["force"] or now["logger"]:
        return one
    before = one.config()
    same = before["metric"] | now["metric"] == before["metric"] and all(before[key] == now[key] for key in ("draws", "sampler"))
    return Outcome(tuple(words), "finished", "", str(one.path)) if same else one
