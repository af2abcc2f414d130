"""An experiment: a checked config, the components built from it, and the folder of its run."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ebm_cli import console
from ebm_cli.config import compatibility, compose, schema
from ebm_cli.config.compose import Composed
from ebm_cli.config.roles import identity, seeds_of
from ebm_cli.config.settings import TrainerSettings
from ebm_cli.config.text_values import as_typed
from ebm_cli.core.chain import Draws
from ebm_cli.core.contracts import Dataset
from ebm_cli.core.device import pick_device
from ebm_cli.core.figure import Figure
from ebm_cli.core.metric import Metric
from ebm_cli.errors import InputError, Problem, bad, described
from ebm_cli.loggers.guarded_logger import GuardedLogger
from ebm_cli.objectives.nothing import Nothing
from ebm_cli.runner import energy_files, marks
from ebm_cli.runner.draw import check_memory
from ebm_cli.runs.run import SCHEMA, Run
from ebm_cli.training import selection
from ebm_cli.training.trainer import Trainer


@dataclass(frozen=True)
class Experiment:
    """A typed config, its dataset and device, and the folder of its run."""

    config: dict[str, Any]
    dataset: Dataset
    device: torch.device
    run: Run

    @classmethod
    def of(cls, composed: Composed) -> "Experiment":
        """Check a config and open its data. Raises `InputError` with every problem, and writes nothing."""
        run, typed, dataset = cls.named(composed)
        device = pick_device(typed["device"])
        _ = dataset.standardization  # reads a table, and refuses it if it is invalid
        check_memory(Draws(**typed["draws"]), len(dataset.column_names), len(seeds_of(typed)), prefix="draws.")
        return cls(typed, dataset, device, run)

    @staticmethod
    def named(composed: Composed) -> tuple[Run, dict[str, Any], Dataset]:
        """The run of a command line, its typed config, and its dataset. Data files are hashed but not parsed."""
        typed = check(composed)
        dataset = schema.build(typed["dataset"])
        trained_by = "objective" if compatibility.learns(typed["energy"]) else "reference"
        options = composed.choices["dataset"], composed.choices[trained_by]
        hashes = dataset.fingerprint, energy_files.hashes_of(typed["energy"])
        return Run.named(typed, *options, identity(typed, *hashes, schema=SCHEMA)), typed, dataset

    @classmethod
    def load(cls, run: Run, device: torch.device, changed: Mapping[str, Any] | None = None) -> "Experiment":
        """The experiment of an existing run, with changes to its config. Its targets are checked like those of a new run.

        Files of the energy are the copies that the run keeps.
        """
        typed = energy_files.own(run, schema.check({**run.config(), **(changed or {})}))
        marks.check(run)
        return cls(typed, schema.build(typed["dataset"]), device, run)

    def trainer(self) -> Trainer:
        """The trainer, before its first step."""
        parts = [schema.build(self.config[key]) for key in ("reference", "objective")]
        return Trainer(
            TrainerSettings(**self.config["trainer"]),
            self.dataset,
            lambda **data: schema.build(self.config["energy"], at="energy", **data),
            *parts,
            [schema.build(node) for node in self.config["regularizer"].values()],
            schema.build(self.config["optimizer"]),
            seeds=tuple(seeds_of(self.config)) if self.config["seeds"] else self.config["seed"],
            device=self.device,
            fits_only=not compatibility.learns(self.config["energy"]),
        )

    def check_data(self) -> None:
        """Refuse a data file that differs from the file that the run was trained on."""
        trained_on = self.run.read("dataset.json").get("sha256", "")
        if self.dataset.fingerprint != trained_on:
            path = self.config["dataset"]["path"]
            fault = f"{path} is not the file that the run was trained on, or it has changed"
            raise bad(f"dataset.path: {fault}", "put the original file back, or name it: dataset.path=FILE")

    def data_if_available(self) -> Dataset | None:
        """The data, or None if their file is missing or has changed."""
        try:
            self.check_data()
        except InputError as error:
            console.say(f"pictures are drawn without data: {error}")
            return None
        return self.dataset

    def loggers(self) -> list[GuardedLogger]:
        """The loggers of the run, with their errors guarded."""
        return [GuardedLogger(schema.build(self.config["logger"]))] if self.config["logger"] else []

    def metrics(self) -> dict[str, Metric]:
        return {name: schema.build(node) for name, node in self.config["metric"].items()}

    def figures(self) -> dict[str, Figure]:
        return {name: schema.build(node) for name, node in self.config["figure"].items()}

    def tracked(self) -> dict[str, str]:
        """The numbers that progress and training curves show, with their units: `sweep.metric`, then the headlines of the metrics."""
        units = {key: unit for metric in self.metrics().values() for key, unit in metric.units.items()}
        keys = [self.config["sweep"]["metric"], *(key for metric in self.metrics().values() for key in metric.headline)]
        return {key: units[key] for key in keys if key in units}

    def title(self) -> str:
        """The title of the pictures: the run and, for a stack, the seed that they show."""
        return self.run.path.name + (f" (seed {self.config['seed']})" if self.config["seeds"] else "")


def check(composed: Composed) -> dict[str, Any]:
    """The typed config. Raises `InputError` with every problem: keys, types, ranges, targets, and components that do not fit together."""
    trainer, dataset = (node if isinstance(node, dict) else {} for node in map(composed.config.get, ("trainer", "dataset")))
    problems = [*composed.problems, *compatibility.problems(composed), *selection.problems(trainer, dataset)]
    if composed.searched:
        keys, preset = ", ".join(composed.searched), composed.choices["experiment"]
        hint = f"add -m, with this experiment alone; or give values: {'=... '.join(composed.searched)}=..."
        problems.append(Problem(f"experiment={preset} is a search for {keys}", hint))
    learns, n_steps = compatibility.learns(composed.config.get("energy")), compose.look(composed.config, "trainer.n_steps")
    if learns and n_steps == 0:
        problems.append(Problem("trainer.n_steps: 0 steps train nothing", "use a number above 0; energy=reference needs no training"))
    typed = schema.check(as_typed(composed.config, composed.words), problems)
    typed = typed if learns else without_training(typed)
    check_figures(typed["figure"])
    if typed["logger"]:
        schema.build(typed["logger"]).check(typed)
    return typed


def check_figures(figures: Mapping[str, Any]) -> None:
    """Build every figure. They are drawn after training, when it is too late for an error in their values."""
    problems = []
    for name, node in figures.items():
        try:
            schema.build(node)
        except InputError as error:
            problems += error.problems
        except Exception as error:  # of a figure of the user's own
            problems.append(Problem(f"figure.{name}: {described(error).message}", "correct its values, or leave it out: figure=[]"))
    schema.refuse(problems)


def without_training(typed: dict[str, Any]) -> dict[str, Any]:
    """The config of a run whose energy has no parameters: it takes no steps, whatever objective and number of steps are chosen."""
    objective = {"_target_": f"{Nothing.__module__}.{Nothing.__qualname__}"}
    trainer = typed["trainer"] | {"n_steps": 0, "select": None, "patience": None}
    return typed | {"objective": objective, "regularizer": {}, "trainer": trainer}
