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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from ebm_cli import config, launcher, run
from ebm_cli.board import Board
from ebm_cli.errors import InputError, Interrupted
from ebm_cli.experiment import Experiment
from ebm_cli.jobs import GOOD, Job, Outcome, Teller
from ebm_cli.launcher import Died
from ebm_cli.run import Run
from ebm_cli.signals import Stop

TICK_S = 1.0
OURS = ("EBM_", "WANDB_")  # what of the environment goes along
SECRET = "WANDB_API_KEY"  # stays: what travels may lie in a file


@dataclass(frozen=True)
class Parcel:
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
        launcher.redirect(self.log)
        begun = Run(self.path).read("environment.json").get("created", 0.0) >= self.time  # by this parcel: now it is requeued
        words = (*self.words, "force=false") if begun else self.words
        self.tell({"event": "launched", "slot": socket.gethostname()})
        return self.job.run(words, [Teller(self.tell, self.log)], wait=False)

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

    def start(self, parcels: Mapping[int, Parcel]) -> None: ...

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


def launch(job: Job, lines: Sequence[Sequence[str]], first: int, engine: Engine) -> list[Outcome]:
    """The outcome of every line, in their order. No machine is taken for what is finished, or to wait for what another process trains."""
    folder = run.outputs() / "sweeps" / job.id
    folder.mkdir(parents=True, exist_ok=True)
    environment = {name: value for name, value in os.environ.items() if name.startswith(OURS) and name != SECRET}
    logs = [folder / f"{first + number}.log" for number in range(len(lines))]
    sent = replace(job, outcomes=[])
    waiting, runs, results, away = list(range(len(lines))), {}, {}, {}
    with Board(lines, [engine.name], [one.words for one in job.outcomes]) as board, Stop().listening():

        def pack(number: int) -> Parcel:
            return Parcel(sent, tuple(lines[number]), runs[number].path, logs[number], os.getcwd(), environment, time.time())

        def end(number: int, result: Outcome | Died) -> None:
            path = str(runs[number].path) if number in runs and runs[number].state() != "new" else ""
            if isinstance(result, Died) and not path:
                with open(logs[number], "a") as file:
                    file.write(f"{result.reason}\n")
            results[number] = job.outcome_of(lines[number], result, path, logs[number])
            if number in away:
                away.pop(number).forget()
            board.see(number, {"event": "ended", "result": results[number]})

        try:
            while len(results) < len(lines):
                parcels = {}
                for number in list(waiting):
                    if number in runs and runs[number].state() == "running":
                        continue
                    known = look(job, lines[number])
                    if isinstance(known, Outcome):
                        end(number, known)
                    else:
                        runs[number] = known
                        if known.state() == "running":
                            continue
                        parcels[number] = pack(number)
                        away[number] = Away(parcels[number].events)
                        away[number].forget()
                    waiting.remove(number)
                if parcels:
                    engine.start(parcels)
                for number, one in away.items():
                    for event in one.news():
                        board.see(number, event)
                for number, result in engine.ended():
                    if result is None:
                        board.see(number, {"event": "ended", "result": None})
                        waiting.append(number)
                    else:
                        end(number, result)
                board.see(-1, {})
                time.sleep(TICK_S if len(results) < len(lines) else 0)
        except Interrupted as stop:
            engine.cancel()
            for one in away.values():
                one.forget()
            job.outcomes += [results[number] for number in sorted(results)]
            done = sum(one.state in GOOD for one in job.outcomes)
            hint = f"{done} of {first + len(lines)} jobs are done, the others were told to end; the same line again goes on"
            raise Interrupted(stop.signal, hint) from None
    return [results[number] for number in range(len(lines))]


def look(job: Job, words: Sequence[str]) -> Outcome | Run:
    """The outcome of a line where nothing is left to do; else the run that it names."""
    try:  # the device is of no run's identity, and here may be none like it
        experiment = Experiment.of(config.compose([*words, "device=cpu"], job.dirs))
    except InputError as error:
        return Outcome(tuple(words), "refused", str(error))
    one, now = experiment.run, experiment.config
    if one.state() != "finished" or now["force"] or now["logger"]:
        return one
    before = one.config()
    same = before["metric"] | now["metric"] == before["metric"] and all(before[key] == now[key] for key in ("draws", "sampler"))
    return Outcome(tuple(words), "finished", "", str(one.path)) if same else one
