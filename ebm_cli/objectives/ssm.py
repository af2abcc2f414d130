"""Sliced score matching. Song et al. 2019, arXiv:1905.07088.

    variance-reduced:  v' grad s(x) v + 1/2 |s(x)|^2        plain:  v' grad s(x) v + 1/2 (v' s(x))^2        E[v v'] = I

The loss is averaged over `n_projections` directions v. For x ~ N(0, I) and E = a |x|^2 / 2 the expectation is a^2 d/2 - a d, with its
minimum at a = 1. Cost per sample and step: one score and `n_projections` Hessian-vector products. It is not suited to distant modes (it
does not learn their weights) or to densities with a discontinuity (integration by parts leaves a boundary term).
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ebm_cli.core.contracts import Objective
from ebm_cli.core.model import Model
from ebm_cli.core.rng import Rng
from ebm_cli.types import Count, Info, Params


@dataclass(frozen=True)
class SlicedScoreMatching(Objective):
    """`directions` is the distribution of v: gaussian N(0, I), rademacher signs, or uniform on the sphere of radius sqrt(d)."""

    directions: Literal["gaussian", "rademacher", "sphere"]
    n_projections: Count
    variance_reduced: bool

    def prepare(self, model: Model, params: Params, carry: Params, x: Tensor, rng: Rng) -> tuple[Params, Params, Info]:
        m = x.ndim - model.event_ndim - 1
        v = rng.normal("directions", self.n_projections, *x.shape[m:])  # (*m, n_projections, B, *d)
        if self.directions == "rademacher":
            v = v.sign()
        elif self.directions == "sphere":
            n_events = x.shape[m + 1 :].numel()
            v = v * (n_events / v.square().sum(model.event_axes, keepdim=True)).sqrt()
        return {"directions": v}, carry, {}

    def loss(self, model: Model, params: Params, x: Tensor, aux: Params) -> tuple[Tensor, Info]:
        directions = aux["directions"].unbind(x.ndim - model.event_ndim - 1)
        score, *vjps = model.score_and_vjp(params, x, *directions)
        slices = sum(model.inner(vjp, v) for vjp, v in zip(vjps, directions, strict=True)) / self.n_projections
        if self.variance_reduced:
            return slices + 0.5 * model.inner(score, score), {}
        return slices + 0.5 * torch.stack([model.inner(score, v).square() for v in directions]).mean(0), {}
