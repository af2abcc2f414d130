"""Conditional noise-contrastive estimation: softplus(E(x) - E(x~)), x~ = x + eps z. Ceylan & Gutmann 2018, arXiv:1806.03664.

The model classifies which of x and x~ is the data point. The noise is symmetric, so that neither its density nor log Z is needed. In the
limit eps -> 0 it is score matching. Cost per sample and step: 1 + `n_noise` energies. It is not suited to distant modes unless eps is as
large as the distance between them.

It does not constrain the energy where no noise reaches: at eps = 0.3 one network in four put mass far outside the twenty-five Gaussians,
and the others had ten times the KL that they have with the default eps (results/tune_defaults.json). The loss of every eps is minimal at
the true density. If there are several values of eps, data points use them in turn.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import softplus

from ebm_cli.core.contracts import Objective
from ebm_cli.core.model import Model, in_turn
from ebm_cli.core.rng import Rng
from ebm_cli.types import Count, Info, Params, Positive, Positives


@dataclass(frozen=True)
class ConditionalNoiseContrastive(Objective):
    """`eps`: one or several standard deviations of the noise, in the model's units; `n_noise`: noise points per data point."""

    eps: Positive | Positives
    n_noise: Count
    requires: ClassVar[frozenset[str]] = frozenset({"real", "energy"})

    def prepare(self, model: Model, params: Params, carry: Params, x: Tensor, rng: Rng) -> tuple[Params, Params, Info]:
        axis = x.ndim - 1 - model.event_ndim
        noise = in_turn(self.eps, x, axis) * rng.normal("noise", self.n_noise, *x.shape[axis:])
        return {"points": torch.cat([x, (x.unsqueeze(axis) + noise).flatten(axis, axis + 1)], axis)}, carry, {}

    def loss(self, model: Model, params: Params, x: Tensor, aux: Params) -> tuple[Tensor, Info]:
        n = x.shape[x.ndim - 1 - model.event_ndim]
        energy = model.energy(params, aux["points"])
        here, away = energy[..., :n], energy[..., n:].unflatten(-1, (self.n_noise, n))
        return softplus(here.unsqueeze(-2) - away).mean(-2), {"energy": here}

    def shown(self, model: Model, x: Tensor, aux: Params) -> Params:
        axis = x.ndim - 1 - model.event_ndim
        return {"noise": aux["points"].narrow(axis, x.shape[axis], aux["points"].shape[axis] - x.shape[axis])}
