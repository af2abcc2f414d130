"""The folder of a run: its files, its state and its lock. Listing runs is fast, because only the standard library and filelock are used.

The id of a run is a hash of everything that training depends on. So the same command finds its run again, a sweep skips finished runs,
and a killed run continues from its last checkpoint.
"""

import fcntl
import json
import os
import shlex
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ebm_cli.errors import Busy, InputError, Problem, bad, printable_lines
from ebm_cli.io import inside
from ebm_cli.runs import content

SCHEMA = 7  # the version of the format of run folders. Increase it whenever identities or the names of components change
RUN_AGAIN = "run its command again with force=true; the old folder is kept"
MOST_SEEDS = 100_000  # models in a stack
LONGEST_CONFIG = 1 << 22  # bytes
COUNTS = ("n_steps", "log_every", "evaluate_every", "checkpoint_every")  # keys of the trainer that comparisons compute with


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
        for name in (dataset, objective):
            if name != Path(name).name or name.startswith(".") or not name.isprintable():
                raise bad(f"{name!r} is not a valid name of an option, so it cannot be part of the name of a run")
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
        """The content of a JSON file of the run; {} if the file does not exist. Values of a wrong type are refused."""
        try:
            data = json.loads(inside.read(self.path, self.path / name))
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise bad(f"{self.path / name} cannot be read: {error.strerror}", "ask the owner of the run for access") from None
        except (ValueError, RecursionError) as error:
            raise bad(f"{self.path / name} is damaged: {error}", RUN_AGAIN) from None
        wrong = content.misfit(name, data) if isinstance(data, dict) else "it is not a JSON object"
        if wrong:
            raise bad(f"{self.path / name} is damaged: {wrong}", RUN_AGAIN)
        return data

    def config_text(self) -> str:
        """The content of config.yaml."""
        return inside.read(self.path, self.path / "config.yaml", LONGEST_CONFIG).decode()

    def config(self) -> dict[str, Any]:
        """The typed config, read from config.yaml."""
        from ebm_cli.io import yaml_text

        try:
            config = yaml_text.load_tree(self.config_text())
        except (OSError, ValueError, yaml_text.Error) as error:
            why = str(error).partition("\n")[0]
            raise bad(f"{self.path}: config.yaml cannot be read: {type(error).__name__}: {why}", "`ebm runs` lists the runs") from None
        if wrong := _misfit(config):
            raise bad(f"{self.path}: config.yaml is damaged: {wrong}", RUN_AGAIN)
        return config

    def check_schema(self) -> None:
        """Refuse a run whose folder has another schema, and name the version of ebm-cli that can read it."""
        facts = self.read("environment.json")
        if (schema := facts.get("schema", 1)) != SCHEMA:
            version, commit = facts.get("packages", {}).get("ebm-cli"), facts.get("git", {}).get("commit", "")
            writer = (f"ebm-cli {version}" if version else "another version of ebm-cli") + (f" (commit {commit[:10]})" if commit else "")
            message = f"{self.path.name} was written by {writer}: its folder has schema {schema}, but this version reads schema {SCHEMA}"
            raise bad(message, f"install that version to use the run, train it again, or remove it with: ebm rm {self.id}")

    def check_whole(self) -> None:
        """Refuse a run with damaged or missing files, and one of another version."""
        if problem := self.damage():
            raise InputError(problem._replace(message=f"{self.path.name} is damaged: {problem.message}"))
        self.check_schema()

    def damage(self) -> Problem | None:
        """What is wrong with the files that every run has. The config and the checkpoints are not read.

        Of a run of another version only environment.json is read.
        """
        hint = f"{RUN_AGAIN}; `ebm rm {shlex.quote(self.id)}` removes it"
        if wrong := content.fault(self.path):
            return Problem(wrong, inside.HINT)
        for name in ("environment.json", "status.json", "summary.json", "dataset.json"):
            try:
                data = self.read(name)
            except InputError as error:
                return error.problems[0]._replace(message=error.problems[0].message.removeprefix(f"{self.path}/"))
            if not data and name == "environment.json":
                return Problem("environment.json is missing", hint)
            if name == "environment.json" and data.get("schema", 1) != SCHEMA:
                return None
            if data and (wrong := content.lacking(name, data)):
                return Problem(wrong, hint)
        return None if (self.path / "config.yaml").exists() else Problem("config.yaml is missing", hint)

    def check_writable(self, verb: str) -> None:
        """Refuse a run in whose folder this user may not write, before anything is computed."""
        if not os.access(self.path, os.W_OK | os.X_OK):
            copy = f"cp -r {shlex.quote(str(self.path.absolute()))} . && ebm {verb} ./{shlex.quote(self.path.name)}"
            raise bad(f"{self.path} is not writable, and `ebm {verb}` writes into the folder of the run", f"work on a copy: {copy}")

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
        """Whether a process holds the lock of the run, or may hold it because its lock cannot be opened. Nothing is written."""
        if content.fault(self.path):
            return False
        try:
            descriptor = os.open(self.path / ".lock", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            return False
        except OSError:
            return True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)

    @contextmanager
    def lock(self, *, wait: bool) -> Iterator[None]:
        """Hold the lock of the run. If another process holds it, wait for it, or raise `Busy` with the name of that process."""
        from filelock import FileLock, Timeout

        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise bad(f"the run folder {self.path} cannot be created: {error.strerror}", "set EBM_OUTPUTS to another folder") from None
        if wrong := content.fault(self.path):
            raise bad(f"{self.path}: {wrong}", inside.HINT)
        inside.unshare(self.path, self.path / ".lock")  # some versions of filelock empty it
        try:
            with FileLock(self.path / ".lock", timeout=-1 if wait else 0):
                for path in self.path.glob(".*.[0-9]*"):
                    if content.is_partial(path.name):  # a temporary file of a process that was killed while writing
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
        inside.append(self.path, self.path / "train.log", f"{time.strftime('%Y-%m-%d %H:%M:%S')} {printable_lines(line)}\n")

    def rows(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl. What follows a line that is not a row is ignored: a killed process leaves an incomplete last line."""
        try:
            lines = inside.read(self.path, self.path / "metrics.jsonl").decode(errors="replace").split("\n")
        except FileNotFoundError:
            return []
        except OSError as error:
            raise bad(f"{self.path / 'metrics.jsonl'} cannot be read: {error.strerror}", "ask the owner of the run for access") from None
        rows = []
        for line in lines:
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                break
            if not isinstance(row, dict) or not all(content.is_number(row.get(key)) for key in ("step", "seconds")):
                break
            rows.append(row)
        return rows

    def append(self, row: Mapping[str, Any]) -> None:
        """Append a row to metrics.jsonl."""
        inside.append(self.path, self.path / "metrics.jsonl", json.dumps(row) + "\n")

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

    def is_empty(self) -> bool:
        """Whether the folder holds nothing but the lock."""
        return all(path.name == ".lock" for path in self.path.iterdir())

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
    """Write a file atomically: it is complete, or it is not changed. A link is refused."""
    with inside.replacing(path.parent, path) as file:
        file.write(text.encode())


def _misfit(config: Any) -> str:
    """What is wrong with a stored config that commands read before they check it; "" if nothing is."""
    if not isinstance(config, dict):
        return "it is not a group of keys"
    groups = ("dataset", "draws", "metric", "sampler", "trainer")
    if missing := [key for key in groups if not isinstance(config.get(key), dict)]:
        return f"{missing[0]} is not a group of keys"
    if type(config.get("seed")) is not int or type(config.get("seeds")) not in (int, type(None)):
        return "seed or seeds is not a whole number"
    if (config["seeds"] or 1) not in range(1, MOST_SEEDS + 1):
        return f"seeds={config['seeds']}, and a stack has at most {MOST_SEEDS} models"
    counts = {key: config["trainer"].get(key, 1) for key in COUNTS}
    valid = all(type(count) is int and (count > 0 or (count == 0 and key == "n_steps")) for key, count in counts.items())
    return "" if valid else f"one of trainer.{', trainer.'.join(COUNTS)} is not a positive whole number"
