"""The run folder: identity, lock, status, atomic writes. Standard library and filelock only, so that listing runs is instant.

A run is named by what it computes: its id is a hash of all that training reads. So the same line typed again finds its run, a sweep
skips what is finished, and a killed run goes on from its last checkpoint.
"""

import json
import os
import shutil
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from ebm_cli.errors import Busy, InputError, Problem, bad, nearest
from ebm_cli.io import atomic

# of the identity: they change no parameter
OUTSIDE = ("device", "name", "group", "tags", "force", "logger", "metric", "draws", "sampler", "sweep")
INTERVALS = ("log_every", "evaluate_every", "checkpoint_every")


def outputs() -> Path:
    """The outputs folder: EBM_OUTPUTS, or `outputs` where the user stands."""
    return Path(os.environ.get("EBM_OUTPUTS") or "outputs").expanduser()


def check_outputs() -> None:
    """Refuse an outputs folder that cannot be written, before anything is trained for it."""
    folder = outputs().absolute()
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        fault = "cannot be written" if there.is_dir() else "is no folder"
        raise bad(f"results go to {folder}, but {there} {fault}", "EBM_OUTPUTS names another place for results")


def identity(config: Mapping[str, Any], fingerprint: str = "") -> str:
    """Ten hexadecimal digits for all that training reads: the typed config and the sha256 of the data file (in place of its path)."""
    read = {key: value for key, value in config.items() if key not in OUTSIDE}
    read["trainer"] = {key: value for key, value in config["trainer"].items() if key not in INTERVALS}
    if fingerprint:
        read["dataset"] = {key: value for key, value in config["dataset"].items() if key != "path"} | {"sha256": fingerprint}
    return sha256(json.dumps(read, sort_keys=True).encode()).hexdigest()[:10]


