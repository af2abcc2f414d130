"""Fisher divergence between the data and the model, with the factor 1/2. Hyvarinen 2005; Lyu 2012, arXiv:1205.2629.

    F(p || q) = 1/2 E_p |grad log p(x) - s(x)|^2,    s the score of the model

is estimated by the mean over held-out points; `fisher_error` is the standard error of this mean. grad log p is the gradient of the exact
log-density. Score matching minimizes F. If noise sqrt(t) z is added to both p and q, F is the rate at which KL(p || q) decreases with t.
The cost is one score per point. F is not sensitive to the weights of distant modes, since the score does not depend on them. It needs an
exact density without jumps.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge
from torch import Tensor

from ebm_cli.core.contracts import Dataset
from ebm_cli.core.densities import Density
from ebm_cli.core.metric import Metric, MetricContext
from ebm_cli.core.pointwise import score_of
from ebm_cli.types import Best

CHUNK = 4096  # number of points at which the score is computed at once


@dataclass(frozen=True)
class Fisher(Metric):
    """`n_points` is the number of held-out points."""

    n_points: Annotated[int, Ge(2)]
    requires: ClassVar[frozenset[str]] = frozenset({"real", "density", "unconditional"})
    units: ClassVar[Mapping[str, str]] = {"fisher": "", "fisher_error": ""}
    headline: ClassVar[Sequence[str]] = ("fisher",)
    best: ClassVar[Mapping[str, Best]] = {"fisher": "min"}
    unaveraged: ClassVar[Sequence[str]] = ("fisher_error",)

    def expected(self, dataset: Dataset) -> Collection[str]:
        return () if dataset.jumps else self.units

    def __call__(self, context: MetricContext) -> dict[str, float | str] | str:
        if context.dataset.jumps:
            return "the true density of this dataset has jumps, where the score is not defined"
        x = context.held_out(self.n_points)
        squared = (true_score(context.dataset, x) - score_of(context.model, context.params, x)).square().sum(-1)
        return {"fisher": 0.5 * squared.mean().item(), "fisher_error": 0.5 * squared.std().item() / len(x) ** 0.5}


def true_score(dataset: Density, x: Tensor) -> Tensor:
    """grad log p at points, (N, *d) -> (N, D), in double precision on the CPU."""
    scores = []
    for part in x.cpu().double().split(CHUNK):
        part.requires_grad_()
        scores += torch.autograd.grad(dataset.log_prob(part).sum(), part)
    return torch.cat(scores).flatten(1)
