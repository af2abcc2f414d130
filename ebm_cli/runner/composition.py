"""An energy composed of the energies of trained runs. Hinton 2002; Du et al. 2020, arXiv:2004.06030.

    product     E(y) = sum_k w_k E_k(y)                       high density where all runs have it; log Z is unknown
    mixture     E(y) = -log sum_k w_k exp(-E_k(y)) / Z_k      high density where any run has it; log Z = 0
    negation    E(y) = w_0 E_0(y) - sum_{k>0} w_k E_k(y)      high density where the first run has it and the others do not
    tempering   E(y) = E_0(y)                                 a single run

The energy is then divided by T. log Z is known only for a mixture with T = 1. It needs the measured log Z of each run. Each run has its
own standardized coordinates, u_k = (y - mean_k) / scale_k, and the composition uses those of the first run. The energies are the same
functions of y as before, and Z_k is an integral over y:

    E_k at u_0:  u_k = (scale_0 u_0 + mean_0 - mean_k) / scale_k,    log int exp(-E_k) dy = log int exp(-E_k) du_k + sum log scale_k

A negation is normalizable only if the energy of the first run grows faster than those of the others, so their weights must be smaller.
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from ebm_cli.core.standardize import Standardization
from ebm_cli.energies.analytic import Analytic, Box
from ebm_cli.errors import bad
from ebm_cli.metrics.quadrature import has_grid
from ebm_cli.runner import estimators, evaluate
from ebm_cli.runner.trained_model import TrainedModel
from ebm_cli.runs import catalog
from ebm_cli.runs.run import Run
from ebm_cli.types import Natural, Positive

REACH = 5.0  # half the width of the box, in standard deviations of the data about their mean


class Composition(Analytic):
    """u_0 (B, *d) -> E (B,). `models` are the indices of the models in runs with several seeds; null stands for the first ones."""

    def __init__(
        self,
        *,
        runs: Sequence[str],
        how: Literal["product", "mixture", "negation", "tempering"],
        weights: Sequence[Positive] | None,
        temperature: Positive,
        models: Sequence[Natural] | None,
    ) -> None:
        check(runs, how, weights, models)
        folders = [catalog.find(name) for name in runs]
        members = [TrainedModel.load(run, torch.device("cpu")).select(k) for run, k in zip(folders, models or [0] * len(runs), strict=True)]
        first = members[0]
        for run, member in zip(folders, members, strict=True):
            if "energy" not in member.model.provides:
                raise bad(f"energy.runs: {run.path.name} has no energy: its network outputs the score")
            if not {"real", "unconditional"} <= member.provides:
                what = "takes a label" if member.space.kind == "real" else f"is of {member.space.kind} events"
                raise bad(f"energy.runs: the energy of {run.path.name} {what}: it cannot be composed")
            if member.standardization.matrix is not None:
                what = "its energy is not a function of the columns of the data"
                raise bad(f"energy.runs: {run.path.name} models principal components: {what}")
            if member.standardization.warp is not None:
                what = "the coordinates of the runs must be linear in the columns"
                raise bad(f"energy.runs: {run.path.name} was trained with dataset.transform=quantile: {what}")
            if member.standardization.mean.shape != first.standardization.mean.shape:
                here, there = (tuple(model.standardization.mean.shape) for model in (member, first))
                raise bad(f"energy.runs: events of {run.path.name} have shape {here}, those of {folders[0].path.name} {there}")
        super().__init__(first.fit["mean"], first.fit["scale"])
        self.how, self.temperature, self._standardization, self._names = how, temperature, first.standardization, first.column_names
        log_zs = [log_z_of(*of) for of in zip(folders, members, models or [0] * len(runs), strict=True)] if how == "mixture" else []
        self.members = nn.ModuleList([Member(member, first.standardization) for member in members])
        weight = torch.tensor(weights or [1.0] * len(runs), dtype=torch.double)
        if how == "mixture":
            weight = (weight / weight.sum()).log() - torch.tensor(log_zs, dtype=torch.double)
        elif how == "negation":
            weight[1:] *= -1
        self.register_buffer("weights", weight.to(self.mean))  # for a mixture: log(w_k / Z_k)
        sides = [(member, side * REACH) for member in members for side in (-1, 1)]
        ends = [member.standardization.to_data(member.fit["mean"] + side * member.fit["scale"]) for member, side in sides]
        inside = torch.stack([first.standardization.from_data(end) for end in ends]).flatten(1)
        self.box = list(zip(inside.amin(0).tolist(), inside.amax(0).tolist(), strict=True))
        self.length_scale = 0.05 * self.scale.min().item()

    @property
    def frame(self) -> Box:
        return [(0.8 * a + 0.2 * b, 0.2 * a + 0.8 * b) for a, b in self.box]

    @property
    def standardization(self) -> Standardization:
        return self._standardization

    @property
    def column_names(self) -> list[str]:
        return list(self._names)

    @property
    def log_z(self) -> float | None:
        return 0.0 if self.how == "mixture" and self.temperature == 1 else None

    def forward(self, x: Tensor) -> Tensor:
        energies = torch.stack([member(x) for member in self.members], -1)
        if self.how == "mixture":
            return -torch.logsumexp(self.weights - energies, -1) / self.temperature
        return (self.weights * energies).sum(-1) / self.temperature


class Member(nn.Module):
    """One run of the composition: u_0 (B, *d), in the coordinates of the first run, -> E_k (B,)."""

    def __init__(self, trained: TrainedModel, first: Standardization) -> None:
        super().__init__()
        self.model = trained.model
        self.names = {name: name.replace(".", "/") for name in trained.params}  # the name of a buffer must not contain a dot
        for name, key in self.names.items():
            self.register_buffer(key, trained.params[name])
        own = trained.standardization
        self.register_buffer("ratio", (first.scale / own.scale).to(trained.fit["mean"]))
        self.register_buffer("shift", ((first.mean - own.mean) / own.scale).to(trained.fit["mean"]))

    def forward(self, x: Tensor) -> Tensor:
        params = {name: getattr(self, key) for name, key in self.names.items()}
        return self.model.energy(params, x * self.ratio + self.shift)


def check(runs: Sequence[str], how: str, weights: Sequence[float] | None, models: Sequence[int] | None) -> None:
    """Refuse a composition whose runs, weights and models do not fit together."""
    if not runs:
        raise bad("energy.runs: name the runs, by id, unique prefix or path, or `last`", "energy.runs=[ID,ID]; `ebm runs` lists the runs")
    if how == "tempering" and len(runs) > 1:
        raise bad(f"energy.how=tempering takes one run, not {len(runs)}", "energy.how=product energy.temperature=T tempers a product")
    if how == "negation" and len(runs) < 2:
        raise bad(
            "energy.how=negation takes two runs or more: the energies of the others are subtracted from that of the first",
            "energy.runs=[ID,ID]",
        )
    if how == "negation" and weights is None:
        message = (
            "energy.weights: a negation needs weights, smaller for the negated runs than for the first; otherwise the chains may diverge"
        )
        raise bad(message, f"energy.weights=[1{',0.5' * (len(runs) - 1)}]")
    for name, values in (("weights", weights), ("models", models)):
        if values is not None and len(values) != len(runs):
            raise bad(
                f"energy.{name}: the list has length {len(values)}, but the number of runs is {len(runs)}",
                "give one value for each run, in the same order, or null",
            )


def log_z_of(run: Run, trained: TrainedModel, model: int) -> float:
    """The measured log Z of a run's energy in data units, from its summary."""
    summary = evaluate.stored_numbers(run, trained, model)
    found, _, _ = estimators.log_z(summary, model)
    if found is None or not math.isfinite(found):
        reasons = summary.get("reasons", {}).get("log_z")
        reason = (reasons[model] if isinstance(reasons, list) else reasons) or "it has not been measured"
        tried = "quadrature" in summary.get("measured_with", {}).get("metric", {})
        can_be_measured = not tried and has_grid(run.read("dataset.json")["shape"])
        measure = f"ebm evaluate {run.id} metric=[quadrature], or " if can_be_measured else ""
        raise bad(
            f"energy.how=mixture needs log Z of {run.path.name}, which is unknown: {reason}",
            f"{measure}energy.how=product, which does not need it",
        )
    return found
