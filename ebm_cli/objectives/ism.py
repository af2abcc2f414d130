"""Implicit score matching: 1/2 |s(x)|^2 + tr grad s(x). Hyvarinen 2005, JMLR 6.

The Fisher divergence E |s - grad log p_data|^2 / 2 but for a constant, by parts. For x ~ N(0, I), E = a |x|^2 / 2 the expectation is
a^2 d/2 - a d, least at a = 1. Cost per sample and step: one score and d Hessian-vector products, the exact trace. Not for more than a few
dimensions (`ssm` asks for one product), far-apart modes (it does not see their weights) or densities with an edge.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ebm_cli.core.model import Model
from ebm_cli.types import Info, Objective, Params


@dataclass(frozen=True)
class ImplicitScoreMatching(Objective):
    """It has nothing to choose."""

    def loss(self, model: Model, params: Params, x: Tensor, aux: Params) -> tuple[Tensor, Info]:
        shape = x.shape[x.ndim - model.event_ndim :]
        units = [unit.expand_as(x) for unit in torch.eye(shape.numel(), dtype=x.dtype, device=x.device).unflatten(-1, shape)]
        score, *vjps = model.score_and_vjp(params, x, *units)
        trace = sum(model.inner(vjp, unit) for vjp, unit in zip(vjps, units, strict=True))
        return 0.5 * model.inner(score, score) + trace, {}
