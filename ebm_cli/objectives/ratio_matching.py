"""Ratio matching of bits: sum_i sigmoid(E(x) - E(x^i))^2, x^i = x with bit i flipped. Hyvarinen 2007 (CSDA 51).

It fits the ratios p(x) / p(x^i), in which log Z cancels: sigmoid(E(x) - E(x^i)) is the model's probability that bit i has its other value.
The loss is minimal at the true distribution. Compared with pseudo-likelihood, which has a logarithm in place of the square, a very
improbable bit costs at most 1. Like pseudo-likelihood it does not learn the relative weights of distant patterns. Cost per sample and step:
1 + D energies of D bits in one batched call, unless the energy has a closed form of these differences.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ebm_cli.core.contracts import Objective
from ebm_cli.core.model import Model
from ebm_cli.core.rng import Rng
from ebm_cli.core.states import differences, neighbors
from ebm_cli.types import Info, Params


@dataclass(frozen=True)
class RatioMatching(Objective):
    """It has no settings."""

    requires: ClassVar[frozenset[str]] = frozenset({"binary", "energy"})

    def prepare(self, model: Model, params: Params, carry: Params, x: Tensor, rng: Rng) -> tuple[Params, Params, Info]:
        return neighbors(model, x), carry, {}

    def loss(self, model: Model, params: Params, x: Tensor, aux: Params) -> tuple[Tensor, Info]:
        energy, change = differences(model, params, x, aux)
        return torch.sigmoid(-change.squeeze(-1)).square().sum(-1), {"energy": energy}
