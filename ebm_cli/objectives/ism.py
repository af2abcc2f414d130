"""Implicit score matching: 1/2 |s(x)|^2 + tr grad s(x). Hyvarinen 2005, JMLR 6.

It is the Fisher divergence E |s - grad log p_data|^2 / 2 up to a constant, after integration by parts. For x ~ N(0, I) and
E = a |x|^2 / 2 the expectation is a^2 d/2 - a d, with its minimum at a = 1. Cost per sample and step: one score and d Hessian-vector
products for the exact trace. It is not suited to more than a few dimensions (`ssm` needs one product), to distant modes (it does not learn
their weights) or to densities with a discontinuity (integration by parts leaves a boundary term).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ebm_cli.core.contracts import Objective
from ebm_cli.core.model import Model
from ebm_cli.types import Info, Params


@dataclass(frozen=True)
class ImplicitScoreMatching(Objective):
    """Score matching with the exact trace. It has no settings."""

    def loss(self, model: Model, params: Params, x: Tensor, aux: Params) -> tuple[Tensor, Info]:
        shape = x.shape[x.ndim - model.event_ndim :]
        units = [unit.expand_as(x) for unit in torch.eye(shape.numel(), dtype=x.dtype, device=x.device).unflatten(-1, shape)]
        score, *vjps = model.score_and_vjp(params, x, *units)
        trace = sum(model.inner(vjp, unit) for vjp, unit in zip(vjps, units, strict=True))
        return 0.5 * model.inner(score, score) + trace, {}
