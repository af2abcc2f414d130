"""Fisher divergence to the data's own score, with its 1/2. Hyvarinen 2005; Lyu 2012, arXiv:1205.2629.

    F(p || q) = 1/2 E_p |grad log p(x) - s(x)|^2,    s the model's score

by the mean over held-out points, with the standard error of that mean: `fisher_error`. grad log p is the gradient of the exact density.
It is what score matching minimises, and with noise x + sqrt(t) z on both sides the rate at which KL(p || q) falls in t. Cost: one score
per point. Not for the weights of modes that lie far apart, which no score sees; nor where the density is not known, or jumps.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge
from torch import Tensor

from ebm_cli.core.densities import Density
from ebm_cli.core.metric_context import MetricContext
from ebm_cli.core.model import Model
from ebm_cli.types import Metric, Params

CHUNK = 4096  # points at which a score is asked for at once


@dataclass(frozen=True)
class Fisher(Metric):
    """`n_points`: held-out points."""

    n_points: Annotated[int, Ge(2)]
    units: ClassVar[Mapping[str, str]] = {"fisher": "", "fisher_error": ""}
    headline: ClassVar[Sequence[str]] = ("fisher",)
    best: ClassVar[Mapping[str, str | float]] = {"fisher": "least"}
    unaveraged: ClassVar[Sequence[str]] = ("fisher_error",)

    def __call__(self, context: MetricContext) -> dict[str, float | str] | str:
        if not isinstance(context.dataset, Density):
            return "the true density of this dataset is not known"
        if context.dataset.jumps:
            return "the true density of this dataset jumps: it has no score there"
        x = context.held_out(self.n_points)
        squared = (true_score(context.dataset, x) - score_of(context.model, context.params, x)).square().sum(-1)
        return {"fisher": 0.5 * squared.mean().item(), "fisher_error": 0.5 * squared.std().item() / len(x) ** 0.5}


def true_score(dataset: Density, x: Tensor) -> Tensor:
    """grad log p at points (N, *d), in double precision on the CPU: (N, D)."""
    scores = []
    for part in x.cpu().double().split(CHUNK):
        part.requires_grad_()
        scores += torch.autograd.grad(dataset.log_prob(part).sum(), part)
    return torch.cat(scores).flatten(1)


def score_of(model: Model, params: Params, x: Tensor) -> Tensor:
    """s at points (N, *d), in double precision on the CPU: (N, D)."""
    x = x.to(params[model.names[0]])
    return torch.cat([model.score(params, part).detach() for part in x.split(CHUNK)]).flatten(1).cpu().double()
