"""Sliced score matching with finite differences. Pang et al. 2020, arXiv:2007.03317.

    d / eps^2 ( (E+ - E-)^2 / 8 - E+ - E- + 2 E(x) ),    E+- = E(x +- v),    v uniform on the sphere of radius eps

For eps -> 0 it tends to the plain form of `ssm`, without computing a second derivative. For E = a |x|^2 / 2 it is
d a^2 (v'x)^2 / (2 eps^2) - a d at every eps. Cost per sample and step: three energies. Do not use a very small eps: the differences are
then lost in the rounding errors of single precision.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ebm_cli.core.contracts import Objective
from ebm_cli.core.model import Model
from ebm_cli.core.rng import Rng
from ebm_cli.types import Info, Params, Positive


@dataclass(frozen=True)
class FiniteDifferenceScoreMatching(Objective):
    """`eps` is the length of the finite difference, in the model's units."""

    eps: Positive
    requires: ClassVar[frozenset[str]] = frozenset({"real", "energy"})

    def prepare(self, model: Model, params: Params, carry: Params, x: Tensor, rng: Rng) -> tuple[Params, Params, Info]:
        v = rng.normal_like("directions", x)
        return {"difference": self.eps * v / v.square().sum(model.event_axes, keepdim=True).sqrt()}, carry, {}

    def loss(self, model: Model, params: Params, x: Tensor, aux: Params) -> tuple[Tensor, Info]:
        v, d = aux["difference"], x.shape[x.ndim - model.event_ndim :].numel()
        energy = model.energy(params, torch.cat([x, x + v, x - v], -1 - model.event_ndim))
        here, plus, minus = energy.chunk(3, -1)
        return d / self.eps**2 * ((plus - minus).square() / 8 - plus - minus + 2 * here), {"energy": here}
