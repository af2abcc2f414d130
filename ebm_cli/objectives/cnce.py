"""Conditional noise-contrastive estimation: softplus(E(x) - E(x~)), x~ = x + eps z. Ceylan & Gutmann 2018, arXiv:1806.03664.

Which of the two came from the data? The noise is symmetric, so that neither its density nor log Z enters. As eps tends to zero it is score
matching. Cost per sample and step: 1 + `n_noise` energies. Not for far-apart modes unless eps reaches from one to the other.

It says nothing of places that no noise reaches: at eps = 0.3 one network in four put mass far outside the twenty-five Gaussians, and the
others came to ten times the KL (results/tune_defaults.json). Each eps has its minimum at the truth; of several, the data have one each,
in turn.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import softplus

from ebm_cli.core.model import Model, in_turn
from ebm_cli.core.rng import Rng
from ebm_cli.types import Count, Info, Objective, Params, Positive, Positives


@dataclass(frozen=True)
class ConditionalNoiseContrastive(Objective):
    """`eps`: the standard deviation of the noise, in the model's units, or several; `n_noise`: noise points per data point."""

    eps: Positive | Positives
    n_noise: Count
    requires: ClassVar[frozenset[str]] = frozenset({"energy"})

    def prepare(self, model: Model, params: Params, carry: Params, x: Tensor, rng: Rng) -> tuple[Params, Params, Info]:
        axis = x.ndim - 1 - model.event_ndim
        noise = in_turn(self.eps, x, axis) * rng.normal("noise", self.n_noise, *x.shape[axis:])
        return {"points": torch.cat([x, (x.unsqueeze(axis) + noise).flatten(axis, axis + 1)], axis)}, carry, {}

    def loss(self, model: Model, params: Params, x: Tensor, aux: Params) -> tuple[Tensor, Info]:
        n = x.shape[x.ndim - 1 - model.event_ndim]
        energy = model.energy(params, aux["points"])
        here, away = energy[..., :n], energy[..., n:].unflatten(-1, (self.n_noise, n))
        return softplus(here.unsqueeze(-2) - away).mean(-2), {"energy": here}
