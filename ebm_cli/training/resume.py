"""`resume=RUN@STEP`: where a run that goes on from another one begins."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ebm_cli.errors import bad
from ebm_cli.runs import catalog, run
from ebm_cli.runs.run import Run
from ebm_cli.training import checkpoint
from ebm_cli.training.trainer import Trainer


@dataclass(frozen=True)
class Parent:
    """A run and a step of it that has a checkpoint."""

    run: Run
    step: int

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "Parent | None":
        """As a typed config names it."""
        return cls(*catalog.at_step(config["resume"])) if config["resume"] else None

    @property
    def checkpoint(self) -> Path:
        return self.run.checkpoints / f"{self.step:08d}"

    def check(self, trainer: Trainer) -> None:
        """Refuse what cannot go on: a damaged checkpoint, other data, other parameters."""
        if fault := checkpoint.damage(self.checkpoint):
            raise bad(f"resume: checkpoint {self.checkpoint} is damaged ({fault})", f"resume={self.run.id}@STEP names another")
        if trainer.dataset.fingerprint != self.run.read("dataset.json").get("sha256"):
            raise bad(f"resume: {self.run.path.name} was trained on other data", "a new run takes new data")
        there = {name: tuple(value.shape) for name, value in checkpoint.read(self.checkpoint)["params"].items()}
        here = {name: tuple(value.shape) for name, value in trainer.named(trainer.state.theta).items()}
        if differ := sorted(name for name in here.keys() | there.keys() if here.get(name) != there.get(name)):
            raise bad(f"resume: {self.run.path.name} has other parameters: {', '.join(differ)}", "energy.* and seeds must stay as they are")

    def begin(self, trainer: Trainer, child: Run) -> None:
        """Take over its state and its rows."""
        checkpoint.load(self.checkpoint, trainer)
        rows = [row for row in self.run.rows() if row["step"] <= self.step]
        run.write(child.path / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
