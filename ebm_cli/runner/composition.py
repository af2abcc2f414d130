"""An energy composed of the energies of trained runs. Hinton 2002; Du et al. 2020, arXiv:2004.06030.

    product     E(y) = sum_k w_k E_k(y)                       what is likely in all of them, log Z not known
    mixture     E(y) = -log sum_k w_k exp(-E_k(y)) / Z_k      what is likely in any, log Z = 0
    negation    E(y) = w_0 E_0(y) - sum_{k>0} w_k E_k(y)      what is likely in the first and not in the others
    tempering   E(y) = E_0(y)                                 one run

and then E / T, with log Z known where T = 1 alone, and the Z_k are measured rather than learned. Each run lives in standardised units of
its own, u_k = (y - mean_k) / scale_k; the composition lives in the first run's. As a function of y an energy stays what it is, and Z_k is
its integral over y:

    E_k at u_0:  u_k = (scale_0 u_0 + mean_0 - mean_k) / scale_k,    log int exp(-E_k) dy = log int exp(-E_k) du_k + sum log scale_k

A negation is a density only where the first run's energy climbs faster than the others': their weights stay below its own.
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from ebm_cli.core.standardize import Standardization
from ebm_cli.energies.analytic import Analytic, Box
from ebm_cli.errors import bad
from ebm_cli.runner import evaluate
from ebm_cli.runner.trained_model import TrainedModel
from ebm_cli.runs import catalog
from ebm_cli.runs.run import Run
from ebm_cli.types import Natural, Positive

REACH = 5.0  # standard deviations of the data about their mean


class Composition(Analytic):
    """u_0 (B, *d) -> E (B,). `models`: which model of each stacked run; null for the first."""

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
        trained = [TrainedModel.load(one, torch.device("cpu")).select(k) for one, k in zip(folders, models or [0] * len(runs), strict=True)]
        first = trained[0]
        for folder, one in zip(folders, trained, strict=True):
            if "energy" not in one.model.provides:
                raise bad(f"energy.runs: {folder.path.name} has no energy: its network outputs the score")
            if not {"real", "unconditional"} <= one.provides:
                what = "takes a label" if one.space.kind == "real" else f"is of {one.space.kind} events"
                raise bad(f"energy.runs: the energy of {folder.path.name} {what}: it cannot be composed")
            if one.standardization.matrix is not None:
                raise bad(f"energy.runs: {folder.path.name} models principal components: its energy is no function of the data's columns")
            if one.standardization.mean.shape != first.standardization.mean.shape:
                here, there = (tuple(run.standardization.mean.shape) for run in (one, first))
                raise bad(f"energy.runs: events of {folder.path.name} have shape {here}, those of {folders[0].path.name} {there}")
        super().__init__(first.fit["mean"], first.fit["scale"])
        self.how, self.temperature, self._standardization, self._names = how, temperature, first.standardization, first.column_names
        found = [log_z_of(one, k) for one, k in zip(folders, models or [0] * len(runs), strict=True)] if how == "mixture" else []
        log_zs, self.normalised = [log_z for log_z, _ in found], all(measured for _, measured in found)
        self.members = nn.ModuleList([Member(one, first.standardization) for one in trained])
        weight = torch.tensor(weights or [1.0] * len(runs), dtype=torch.double)
        if how == "mixture":
            weight = (weight / weight.sum()).log() - torch.tensor(log_zs, dtype=torch.double)
        elif how == "negation":
            weight[1:] *= -1
        self.register_buffer("weights", weight.to(self.mean))  # of a mixture log(w_k / Z_k)
        ends = [one.standardization.to_data(one.fit["mean"] + side * REACH * one.fit["scale"]) for one in trained for side in (-1, 1)]
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
        return 0.0 if self.how == "mixture" and self.temperature == 1 and self.normalised else None

    def forward(self, x: Tensor) -> Tensor:
        energies = torch.stack([member(x) for member in self.members], -1)
        if self.how == "mixture":
            return -torch.logsumexp(self.weights - energies, -1) / self.temperature
        return (self.weights * energies).sum(-1) / self.temperature


class Member(nn.Module):
    """u_0 (B, *d), in the first run's units -> E_k (B,)."""

    def __init__(self, trained: TrainedModel, first: Standardization) -> None:
        super().__init__()
        self.model = trained.model
        self.names = {name: name.replace(".", "/") for name in trained.params}  # a buffer's name takes no dot
        for name, key in self.names.items():
            self.register_buffer(key, trained.params[name])
        ratio, shift = (
            first.scale / trained.standardization.scale,
            (first.mean - trained.standardization.mean) / trained.standardization.scale,
        )
        self.register_buffer("ratio", ratio.to(trained.fit["mean"]))
        self.register_buffer("shift", shift.to(trained.fit["mean"]))

    def forward(self, x: Tensor) -> Tensor:
        params = {name: getattr(self, key) for name, key in self.names.items()}
        return self.model.energy(params, x * self.ratio + self.shift)


def check(runs: Sequence[str], how: str, weights: Sequence[float] | None, models: Sequence[int] | None) -> None:
    """Refuse numbers of runs, weights and models that do not go together."""
    if not runs:
        raise bad("energy.runs: runs are needed: ids, unique prefixes, paths, or `last`", "energy.runs=[ID,ID]; `ebm runs` lists them")
    if how == "tempering" and len(runs) > 1:
        raise bad(f"energy.how=tempering takes one run, not {len(runs)}", "energy.how=product energy.temperature=T tempers a product")
    if how == "negation" and len(runs) < 2:
        raise bad("energy.how=negation takes two runs or more: the first without the others", "energy.runs=[ID,ID]")
    if how == "negation" and weights is None:
        message = "energy.weights: a negation needs them: those of the negated runs below the first's, or nothing holds the chains"
        raise bad(message, f"energy.weights=[1{',0.5' * (len(runs) - 1)}]")
    for name, values in (("weights", weights), ("models", models)):
        if values is not None and len(values) != len(runs):
            raise bad(f"energy.{name}: {len(values)} for {len(runs)} runs", "one for each, in the same order; or null")


def log_z_of(one: Run, model: int) -> tuple[float, bool]:
    """log Z of a run's energy in data units, as its summary has it, and whether it was measured, not learned by the objective."""
    summary = one.read("summary.json")
    found, error, _ = evaluate.log_z(summary, model)
    if found is None or not math.isfinite(found):
        reasons = summary.get("reasons", {}).get("log_z")
        reason = (reasons[model] if isinstance(reasons, list) else reasons) or "it has not been measured"
        measure = "" if "quadrature takes" in reason else f"ebm evaluate {one.id} metric=[quadrature], or "
        raise bad(
            f"energy.how=mixture needs log Z of {one.path.name}, which is not known: {reason}",
            f"{measure}energy.how=product, which needs none",
        )
    return found, error is not None
