"""A trained model as the verbs see it: networks, averaged parameters and coordinates, built from a run's folder alone, without its data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ebm_cli import console
from ebm_cli.config import schema
from ebm_cli.config.settings import seeds_of
from ebm_cli.core import chain
from ebm_cli.core.chain import Draws
from ebm_cli.core.contracts import Dataset, Sampler
from ebm_cli.core.figure import Scene
from ebm_cli.core.fitted_reference import FittedReference
from ebm_cli.core.model import Model, tensors
from ebm_cli.core.rng import Rng
from ebm_cli.core.standardize import Standardization
from ebm_cli.core.wrappers import Tempered
from ebm_cli.errors import bad
from ebm_cli.references.gaussian import Gaussian
from ebm_cli.runs.run import Run
from ebm_cli.training import checkpoint
from ebm_cli.training.trainer import Trainer
from ebm_cli.types import Info, Params, Space

N_LABELS = 10_000  # training labels from which those of samples are drawn


@dataclass(frozen=True)
class TrainedModel:
    """`model` and `params` of one model, or of a stack of them; `rng` holds their seeds."""

    network: Model  # as it is trained
    model: Model  # as it is measured and sampled: at its temperature, at the smallest noise level
    params: Params  # averaged over the last steps, with the reference's; leaves (*m, ...)
    carry: Params
    fit: Params  # mean and scale of the training data, (*m, *d)
    reference: FittedReference
    standardization: Standardization
    rng: Rng
    column_names: Sequence[str]
    space: Space

    @property
    def provides(self) -> frozenset[str]:
        """What the model and the kind of its events have to offer."""
        return self.model.provides | {self.space.kind}

    @classmethod
    def of(cls, trainer: Trainer) -> "TrainedModel":
        """What a trainer has reached."""
        params = {name: value.detach() for name, value in trainer.named(trainer.state.ema).items()}
        model, data = trainer.model, trainer.dataset
        trained, reference = trainer.objective.trained(model), trainer.reference
        coordinates = data.standardization, trainer.rng, list(data.column_names), data.space
        return cls(model, trained, params, trainer.state.carry, trainer.fit, reference, *coordinates)

    @classmethod
    def load(cls, run: Run, device: torch.device) -> "TrainedModel":
        """From the newest checkpoint of a run's folder."""
        config, data = run.config(), run.read("dataset.json")
        path = checkpoint.newest(run.checkpoints, run.log)
        if path is None or not data:
            raise bad(f"{run.path.name} has no checkpoint yet", "train it first: run its command again")
        if run.state() == "diverged":
            console.say(f"warning: {run.path.name}: {run.read('status.json')['reason']}")
        stored = checkpoint.read(path)
        shape, stacked = tuple(data["shape"]), bool(config["seeds"])
        space = Space(shape, data["kind"], data["n_states"])
        params, carry, fit = ({name: value.to(device) for name, value in stored[group].items()} for group in ("ema", "carry", "fit"))
        reference = FittedReference.of(schema.build(config["reference"]), params, shape)
        module = build_energy(config, space, reference.select(0) if stacked else reference)
        if missing := set(tensors(module)) - set(params):
            raise bad(f"{run.path.name}: its checkpoint lacks {', '.join(sorted(missing))}", "force=true trains the run anew")
        model = Model(module.to(device), event_ndim=len(shape), stacked=stacked)
        rng = Rng(tuple(seeds_of(config)) if stacked else config["seed"], device)
        trained = schema.build(config["objective"]).trained(model)
        return cls(model, trained, params, carry, fit, reference, Standardization.from_json(data), rng, data["columns"], space)

    @classmethod
    def of_analytic(cls, energy: Any, seed: int, device: torch.device) -> "TrainedModel":
        """An analytic energy (energies/analytic.py), as the verbs see a run: nothing was trained."""
        params = {name: value.to(device) for name, value in tensors(energy).items()}
        model = Model(energy.to(device), event_ndim=len(energy.shape), stacked=False)
        fit = {name: params[name] for name in ("mean", "scale")}
        space = Space(tuple(energy.shape))
        reference = FittedReference(Gaussian(), {name: value.flatten() for name, value in fit.items()}, space.shape)
        coordinates = energy.standardization, Rng(seed, device), energy.column_names, space
        return cls(model, model, params | reference.named, {}, fit, reference, *coordinates)

    def select(self, model: int) -> "TrainedModel":
        """One model of a stack; a single model is number 0."""
        if not 0 <= model < len(self.rng.seed_list):
            raise bad(f"model={model}: this run holds {len(self.rng.seed_list)} models", f"model=0 .. model={len(self.rng.seed_list) - 1}")
        if not self.rng.model_shape:
            return self
        params, carry, fit = ({name: value[model] for name, value in part.items()} for part in (self.params, self.carry, self.fit))
        single = replace(self, network=self.network.alone(), model=self.model.alone(), params=params, carry=carry, fit=fit)
        return replace(single, reference=self.reference.select(model), rng=self.rng.of(model))

    def draw(
        self, sampler: Sampler, draws: Draws, *, seed: int = 0, start: Tensor | None = None, dataset: Dataset | None = None
    ) -> tuple[Tensor, Info]:
        """Samples in the model's coordinates, (*m, n_chains, n_draws, *d), of chains that start at `start`, else at the reference.

        The chains of a conditional model have labels drawn from those of the training data.
        """
        rng, n = self.rng.at("draw").at(seed), draws.starts(sampler, self.model)
        start = self.reference.draw(n, rng) if start is None else start
        # a sampler with a temperature T of its own follows exp(-E) where it is given T E
        model = self.model if sampler.temperature == 1 else Tempered(self.model, 1 / sampler.temperature)
        return chain.draw(sampler, model, self.params | self._labels(n, rng, dataset), start, rng, draws)

    def _labels(self, n: int, rng: Rng, dataset: Dataset | None) -> Params:
        """A label for each of n chains, where the model takes labels."""
        if not self.model.takes_labels:
            return {}
        if dataset is None:
            raise bad("a conditional model needs labels to be sampled, and its data are not available", "dataset.path=FILE names them")
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
    ) -> Scene:
        """What figures are given of one model."""
        coordinates = self.rng, self.standardization, self.column_names
        return Scene(self.model, self.params, *coordinates, dataset, samples, log_z, rows, title, tracked or {}, frame, self.space.kind)


def build_energy(config: Mapping[str, Any], space: Space, reference: FittedReference) -> Any:
    """The network of a config; its tensors come from a checkpoint."""
    on_cpu = replace(reference, params={name: value.cpu() for name, value in reference.params.items()})
    fit = {"mean": torch.zeros(space.shape), "scale": torch.ones(space.shape)}
    return schema.build(config["energy"], space=space, shape=space.shape, **fit, reference=on_cpu)