@dataclass(frozen=True)
class Run:
    """A run's folder and the files in it."""

    path: Path

    @classmethod
    def of(cls, config: Mapping[str, Any], dataset: str, objective: str, fingerprint: str = "") -> "Run":
        """Where the run of a typed config stands, whether it is there or not."""
        seed = f"s{config['seed']}" + (f"x{config['seeds']}" if config["seeds"] else "")
        return cls(outputs() / "runs" / f"{dataset}-{objective}-{seed}-{identity(config, fingerprint)}")

    @property
    def id(self) -> str:
        return self.path.name.rpartition("-")[2]

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def figures(self) -> Path:
        return self.path / "figures"

    def read(self, name: str) -> dict[str, Any]:
        """A JSON file of the run; {} where it is not there."""
        try:
            data = json.loads((self.path / name).read_text())
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise bad(f"{self.path / name} is damaged: {error}", "force=true trains the run anew") from None
        if not isinstance(data, dict):
            raise bad(f"{self.path / name} is damaged: it holds no keys", "force=true trains the run anew")
        return data

    def config(self) -> dict[str, Any]:
        """The typed config in config.yaml."""
        import yaml

        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # in C, where PyYAML was built with it: seven times as fast
        try:
            config = yaml.load((self.path / "config.yaml").read_text(), loader)
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise bad(f"{self.path} is no run: config.yaml cannot be read ({type(error).__name__})", "`ebm runs` lists the runs") from None
        if not isinstance(config, dict) or not all(isinstance(config.get(key), dict) for key in ("dataset", "draws", "metric", "sampler")):
            raise bad(f"{self.path}: config.yaml is damaged", "force=true trains the run anew")
        return config

    def write(self, name: str, data: Any) -> None:
        """A JSON file, whole or not at all."""
        write(self.path / name, json.dumps(data, indent=1) + "\n")

    def state(self) -> str:
        """new, running, finished, interrupted, failed, diverged or damaged. What says running but holds no lock was killed: interrupted."""
        try:
            state = self.read("status.json").get("state", "new")
        except InputError:
            return "damaged"
        return "interrupted" if state == "running" and not self.locked() else state

    def locked(self) -> bool:
        """Whether a process holds the run."""
        from filelock import FileLock, Timeout

        if not (self.path / ".lock").exists():
            return False
        try:
            with FileLock(self.path / ".lock", timeout=0):
                return False
        except Timeout:
            return True

    @contextmanager
    def lock(self, *, wait: bool) -> Iterator[None]:
        """Hold the run. Where another process does: wait for it, or refuse and name it."""
        from filelock import FileLock, Timeout

        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise bad(
                f"the run folder {self.path} cannot be made: {error.strerror}", "EBM_OUTPUTS names another place for results"
            ) from None
        try:
            with FileLock(self.path / ".lock", timeout=-1 if wait else 0):
                for path in self.path.glob(".*.[0-9]*"):  # what a kill left of `write`
                    path.unlink()
                yield
        except Timeout:
            status = self.read("status.json")
            where = f"process {status.get('pid', '?')} on {status.get('host', '?')}"
            message = f"this run is being trained by {where}: {self.path}"
            raise Busy(Problem(message, "wait for it, or choose another seed")) from None

    def set_status(self, state: str, reason: str = "") -> None:
        """Write status.json: the state, why, and who says so."""
        now = time.time()
        status = {"state": state, "reason": reason, "pid": os.getpid(), "host": socket.gethostname(), "time": now}
        self.write("status.json", status)

    def log(self, line: str) -> None:
        """One line in train.log, with the time."""
        with open(self.path / "train.log", "a") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")

    def rows(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl. A last line that a kill cut short is left out."""
        try:
            lines = (self.path / "metrics.jsonl").read_text().splitlines()
        except FileNotFoundError:
            return []
        rows = []
        for line in lines:
            try:
                rows.append(json.loads(line))
            except ValueError:
                break
        return rows

    def append(self, row: Mapping[str, Any]) -> None:
        """One row at the end of metrics.jsonl."""
        with open(self.path / "metrics.jsonl", "a") as file:
            file.write(json.dumps(row) + "\n")

    def cut(self, step: int) -> list[dict[str, Any]]:
        """Drop the rows after a step: they will be made again. Returns the rows kept."""
        rows = [row for row in self.rows() if row["step"] <= step]
        write(self.path / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        return rows

    def n_replaced(self) -> int:
        """How often this run was trained before and then replaced."""
        return len(list(self._replaced.glob(f"{self.path.name}-*")))

    @property
    def _replaced(self) -> Path:
        return self.path.parent.parent / "replaced"

    def replace(self) -> None:
        """Move the folder's content to outputs/replaced/, so that the run can be made anew."""
        target = self._replaced / f"{self.path.name}-{time.strftime('%Y%m%d-%H%M%S')}"
        while target.exists():  # twice within a second
            target = target.with_name(f"{target.name}-again")
        target.mkdir(parents=True)
        for file in self.path.iterdir():
            if file.name != ".lock":
                shutil.move(file, target / file.name)


def write(path: Path, text: str) -> None:
    """A file, whole or not at all."""
    with atomic.whole(path) as file:
        file.write(text.encode())


def every() -> list[Run]:
    """The runs under EBM_OUTPUTS, the oldest first."""
    return sorted((Run(path.parent) for path in (outputs() / "runs").glob("*/environment.json")), key=_created)


def at(name: str) -> tuple[Run, int]:
    """The run and the step that `RUN` or `RUN@STEP` means: its newest checkpoint, or that of a step."""
    name, _, wanted = name.partition("@")
    one = find(name)
    if one.path.parent.absolute() != (outputs() / "runs").absolute():
        raise bad(f"resume: {one.path} is not among the runs of {outputs()}", f"EBM_OUTPUTS={one.path.parent.parent} trains beside it")
    steps = sorted(int(path.name) for path in one.checkpoints.glob("*") if path.name.isdigit())
    if not steps:
        raise bad(f"resume: {one.path.name} has no checkpoint yet", "train it first: type its line again")
    if wanted and (not wanted.isdigit() or int(wanted) not in steps):
        known = ", ".join(map(str, steps))
        raise bad(f"resume: {one.path.name} has no checkpoint of step {wanted}, but of {known}", f"resume={one.id}@{steps[-1]}")
    return one, int(wanted) if wanted else steps[-1]


def sweeps() -> list[dict[str, Any]]:
    """What the sweeps under EBM_OUTPUTS have left in their sweep.json; a damaged one is passed over."""
    found = []
    for path in sorted((outputs() / "sweeps").glob("*/sweep.json")):
        try:
            found.append(json.loads(path.read_text()))
        except (OSError, ValueError):
            continue
    return found


def groups() -> dict[str, list[Run]]:
    """The runs of every group, and of every sweep by its id: those that were made for it and those that it reused, the oldest first."""
    runs, names = every(), {}
    for one in runs:
        names.setdefault(_facts(one).get("group"), set()).add(one.path.name)
    for sweep in sweeps():
        if {"group", "id", "runs"} <= sweep.keys():
            reused = {Path(one["path"]).name for one in sweep["runs"] if one["path"]}
            for name in (sweep["group"], sweep["id"]):
                names.setdefault(name, set()).update(reused)
    return {group: [one for one in runs if one.path.name in theirs] for group, theirs in names.items() if group}


def _facts(one: Run) -> dict[str, Any]:
    """Its environment.json; of a damaged run nothing is known."""
    try:
        return one.read("environment.json")
    except InputError:
        return {}


def _created(one: Run) -> float:
    """When a run was made; the damaged stand first."""
    return _facts(one).get("created", 0.0)


def find(name: str, others: Iterable[str] = ()) -> Run:
    """The run that a user means: an id, a unique prefix of an id or a folder's name, a path, or `last`. `others` could be meant as well."""
    if name != "last" and (Path(name) / "config.yaml").is_file() and (Path(name) / "environment.json").is_file():
        return Run(Path(name).resolve() if Path(name).name in ("", "..") else Path(name))
    runs = every()
    if name == "last":
        if not runs:
            raise bad(f"there is no run under {outputs()}", "ebm train makes one; EBM_OUTPUTS names another folder")
        return runs[-1]
    if "/" in name or Path(name).is_dir():
        raise bad(f"{name} is no run: it holds no config.yaml and environment.json", "`ebm runs` lists the runs")
    found = [run for run in runs if name in (run.id, run.path.name)] or [
        run for run in runs if run.id.startswith(name) or run.path.name.startswith(name)
    ]
    if len(found) > 1:
        raise InputError(
            Problem(f"{name!r} names {len(found)} runs: {', '.join(run.path.name for run in found[:5])}", "give more of the name")
        )
    if not found:
        known = [*(run.id for run in runs), *others]
        raise bad(f"there is no run {name!r} under {outputs()}", nearest(name, known) if runs else "ebm train makes one")
    return found[0]
