"""The folder of a run: its files, its state and its lock. Listing runs is fast, because only the standard library and filelock are used.

The id of a run is a hash of everything that training depends on. So the same command finds its run again, a sweep skips finished runs,
and a killed run continues from its last checkpoint.
"""

import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ebm_cli.errors import Busy, InputError, Problem, bad, printable_lines
from ebm_cli.io import atomic

SCHEMA = 3  # the version of the format of run folders. Increase it whenever identities or the names of components change
RUN_AGAIN = "run its command again with force=true; the old folder is kept"


def outputs() -> Path:
    """The outputs folder: EBM_OUTPUTS, or `outputs` in the working directory."""
    return Path(os.environ.get("EBM_OUTPUTS") or "outputs").expanduser()


def check_outputs() -> None:
    """Refuse an outputs folder that is not writable, before anything is trained."""
    folder = outputs().absolute()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        fault = "is not writable" if existing.is_dir() else "is not a folder"
        raise bad(f"results cannot be written to {folder}: {existing} {fault}", "set EBM_OUTPUTS to another folder")


@dataclass(frozen=True)
class Run:
    """The folder of a run and its files."""

    path: Path

    @classmethod
    def named(cls, config: Mapping[str, Any], dataset: str, objective: str, identity: str) -> "Run":
        """The run with this identity. Its folder need not exist."""
        seed = f"s{config['seed']}" + (f"x{config['seeds']}" if config["seeds"] else "")
        return cls(outputs() / "runs" / f"{dataset}-{objective}-{seed}-{identity}")

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
        """The content of a JSON file of the run; {} if the file does not exist."""
        try:
            data = json.loads((self.path / name).read_text())
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise bad(f"{self.path / name} is damaged: {error}", RUN_AGAIN) from None
        if not isinstance(data, dict):
            raise bad(f"{self.path / name} is damaged: it is not a JSON object", RUN_AGAIN)
        return data

    def config(self) -> dict[str, Any]:
        """The typed config, read from config.yaml."""
        from ebm_cli.io import yaml_text

        try:
            config = yaml_text.load((self.path / "config.yaml").read_text())
        except (OSError, ValueError, yaml_text.Error) as error:
            raise bad(
                f"{self.path} is not a run: config.yaml cannot be read ({type(error).__name__})", "`ebm runs` lists the runs"
            ) from None
        if not isinstance(config, dict) or not all(isinstance(config.get(key), dict) for key in ("dataset", "draws", "metric", "sampler")):
            raise bad(f"{self.path}: config.yaml is damaged", RUN_AGAIN)
        return config

    def check_schema(self) -> None:
        """Refuse a run whose folder has another schema, and name the version of ebm-cli that can read it."""
        facts = self.read("environment.json")
        if (schema := facts.get("schema", 1)) != SCHEMA:
            version, commit = facts.get("packages", {}).get("ebm-cli"), facts.get("git", {}).get("commit", "")
            writer = (f"ebm-cli {version}" if version else "another version of ebm-cli") + (f" (commit {commit[:10]})" if commit else "")
            message = f"{self.path.name} was written by {writer}: its folder has schema {schema}, but this version reads schema {SCHEMA}"
            raise bad(message, f"install that version to use the run, train it again, or remove it with: ebm rm {self.id}")

    def write(self, name: str, data: Any) -> None:
        """Write a JSON file atomically."""
        write(self.path / name, json.dumps(data, indent=1) + "\n")

    def state(self) -> str:
        """The state: new, running, finished, interrupted, failed, diverged or damaged.

        If status.json says running, but no process holds the lock, then the run was killed and its state is interrupted.
        """
        try:
            state = self.read("status.json").get("state", "new")
        except InputError:
            return "damaged"
        return "interrupted" if state == "running" and not self.locked() else state

    def locked(self) -> bool:
        """Whether a process holds the lock of the run."""
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
        """Hold the lock of the run. If another process holds it, wait for it, or raise `Busy` with the name of that process."""
        from filelock import FileLock, Timeout

        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise bad(f"the run folder {self.path} cannot be created: {error.strerror}", "set EBM_OUTPUTS to another folder") from None
        try:
            with FileLock(self.path / ".lock", timeout=-1 if wait else 0):
                for path in self.path.glob(".*.[0-9]*"):  # temporary files of a process that was killed while writing
                    path.unlink()
                yield
        except Timeout:
            status = self.read("status.json")
            process = f"process {status.get('pid', '?')} on {status.get('host', '?')}"
            message = f"this run is being trained or measured, probably by {process}: {self.path}"
            raise Busy(Problem(message, "wait until it has finished, or choose another seed")) from None

    def set_status(self, state: str, reason: str = "") -> None:
        """Write the state, its reason and this process to status.json."""
        now = time.time()
        self.write("status.json", {"state": state, "reason": reason, "pid": os.getpid(), "host": os.uname().nodename, "time": now})

    def log(self, line: str) -> None:
        """Append a line, with the time, to train.log."""
        with open(self.path / "train.log", "a") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {printable_lines(line)}\n")

    def rows(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl. An incomplete last line, which a killed process leaves, is ignored."""
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
        """Append a row to metrics.jsonl."""
        with open(self.path / "metrics.jsonl", "a") as file:
            file.write(json.dumps(row) + "\n")

    def cut(self, step: int) -> list[dict[str, Any]]:
        """Remove the rows after a step, because training will write them again. Returns the rows that are kept."""
        rows = [row for row in self.rows() if row["step"] <= step]
        write(self.path / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        return rows

    def n_replaced(self) -> int:
        """The number of earlier results of this run that were replaced."""
        return len(list(self._replaced.glob(f"{self.path.name}-*")))

    @property
    def _replaced(self) -> Path:
        return self.path.parent.parent / "replaced"

    def replace(self) -> None:
        """Move the content of the folder to outputs/replaced/, so that the run can be trained again from the start."""
        target = self._replaced / f"{self.path.name}-{time.strftime('%Y%m%d-%H%M%S')}"
        while target.exists():  # the run was already replaced within this second
            target = target.with_name(f"{target.name}-again")
        target.mkdir(parents=True)
        for file in self.path.iterdir():
            if file.name != ".lock":
                shutil.move(file, target / file.name)


def write(path: Path, text: str) -> None:
    """Write a file atomically: it is complete, or it is not changed."""
    with atomic.replacing(path) as file:
        file.write(text.encode())
