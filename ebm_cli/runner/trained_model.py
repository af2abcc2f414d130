"""A trained model as the commands use it: network, averaged parameters and coordinates. It is loaded from a run folder without the data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ebm_cli import console
from ebm_cli.config import schema
from ebm_cli.config.roles import seeds_of
from ebm_cli.core import chain
from ebm_cli.core.chain import Draws
from ebm_cli.core.contracts import Dataset, Sampler
from ebm_cli.core.figure import Scene
from ebm_cli.core.fitted_reference import FittedReference
from ebm_cli.core.model import Model, tensors
from ebm_cli.core.rng import Rng
from ebm_cli.core.standardize import Standardization
from ebm_cli.core.states import levels
from ebm_cli.core.wrappers import Tempered
from ebm_cli.errors import bad, printable
from ebm_cli.references.fair_states import FairStates
from ebm_cli.references.gaussian import Gaussian
from ebm_cli.runner import energy_files
from ebm_cli.runs.run import RUN_AGAIN, Run
from ebm_cli.training import checkpoint
from ebm_cli.training.trainer import Trainer
from ebm_cli.types import Info, Params, Space, implied

N_LABELS = 10_000  # maximum number of training labels from which the labels of samples are drawn


@dataclass(frozen=True)
class TrainedModel:
    """One trained model, or a stack of them. `rng` holds the seeds."""

    network: Model  # the model that was trained
    model: Model  # the model that is measured and sampled: at its temperature and at the smallest noise level
    params: Params  # averaged over the last steps, including those of the reference; leaves (*m, ...)
    carry: Params
    fit: Params  # mean and scale of the training data, (*m, *d)
    reference: FittedReference
    standardization: Standardization
    rng: Rng
    column_names: Sequence[str]
    space: Space
    selection: Params | None = None  # the `step` of the parameters and their `number`, (*m,), if the validation events selected them

    states: Sequence[Sequence[str]] | None = None  # the values of the columns of a discrete table

    @property
    def known_values(self) -> Sequence[Sequence[str]] | None:
        """The values of each discrete coordinate in files, of which events have the positions; None for real events."""
        if self.space.kind == "real" or self.states:
            return self.states
        return [[*map(str, range(k))] for k in levels(self.space, len(self.column_names))]

    @property
    def digest(self) -> str:
        """A hash of the parameters of one model and of its coordinates, 16 hexadecimal digits: what is measured on them holds for them."""
        found = sha256()
        for name, value in sorted((self.params | {f"fit.{name}": value for name, value in self.fit.items()}).items()):
            found.update(name.encode())
            found.update(value.detach().cpu().contiguous().numpy().tobytes())
        return found.hexdigest()[:16]

    @property
    def provides(self) -> frozenset[str]:
        """The words that the model and the kind of its events provide."""
        return implied(self.model.provides | {self.space.kind})

    @classmethod
    def of(cls, trainer: Trainer) -> "TrainedModel":
        """The model of a trainer, with the parameters that results use."""
        params = {name: value.detach() for name, value in trainer.results().items()}
        model, data = trainer.model, trainer.dataset
        trained, reference = trainer.objective.trained(model), trainer.reference
        coordinates = data.standardization, trainer.rng, list(data.column_names), data.space
        selection = trainer.state.selection if trainer.settings.select else None
        return cls(model, trained, params, trainer.state.carry, trainer.fit, reference, *coordinates, selection)

    @classmethod
    def load(cls, run: Run, device: torch.device) -> "TrainedModel":
        """The model in the newest checkpoint of a run."""
        config, data, stored = energy_files.own(run, run.config()), run.read("dataset.json"), checkpoint.read(newest_checkpoint(run))
        if not data:
            raise bad(f"{run.path.name}: dataset.json is missing", RUN_AGAIN)
        if run.state() == "diverged":
            console.say(f"warning: {run.path.name}: {run.read('status.json').get('reason', 'diverged')}")
        shape, stacked = tuple(data["shape"]), bool(config["seeds"])
        space = space_of(run, data)
        check_shapes(run, config, space, stored)
        groups = results_of(stored), "carry", "fit"
        params, carry, fit = ({name: value.to(device) for name, value in stored[group].items()} for group in groups)
        reference = FittedReference.of(schema.build(config["reference"]), params, shape)
        module = build_energy(config, space, reference.select(0) if stacked else reference)
        model = Model(module.to(device), event_ndim=len(shape), stacked=stacked, space=space)
        rng = Rng(tuple(seeds_of(config)) if stacked else config["seed"], device)
        trained = schema.build(config["objective"]).trained(model)
        coordinates = standardization_of(run, data, space), rng, data["columns"], space
        selection = {name: stored["trainer"][f"selection.{name}"] for name in ("step", "number")} if config["trainer"]["select"] else None
        return cls(model, trained, params, carry, fit, reference, *coordinates, selection, states_of(run, data, space))

    @classmethod
    def of_target(cls, energy: Any, seed: int, device: torch.device) -> "TrainedModel":
        """An energy that is sampled without a run, in the form of a trained model.

        Chains start from a Gaussian (energies/analytic.py), or from fair bits (energies/target.py).
        """
        space = getattr(energy, "space", Space(tuple(energy.shape)))
        params = {name: value.detach().to(device) for name, value in tensors(energy).items()}
        model = Model(energy.to(device), event_ndim=len(space.shape), stacked=False, space=space)
        if space.kind == "real":
            fit = {name: params[name] for name in ("mean", "scale")}
            reference = FittedReference(Gaussian(), {name: value.flatten() for name, value in fit.items()}, space.shape)
        else:
            fit = {name: torch.full(space.shape, 0.5, device=device) for name in ("mean", "scale")}
            reference = FittedReference(FairStates(space), {}, space.shape)
        coordinates = energy.standardization, Rng(seed, device), energy.column_names, space
        return cls(model, model, params | reference.named, {}, fit, reference, *coordinates)

    def select(self, model: int) -> "TrainedModel":
        """One model of a stack. A run with a single model has the index 0 only."""
        if isinstance(model, bool) or not 0 <= model < len(self.rng.seed_list):
            last = len(self.rng.seed_list) - 1
            raise bad(f"model={model}: this run has {f'models 0 to {last}' if last else 'only model 0'}", f"model={last}")
        if not self.rng.model_shape:
            return self
        params, carry, fit = ({name: value[model] for name, value in part.items()} for part in (self.params, self.carry, self.fit))
        single = replace(self, network=self.network.alone(), model=self.model.alone(), params=params, carry=carry, fit=fit)
        selection = None if self.selection is None else {name: value[model] for name, value in self.selection.items()}
        return replace(single, reference=self.reference.select(model), rng=self.rng.of(model), selection=selection)

    def draw(
        self, sampler: Sampler, draws: Draws, *, seed: int = 0, start: Tensor | None = None, dataset: Dataset | None = None
    ) -> tuple[Tensor, Info]:
        """Samples in the model's coordinates, (*m, n_chains, n_draws, *d). Chains start at `start`, or at the points that the
        sampler chooses: as a rule draws from the reference.

        For a conditional model, the label of each chain is drawn from the labels of the training data.
        """
        rng, n = self.rng.at("draw").at(seed), draws.starts(sampler, self.model)
        start = self.starting_points(sampler, n, seed=seed) if start is None else start
        # a sampler with its own temperature T samples exp(-E) if it is given the energy T E
        model = self.model if sampler.temperature == 1 else Tempered(self.model, 1 / sampler.temperature)
        return chain.draw(sampler, model, self.params | self._labels(n, rng, dataset), start, rng, draws, self.reference)

    def starting_points(self, sampler: Sampler, n: int, *, seed: int) -> Tensor:
        """Where n chains of a sampler start unless the user says otherwise, (*m, n, *d)."""
        return sampler.starting_points(self.model, self.params, self.reference.draw(n, self.rng.at("draw").at(seed)))

    def _labels(self, n: int, rng: Rng, dataset: Dataset | None) -> Params:
        """A label for each of n chains, if the model takes labels."""
        if not self.model.takes_labels:
            return {}
        if dataset is None:
            raise bad(
                "a conditional model needs labels for its samples, but its data are not available", "dataset.path=FILE names the data file"
            )
        labels = dataset.split("train", N_LABELS, self.rng).y
        return {"label": labels.gather(-1, rng.integers("label", labels.shape[-1], n))}

    def scene(
        self,
        dataset: Dataset | None,
        samples: Tensor,
        log_z: float | None,
        title: str,
        *,
        rows: Sequence[Mapping[str, Any]] = (),
        tracked: Mapping[str, str] | None = None,
        frame: Sequence[Sequence[float]] | None = None,
        sampler: Sampler | None = None,
    ) -> Scene:
        """The scene of one model, from which figures are drawn. Names and the title are escaped, as matplotlib reads $...$ as a formula."""
        coordinates = self.rng, self.standardization, [_label(name) for name in self.column_names]
        shown = dataset, samples, log_z, rows, _label(title), tracked or {}, frame, self.space.kind, self.reference, sampler
        return Scene(self.model, self.params, *coordinates, *shown)


def standardization_of(run: Run, stored: Mapping[str, Any], space: Space) -> Standardization:
    """The units that dataset.json stores. Refuses tensors that do not fit the events, which would broadcast to wrong numbers."""
    try:
        found = Standardization.from_json(stored)
        fits = found.is_valid(space.shape) and found.mean.numel() == len(stored["columns"])
    except (TypeError, ValueError, KeyError, AttributeError, RuntimeError, OverflowError):
        fits = False
    if not fits:
        raise bad(f"{run.path.name}: mean, scale, matrix and warp in its dataset.json do not fit its events", RUN_AGAIN)
    return found


def space_of(run: Run, stored: Mapping[str, Any]) -> Space:
    """The space of events that dataset.json stores."""
    n_states = stored["n_states"]
    if (stored["kind"] == "categorical") != bool(n_states) or (isinstance(n_states, list) and len(n_states) != len(stored["columns"])):
        raise bad(f"{run.path.name}: n_states in its dataset.json does not fit its events", RUN_AGAIN)
    return Space(tuple(stored["shape"]), stored["kind"], tuple(n_states) if isinstance(n_states, list) else n_states)


def states_of(run: Run, stored: Mapping[str, Any], space: Space) -> list[list[str]] | None:
    """The values of the columns of a discrete table, which dataset.json stores."""
    if (found := stored.get("states")) is None:
        return None
    values = [found.get(name, []) for name in stored["columns"]]
    if space.kind == "real" or tuple(map(len, values)) != tuple(levels(space, len(values))):
        raise bad(f"{run.path.name}: the states in its dataset.json are not those of its columns", RUN_AGAIN)
    return values


def newest_checkpoint(run: Run) -> Path:
    """The newest intact checkpoint of a run, with a warning for every newer one that is damaged. Refuses a run that has none."""
    faults: list[str] = []
    if found := checkpoint.newest(run.checkpoints, faults.append):
        for line in faults:
            console.say(f"warning: {run.path.name}: {line}; checkpoint {found.name} is used")
        return found
    if run.state() in ("finished", "diverged"):  # its command shows the stored result and trains nothing
        message = (
            f"all checkpoints of {run.path.name} are damaged: {faults[0]}" if faults else f"{run.path.name} has no checkpoints any more"
        )
        raise bad(message, RUN_AGAIN)
    message = f"{run.path.name} has no intact checkpoint: {faults[0]}" if faults else f"{run.path.name} has no checkpoint yet"
    raise bad(message, "run its command again to train it")


def results_of(stored: Mapping[str, Params]) -> str:
    """The group of a checkpoint with the parameters that results use: the selected ones, if there are any."""
    return "selected" if stored["selected"] else "ema"


def check_shapes(run: Run, config: Mapping[str, Any], space: Space, stored: Mapping[str, Params]) -> None:
    """Refuse a checkpoint whose tensors are not those of the config, before memory is taken for the network that the config describes."""
    n_models = (len(seeds_of(config)),) if config["seeds"] else ()
    wanted = {f"fit.{name}": (*n_models, *space.shape) for name in ("mean", "scale")}
    here = {f"fit.{name}": tuple(value.shape) for name, value in stored["fit"].items()}
    if wanted == here:  # the reference has the size of the data, and can be built
        params = stored[results_of(stored)]
        here |= {name: tuple(value.shape) for name, value in params.items()}
        reference = FittedReference.of(schema.build(config["reference"]), params, space.shape)
        try:
            with torch.device("meta"):
                module = build_energy(config, space, reference.select(0) if n_models else reference)
        except RuntimeError:  # an energy of the user's own that computes with values while it is built
            module = build_energy(config, space, reference.select(0) if n_models else reference)
        wanted |= {name: (*n_models, *value.shape) for name, value in tensors(module).items()}
    differing = [name for name, shape in wanted.items() if here.get(name) != shape]
    if differing:
        name, more = differing[0], f" ({len(differing)} such tensors)" if len(differing) > 1 else ""
        found = f"has shape {here[name]}" if name in here else "is missing"
        message = f"{run.path.name}: its checkpoint is not one of its config: {name} {found}, and the config has {wanted[name]}{more}"
        raise bad(message, f"put the original config.yaml and dataset.json back, or {RUN_AGAIN}")


def _label(name: str) -> str:
    """A name as matplotlib shows it literally."""
    return printable(name).replace("$", r"\$")


def build_energy(config: Mapping[str, Any], space: Space, reference: FittedReference) -> Any:
    """The network of a config. Its tensors are read from a checkpoint afterwards."""
    on_cpu = replace(reference, params={name: value.cpu() for name, value in reference.params.items()})
    fit = {"mean": torch.zeros(space.shape), "scale": torch.ones(space.shape)}
    return schema.build(config["energy"], space=space, shape=space.shape, **fit, reference=on_cpu)
