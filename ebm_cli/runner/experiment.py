"""An experiment: a checked config, the data that it names, and the folder where its run stands."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ebm_cli import console
from ebm_cli.config import compatibility, schema
from ebm_cli.config.compose import Composed
from ebm_cli.errors import InputError, Problem, bad
from ebm_cli.loggers.guarded_logger import GuardedLogger
from ebm_cli.runs.run import Run
from ebm_cli.training.trainer import Settings, Trainer, pick_device
from ebm_cli.types import Dataset, Metric


@dataclass(frozen=True)
class Experiment:
    """A typed config, what was built from it, and the folder where it stands."""

    config: dict[str, Any]
    dataset: Dataset
    device: torch.device
    run: Run

    @classmethod
    def of(cls, composed: Composed) -> "Experiment":
        """Checked, and the data opened. Raises `InputError` with every problem; writes nothing."""
        typed = check(composed)
        device, dataset = pick_device(typed["device"]), schema.build(typed["dataset"])
        _ = dataset.standardization  # a table is read, and refused where it must be
        return cls(typed, dataset, device, Run.of(typed, composed.choices["dataset"], composed.choices["objective"], dataset.fingerprint))

    @classmethod
    def load(cls, run: Run, device: torch.device, changed: Mapping[str, Any] | None = None) -> "Experiment":
        """Of a run that is there, with the parts of its config that were changed. The fence stands before it as before a new one."""
        typed = schema.check({**run.config(), **(changed or {})})
        return cls(typed, schema.build(typed["dataset"]), device, run)

    def trainer(self) -> Trainer:
        parts = {key: schema.build(self.config[key]) for key in ("objective", "optimizer")}
        regularizers = [schema.build(node) for node in self.config["regularizer"].values()]
        return Trainer(
            Settings(**self.config["trainer"]),
            self.dataset,
            lambda **data: schema.build(self.config["energy"], **data),
            parts["objective"],
            regularizers,
            parts["optimizer"],
            seeds=seeds(self.config),
            device=self.device,
        )

    def check_data(self) -> None:
        """Refuse a data file that is not the one the run was trained on."""
        trained_on = self.run.read("dataset.json").get("sha256", "")
        if self.dataset.fingerprint != trained_on:
            raise bad(
                f"dataset.path: {self.config['dataset']['path']} has changed since the run was trained on it",
                "dataset.path=FILE names another",
            )

    def data_if_there(self) -> Dataset | None:
        """The data, or None where their file is gone or has changed."""
        try:
            self.check_data()
        except InputError as error:
            console.say(f"the picture is drawn without data: {error}")
            return None
        return self.dataset

    def mirrors(self) -> list[GuardedLogger]:
        """What shows the run elsewhere."""
        return [GuardedLogger(schema.build(self.config["logger"]))] if self.config["logger"] else []

    def metrics(self) -> dict[str, Metric]:
        return {name: schema.build(node) for name, node in self.config["metric"].items()}


def check(composed: Composed) -> dict[str, Any]:
    """The typed config. Raises `InputError` with every problem: keys, types, ranges, targets, and what does not go together."""
    problems = [*composed.problems, *compatibility.problems(composed)]
    if composed.searched:
        keys, preset = ", ".join(composed.searched), composed.choices["experiment"]
        hint = f"add -m, with no other experiment beside it; or choose: {'=... '.join(composed.searched)}=..."
        problems.append(Problem(f"experiment={preset} is a search for {keys}", hint))
    typed = schema.check(composed.config, problems)
    if typed["logger"]:
        schema.build(typed["logger"]).check(typed)
    return typed


def seeds(config: Mapping[str, Any]) -> int | tuple[int, ...]:
    """One seed, or the seeds of a stack."""
    return tuple(range(config["seed"], config["seed"] + config["seeds"])) if config["seeds"] else config["seed"]
