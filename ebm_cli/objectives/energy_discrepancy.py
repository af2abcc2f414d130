"""Energy discrepancy: log( w/M + 1/M sum_j exp(E(x) - E(x + t z + t z_j)) ). Schroeder et al. 2023, arXiv:2307.06431.

z is shared by the M points of a datum: x + t z is the datum disturbed, t z_j goes back. No scores and no chains; it interpolates between
score matching (t small) and maximum likelihood (t large), and sees modes that lie within a few t of each other. w keeps the logarithm away
from zero where M is small. Cost per sample and step: 1 + M energies. Not for high dimensions, where few of the M points come back.

It says nothing of places that no disturbance reaches: at t = 0.3 one network in twelve put mass five standard deviations outside the
twenty-five Gaussians (results/tune_defaults.json). Each t has its minimum at the truth; of several, the data have one each, in turn.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ebm_cli.core.model import Model, in_turn
from ebm_cli.core.rng import Rng
from ebm_cli.types import Count, Info, NonNegative, Objective, Params, Positive, Positives


@dataclass(frozen=True)
class EnergyDiscrepancy(Objective):
    """`t`: the standard deviation of the disturbance, in the model's units, or several; `n_noise`: M; `w`: the stabiliser."""

    t: Positive | Positives
    n_noise: Count
    w: NonNegative
    requires: ClassVar[frozenset[str]] = frozenset({"energy"})

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
