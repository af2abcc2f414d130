"""Maximum pseudo-likelihood of discrete events: -sum_i log p(x_i | the other coordinates). Besag 1975.

    sum_i log( 1 + sum_{y_i} exp(E(x) - E(y)) ),    y: x with another value of x_i;    for bits sum_i softplus(E(x) - E(y_i))

log Z cancels in every conditional. All coordinates are used at every step: this is the exact pseudo-likelihood, not an estimate from one
random coordinate. The estimate is consistent: the loss is minimal at the true distribution. It weighs conditionals alone, so that for
data of few distinct states, such as distant patterns, it does not learn their relative weights. Cost per sample and step: 1 + D (K - 1)
energies of D coordinates with K values in one batched call, unless the energy has a closed form of these differences.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import softplus

from ebm_cli.core.contracts import Objective
from ebm_cli.core.model import Model
from ebm_cli.core.rng import Rng
from ebm_cli.core.states import differences, neighbors
from ebm_cli.types import Info, Params


@dataclass(frozen=True)
class PseudoLikelihood(Objective):
    """It has no settings."""

    requires: ClassVar[frozenset[str]] = frozenset({"discrete", "energy"})

    def prepare(self, model: Model, params: Params, carry: Params, x: Tensor, rng: Rng) -> tuple[Params, Params, Info]:
        return neighbors(model, x), carry, {}

    def loss(self, model: Model, params: Params, x: Tensor, aux: Params) -> tuple[Tensor, Info]:
        energy, change = differences(model, params, x, aux)
        return softplus(torch.logsumexp(-change, -1)).sum(-1), {"energy": energy}
