"""The selection of the step whose averaged parameters are used, by a number on the validation events.

    loss   the loss of the objective
    nll    mean E(x) + log Z,    log Z = log mean exp(-E(y) - log q(y)),    y_1 .. y_n ~ q, the reference of the run

Small tables overfit within a thousand steps, and the best step is not known in advance. The number is measured at step 0, so that a
network that starts at the reference is never worse than the reference on the validation events, and after every `evaluate_every` steps.
It has random numbers of its own, the same at every step, so that differences between steps are not noise. Importance sampling
underestimates log Z if q misses a region where the model has mass, and would then select a bad model: where the effective sample size is
below FEW of the draws, a step is not selected.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ebm_cli.core.contracts import Dataset, Objective
from ebm_cli.core.fitted_reference import FittedReference
from ebm_cli.core.model import Model
from ebm_cli.core.rng import Rng
from ebm_cli.errors import Problem, bad
from ebm_cli.types import Params

N_EVENTS = 4096  # maximum number of validation events; fewer events are repeated, with other noise, for the loss
N_DRAWS = 8192  # draws from the reference
OFF = {"patience": "trainer.patience=null", "refit": "trainer.refit=false"}
FEW = 0.02  # smallest effective sample size, as a fraction of N_DRAWS


def problems(trainer: Mapping[str, Any], dataset: Mapping[str, Any]) -> list[Problem]:
    """The settings of a trainer that need `trainer.select` or validation events, but do not have them."""
    needing = [key for key in ("patience", "refit") if trainer.get(key)]
    without = " ".join(["trainer.select=null", *(OFF[key] for key in needing)])
    if trainer.get("select") is not None and dataset.get("validation") == 0:
        return [Problem("trainer.select needs validation events, but dataset.validation=0", f"dataset.validation=0.1; or {without}")]
    if trainer.get("select") is not None or not needing:
        return []
    named, verb = " and ".join(f"trainer.{key}" for key in needing), "need" if len(needing) > 1 else "needs"
    hint = f"trainer.select=auto; or {' '.join(OFF[key] for key in needing)}"
    return [Problem(f"{named} {verb} a selection of the step, but trainer.select=null", hint)]


class Selection:
    """Measures the averaged parameters of a network on the validation events. `rule` is auto, loss or nll."""

    def __init__(self, rule: str, network: Model, objective: Objective, reference: FittedReference, dataset: Dataset, rng: Rng) -> None:
        self._network, self._objective, self._reference, self._dataset = network, objective, reference, dataset
        self._model, self._rng = objective.trained(network), rng.at("select")
        has_nll = self._model.provides >= {"energy", "unconditional"}
        self.rule = ("nll" if has_nll else "loss") if rule == "auto" else rule
        if self.rule == "nll" and not has_nll:
            raise bad("trainer.select=nll needs an energy without labels", "trainer.select=loss")
        if self.rule == "loss" and not objective.loss_is_comparable:
            hint = "trainer.select=nll" if has_nll else "trainer.select=null"
            raise bad("trainer.select=loss: the loss of this objective does not measure the fit", hint)
        self._batch = dataset.split("validation", N_EVENTS, self._rng)
        units = dataset.standardization
        self._constant = units.log_det - units.log_warp(units.to_data(self._batch.x)).mean(-1).to(self._batch.x.device)
        self._draws = reference.draw(N_DRAWS, self._rng, "draws") if self.rule == "nll" else None

    @staticmethod
    def begin(theta: Tensor) -> Params:
        """No selection yet, for parameters (*m, P): the number and step of the selected parameters, and the evaluations since then."""
        m = theta.shape[:-1]
        count = torch.zeros(m, dtype=torch.int64, device=theta.device)
        return {"number": torch.full(m, math.inf, dtype=torch.double, device=theta.device), "step": count, "misses": count.clone()}

    def number(self, params: Params, carry: Params) -> Tensor:
        """The number of the parameters, (*m,), in double precision; infinite if it is not known. `carry` is that of the objective."""
        params = {name: value.detach() for name, value in params.items()}
        found = (self._nll(params) if self.rule == "nll" else self._loss(params, carry)).detach()
        return torch.where(found.isfinite(), found, math.inf)

    def _loss(self, params: Params, carry: Params) -> Tensor:
        x, y = self._batch
        axis = x.ndim - 1 - self._network.event_ndim
        n = math.ceil(N_EVENTS / x.shape[axis])
        x = torch.cat([x] * n, axis)
        params = params | ({"label": torch.cat([y] * n, -1)} if self._network.takes_labels else {})
        with torch.enable_grad():  # score matching differentiates in x
            aux, _, _ = self._objective.prepare(self._network, params, carry, x, self._rng)
            loss, _ = self._objective.loss(self._network, params, x, aux)
        return loss.double().mean(-1)

    @torch.no_grad()
    def _nll(self, params: Params) -> Tensor:
        weight = (-self._model.energy(params, self._draws) - self._reference.log_prob(self._draws)).double()
        log_z, log_square = weight.logsumexp(-1), (2 * weight).logsumexp(-1)
        few = (2 * log_z - log_square).exp() < FEW * N_DRAWS
        nll = self._model.energy(params, self._batch.x).double().mean(-1) + log_z - math.log(N_DRAWS)
        return torch.where(few, math.inf, nll + self._constant)
