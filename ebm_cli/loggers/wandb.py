"""Weights & Biases (https://docs.wandb.ai): a mirror of the run on a server, or on disk for a later `wandb sync`.

The wandb run has the id of our run and is resumed in place; rows that it already has are not sent again. wandb writes in blocks, and the
last block is lost when the process is killed; the missing rows are then read from metrics.jsonl.
"""

import os
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ebm_cli.console import say
from ebm_cli.errors import bad
from ebm_cli.loggers.guarded_logger import MEMORY, flat, recall, remember
from ebm_cli.types import Positive

if TYPE_CHECKING:
    import wandb

    from ebm_cli.runs.run import Run

EXIT_CODES = {"finished": 0, "interrupted": 130}
LEAKING = ("WANDB_DEBUG", "WANDB_CORE_DEBUG")  # variables that make wandb write the API key into its logs
NO_ACCOUNT = "logger.mode=offline needs no account and no network"


@dataclass
class Wandb:
    """Logs the config, rows, figures, summary and state of a run. `init_timeout` and `finish_timeout` are in seconds."""

    project: str
    entity: str | None
    mode: Literal["online", "offline", "disabled"]
    init_timeout: Positive
    finish_timeout: Positive
    _run: Any = field(init=False, default=None)  # the wandb run; None if nothing is logged

    @property
    def where(self) -> str:
        return f"wandb {self.mode} {f'{self.entity}/' if self.entity else ''}{self.project}"

    def check(self, config: Mapping[str, Any]) -> None:
        """Refuse invalid names and, in online mode, a missing or malformed API key. Neither the server nor the user is asked."""
        if self.mode == "disabled":
            return
        import wandb

        if leaking := [name for name in LEAKING if os.environ.get(name, "").lower() not in ("", "0", "false")]:
            raise bad(f"logger=wandb: with {leaking[0]} wandb writes the API key into its logs", f"unset {' '.join(leaking)}")
        try:
            given = self._settings(config)
        except (wandb.errors.UsageError, ValueError) as error:
            raise bad(f"logger=wandb: {_first(error)}", "the names come from logger.project, logger.entity, group and tags") from None
        try:
            given.update_from_env_vars(os.environ)  # wandb reads them when the run starts
        except (wandb.errors.UsageError, ValueError) as error:
            name = f"WANDB_{error.errors()[0]['loc'][0].removeprefix('x')}".upper() if hasattr(error, "errors") else "a WANDB variable"
            raise bad(f"logger=wandb: {name}: {_first(error)}", f"unset {name}, or correct it") from None
        os.environ |= {"WANDB_MODE": self.mode, "WANDB_SILENT": "true"}  # the setting takes precedence; wandb must not print
        if self.mode == "offline":
            return
        try:
            has_key = wandb.login(prompt=False, verify=False)
        except wandb.Error as error:
            raise bad(f"logger=wandb: {error}", f"`wandb login` stores a key; {NO_ACCOUNT}") from None
        if not has_key:
            raise bad("logger=wandb: there is no API key", f"store a key with `wandb login` or set WANDB_API_KEY; {NO_ACCOUNT}")

    def start(self, run: "Run", config: Mapping[str, Any], step: int) -> None:
        if self.mode == "disabled":
            return
        self._ours, self._first_seed = run, config["seed"]
        memory = recall(run, self.where)
        self._id = memory.get("id") or (f"{run.id}x{run.n_replaced() + 1}" if run.n_replaced() else run.id)
        self._last = memory.get("step", 0)  # the step of the last row that wandb has
        remember(run, self.where, id=self._id)
        self._run = self._init(config)
        self._run.define_metric("*", step_metric="step")
        for row in run.rows():
            if row["step"] <= step:
                self.row(row)

    def row(self, row: Mapping[str, Any]) -> None:
        if self._run and row["step"] > self._last:
            self._run.log(flat(row, self._first_seed))
            self._last = row["step"]

    def end(self, state: str, summary: Mapping[str, Any] | None) -> None:
        if self.mode == "disabled":
            return
        import wandb

        try:
            if self._run:
                self._finish(state, summary or {})
        finally:
            self._run = None
            wandb.teardown()

    def _init(self, config: Mapping[str, Any]) -> "wandb.Run":
        """Start the wandb run: online if the server answers in time, otherwise offline."""
        import wandb

        given = self._settings(config)
        given.root_dir = os.environ.get("WANDB_DIR") or str(self._ours.path.absolute())
        given.run_name = config["name"] or self._ours.path.name
        given.run_id = self._id
        try:
            wandb_run = wandb.init(config=dict(config), settings=given)
        except (wandb.Error, OSError) as error:
            if self.mode == "offline":
                raise
            say(f"warning: wandb: {' '.join(str(error).split())}; logging offline")
            wandb.teardown()  # releases the id
            wandb_run = wandb.init(config=dict(config), settings=given, mode="offline")
        if wandb_run.settings.mode == "online":
            self._last = wandb_run.summary.get("step") or 0
            remember(self._ours, self.where, whole=[])  # the server now receives the rows that were logged offline
        elif not self._uploaded(Path(wandb_run.settings.sync_dir)):
            self._last = 0  # one folder with all rows: the parts of a run would each count wandb's own steps from 0
            remember(self._ours, self.where, whole=[])
        self._tidy(Path(wandb_run.settings.sync_dir))
        return wandb_run

    def _settings(self, config: Mapping[str, Any]) -> "wandb.Settings":
        """Settings without output and without the user's source code: a patch of uncommitted changes could contain keys."""
        import wandb

        names = {"project": self.project, "entity": self.entity, "run_group": config["group"], "run_tags": config["tags"]}
        return wandb.Settings(
            mode=self.mode,
            resume="allow",
            run_job_type="train",
            init_timeout=self.init_timeout,
            finish_timeout=self.finish_timeout,
            finish_timeout_raises=True,
            silent=True,
            console="off",
            disable_code=True,
            disable_git=True,
            **{key: value for key, value in names.items() if value},
        )

    def _uploaded(self, current: Path) -> bool:
        """Whether `wandb sync` has uploaded an offline folder of this run. Its rows are then not logged again."""
        return any(current.parent.glob(f"offline-run-*-{self._id}*/*.synced"))

    def _tidy(self, current: Path) -> None:
        """Remove offline folders whose rows are logged again: those of killed processes, and those that the server now receives."""
        whole = {name for memory in self._ours.read(MEMORY).values() for name in memory.get("whole", [])} | {current.name}
        for folder in current.parent.glob(f"offline-run-*-{self._id}*"):
            if folder.name not in whole and not list(folder.glob("*.synced")):
                shutil.rmtree(folder)

    def _finish(self, state: str, summary: Mapping[str, Any]) -> None:
        import wandb

        folder, pictures = Path(self._run.settings.sync_dir), sorted(self._ours.figures.glob("*.png"))
        if pictures:
            self._run.log({"step": self._last} | {f"figures/{path.stem}": wandb.Image(str(path)) for path in pictures})
        self._run.summary.update({**summary, "state": state})
        try:
            self._run.finish(exit_code=EXIT_CODES.get(state, 1))
        except TimeoutError:
            say(f"warning: wandb: the upload was not finished after {self.finish_timeout:g} s; to continue it: {_sync([folder])}")
        if self._run.settings.mode == "offline":
            whole = [*recall(self._ours, self.where).get("whole", []), folder.name]
            remember(self._ours, self.where, step=self._last, whole=whole)
            say(f"logged offline; to upload: {_sync([folder.parent / name for name in whole])}")


def _sync(folders: list[Path]) -> str:
    """The command that uploads these folders; it skips what has been uploaded."""
    return shlex.join(["wandb", "sync", *(str(folder) for folder in folders)])


def _first(error: Exception) -> str:
    """The message of the first fault that wandb found in its settings."""
    return error.errors()[0]["msg"].removeprefix("Value error, ") if hasattr(error, "errors") else str(error)
