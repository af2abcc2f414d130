"""Energy discrepancy: log( w/M + 1/M sum_j exp(E(x) - E(x + t z + t z_j)) ). Schroeder et al. 2023, arXiv:2307.06431.

x + t z is the perturbed data point, with z shared by its M negatives; t z_j is a second perturbation that leads back toward the data. It
needs neither scores nor chains. It interpolates between score matching (small t) and maximum likelihood (large t), and learns the relative
weights of modes within a few t of each other. w keeps the argument of the logarithm away from zero for small M. Cost per sample and step:
1 + M energies. It is not suited to high dimensions, where few of the M points return near the data.

It does not constrain the energy where no perturbation reaches: at t = 0.3 one network in twelve put mass five standard deviations outside
the twenty-five Gaussians (results/tune_defaults.json). The loss of every t is minimal at the true density. If there are several values of
t, data points use them in turn.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ebm_cli.core.contracts import Objective
from ebm_cli.core.model import Model, in_turn
from ebm_cli.core.rng import Rng
from ebm_cli.types import Count, Info, NonNegative, Params, Positive, Positives


@dataclass(frozen=True)
class EnergyDiscrepancy(Objective):
    """`t`: one or several standard deviations of the perturbation, in the model's units; `n_noise`: M; `w`: the stabiliser."""

    t: Positive | Positives
    n_noise: Count
    w: NonNegative
    requires: ClassVar[frozenset[str]] = frozenset({"real", "energy"})

    def prepare(self, model: Model, params: Params, carry: Params, x: Tensor, rng: Rng) -> tuple[Params, Params, Info]:
        axis = x.ndim - 1 - model.event_ndim
        t = in_turn(self.t, x, axis)
        disturbed = x + t * rng.normal_like("there", x)
        back = disturbed.unsqueeze(axis) + t * rng.normal("back", self.n_noise, *x.shape[axis:])
        return {"points": torch.cat([x, back.flatten(axis, axis + 1)], axis)}, carry, {}

    def loss(self, model: Model, params: Params, x: Tensor, aux: Params) -> tuple[Tensor, Info]:
        n = x.shape[x.ndim - 1 - model.event_ndim]
        energy = model.energy(params, aux["points"])
        here, back = energy[..., :n], energy[..., n:].unflatten(-1, (self.n_noise, n))
        terms = here.unsqueeze(-2) - back
        if self.w:
            terms = torch.cat([terms, torch.full_like(here, math.log(self.w)).unsqueeze(-2)], -2)
        return torch.logsumexp(terms, -2) - math.log(self.n_noise), {"energy": here}
