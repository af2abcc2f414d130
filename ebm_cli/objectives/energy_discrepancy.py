"""Energy discrepancy: log( w/M + 1/M sum_j exp(E(x) - E(x + t z + t z_j)) ). Schroeder et al. 2023, arXiv:2307.06431.

x + t z is the perturbed data point, with z shared by its M negatives; t z_j is a second perturbation that leads back toward the data. It
needs neither scores nor chains. It interpolates between score matching (small t) and maximum likelihood (large t), and learns the relative
weights of modes within a few t of each other. w keeps the argument of the logarithm away from zero for small M. Cost per sample and step:
1 + M energies. It is not suited to high dimensions, where few of the M points return near the data.

It does not constrain the energy where no perturbation reaches: at t = 0.3 one network in twelve put mass five standard deviations outside
the twenty-five Gaussians (results/tune_defaults.json). The loss of every t is minimal at the true density. If there are several values of
t, data points use them in turn.

On discrete events a perturbation changes each coordinate with probability `flip`, to any of its other values with equal probability: bits
are flipped. This kernel is symmetric, as the Gaussian is. Schroeder et al. 2023, arXiv:2307.07595. For small `flip` and w = 0 it becomes a
sum over neighbors x^i, like ratio matching; larger values also compare more distant states.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ebm_cli.core.contracts import Objective
from ebm_cli.core.model import Model, in_turn
from ebm_cli.core.rng import Rng
from ebm_cli.core.states import base, is_discrete
from ebm_cli.types import Count, Info, NonNegative, Params, Positive, Positives, Share, Shares


@dataclass(frozen=True)
class EnergyDiscrepancy(Objective):
    """`n_noise`: M; `w`: the stabiliser.

    `t`: one or several standard deviations of the perturbation, in the model's units; `flip`: the probability that a discrete coordinate
    changes.
    """

    t: Positive | Positives
    n_noise: Count
    w: NonNegative
    flip: Share | Shares
    requires: ClassVar[frozenset[str]] = frozenset({"energy"})

    def prepare(self, model: Model, params: Params, carry: Params, x: Tensor, rng: Rng) -> tuple[Params, Params, Info]:
        axis = x.ndim - 1 - model.event_ndim
        if is_discrete(model.space):
            numbers, flip = base(model.space, x), in_turn(self.flip, x, axis)
            disturbed = changed(x, rng.uniform("there", *x.shape[axis:]), flip, numbers)
            back = changed(disturbed.unsqueeze(axis), rng.uniform("back", self.n_noise, *x.shape[axis:]), flip, numbers)
        else:
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


def changed(x: Tensor, u: Tensor, flip: Tensor, numbers: Tensor) -> Tensor:
    """x with every coordinate whose uniform number u is below `flip` changed, to one of its other `numbers` - 1 values."""
    further = torch.where(u < flip, 1 + (u / flip * (numbers - 1)).floor(), 0)
    return torch.remainder(x + further, numbers)
