"""A trained run as the verbs see it: model, averaged parameters and units, built from the folder alone, without its data."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ebm_cli import console
from ebm_cli.config import schema
from ebm_cli.core import chain
from ebm_cli.core.chain import Draws
from ebm_cli.core.model import Model, tensors
from ebm_cli.core.rng import Rng
from ebm_cli.core.standardize import Standardization
from ebm_cli.core.wrappers import Tempered
from ebm_cli.errors import bad
from ebm_cli.runs.run import Run
from ebm_cli.training import checkpoint
from ebm_cli.training.trainer import Trainer
from ebm_cli.types import Info, Params, Sampler


@dataclass(frozen=True)
class TrainedModel:
    """`model` and `params` of one model, or of a stack of them; `rng` holds their seeds."""

    network: Model  # as it is trained
    model: Model  # as it is measured and drawn from: at its temperature, at the smallest level of its noise
    params: Params  # the average over the last steps; leaves (*m, ...)
    carry: Params
    fit: Params  # mean and scale of the training data, (*m, *d)
    standardization: Standardization
    rng: Rng
    column_names: list[str]

    @classmethod
    def of(cls, trainer: Trainer) -> "TrainedModel":
        """What a trainer has reached."""
        params = {name: value.detach() for name, value in trainer.named(trainer.state.ema).items()}
        model, data = trainer.model, trainer.dataset
        names = list(data.column_names)
        return cls(
            model, trainer.objective.trained(model), params, trainer.state.carry, trainer.fit, data.standardization, trainer.rng, names
        )

    @classmethod
    def load(cls, run: Run, device: torch.device) -> "TrainedModel":
        """From the newest checkpoint of a run's folder."""
        config, data = run.config(), run.read("dataset.json")
        path = checkpoint.newest(run.checkpoints, run.log)
        if path is None or not data:
            raise bad(f"{run.path.name} has no checkpoint yet", "train it first: type its line again")
        if run.state() == "diverged":
            console.say(f"warning: {run.path.name}: {run.read('status.json')['reason']}")
        stored = checkpoint.read(path)
        shape = tuple(data["shape"])
        module = schema.build(config["energy"], shape=shape, mean=torch.zeros(shape), scale=torch.ones(shape))
        seeds = tuple(range(config["seed"], config["seed"] + config["seeds"])) if config["seeds"] else config["seed"]
        model = Model(module.to(device), event_ndim=len(shape), stacked=bool(config["seeds"]))
        params, carry, fit = ({name: value.to(device) for name, value in stored[group].items()} for group in ("ema", "carry", "fit"))
        if missing := set(tensors(module)) - set(params):
            raise bad(f"{run.path.name}: its checkpoint lacks {', '.join(sorted(missing))}", "force=true trains the run anew")
        trained = schema.build(config["objective"]).trained(model)
        return cls(model, trained, params, carry, fit, Standardization.from_json(data), Rng(seeds, device), data["columns"])

    @classmethod
    def of_analytic(cls, energy: Any, seed: int, device: torch.device) -> "TrainedModel":
        """An energy that is known as it stands (energies/analytic.py), as the verbs see a run: nothing was trained."""
        params = {name: value.to(device) for name, value in tensors(energy).items()}
        model = Model(energy.to(device), event_ndim=len(energy.shape), stacked=False)
        fit = {name: params[name] for name in ("mean", "scale")}
        return cls(model, model, params, {}, fit, energy.standardization, Rng(seed, device), energy.column_names)

    def select(self, model: int) -> "TrainedModel":
        """One model of a stack; a single model is its own number 0."""
        if not 0 <= model < len(self.rng.seed_list):
            raise bad(f"model={model}: this run holds {len(self.rng.seed_list)} models", f"model=0 .. model={len(self.rng.seed_list) - 1}")
        if not self.rng.model_shape:
            return self
        params, carry, fit = ({name: value[model] for name, value in part.items()} for part in (self.params, self.carry, self.fit))
        return TrainedModel(
            self.network.alone(), self.model.alone(), params, carry, fit, self.standardization, self.rng.of(model), self.column_names
        )

    def start(self, n: int, rng: Rng) -> Tensor:
        """(*m, n, *d) from N(mean, scale^2) of the training data."""
        return chain.starts(n, rng, mean=self.fit["mean"], scale=self.fit["scale"])

    def draw(self, sampler: Sampler, draws: Draws, *, seed: int = 0, start: Tensor | None = None) -> tuple[Tensor, Info]:
        """Samples in the model's units, (*m, n_chains, n_draws, *d); chains start at `start`, else at N(mean, scale^2) of the data."""
        rng = self.rng.at("draw").at(seed)
        start = self.start(draws.starts(sampler, self.model), rng) if start is None else start
        # chains at a temperature of their own are given what follows exp(-E) at it
        model = self.model if sampler.temperature == 1 else Tempered(self.model, 1 / sampler.temperature)
        return chain.draw(sampler, model, self.params, start, rng, draws)
