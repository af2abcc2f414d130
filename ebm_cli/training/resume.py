"""`resume=RUN@STEP`: a new run that continues another run from one of its checkpoints."""

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
    """The run that is continued, and the step of one of its checkpoints."""

    run: Run
    step: int

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "Parent | None":
        """The parent that a typed config names; None if it names none."""
        return cls(*catalog.at_step(config["resume"])) if config["resume"] else None

    @property
    def checkpoint(self) -> Path:
        return self.run.checkpoints / f"{self.step:08d}"

    def check(self, trainer: Trainer) -> None:
        """Refuse a parent that cannot be continued: its checkpoint is damaged, or it has other data or other parameters."""
        if fault := checkpoint.damage(self.checkpoint):
            raise bad(f"resume: checkpoint {self.checkpoint} is damaged ({fault})", f"name another step: resume={self.run.id}@STEP")
        if trainer.dataset.fingerprint != self.run.read("dataset.json").get("sha256"):
            raise bad(f"resume: {self.run.path.name} was trained on other data", "train a new run for new data, without resume")
        stored = checkpoint.read(self.checkpoint)
        if stored["trainer"]["origin"] > 0:
            message = f"resume: {self.run.path.name} was trained again on the training and validation events together, at the end"
            raise bad(message, "train a new run with trainer.refit=false, and continue that")
        if differ := checkpoint.differing(stored, trainer):
            raise bad(f"resume: {self.run.path.name} has other parameters: {', '.join(differ)}", "do not change energy.* or seeds")

    def begin(self, trainer: Trainer, child: Run) -> None:
        """Give the trainer the state of the parent, and the new run the rows of its metrics.jsonl."""
        checkpoint.load(self.checkpoint, trainer)
        trainer.begin_selection()  # from the current parameters: the parent may have another rule, or have used up its patience
        rows = [row for row in self.run.rows() if row["step"] <= self.step]
        run.write(child.path / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
