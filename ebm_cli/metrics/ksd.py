"""Kernel Stein discrepancy of held-out points to the model: do they fit it? Liu, Lee & Jordan 2016; Gorham & Mackey 2017, arXiv:1703.01717.

    KSD^2 = mean over i != j of u(x_i, x_j),    u the Stein operator of the model's score on both sides of k = (1 + r^2 / h^2)^(-1/2)

an unbiased U-statistic, zero in the mean where the model has the points' law and positive elsewhere. It asks for neither samples nor
log Z. `ksd2_p_value` is the chance of as great a value at the truth, by the bootstrap of Liu et al.: with multinomial weights w

    sum over i != j of (w_i - 1/n) (w_j - 1/n) u(x_i, x_j)

has the law of KSD^2 at the truth, for independent points. Cost: one score per point, and `n_bootstrap` n^2 products. Not for the
weights of modes that lie far apart, which no score sees.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge
from torch import Tensor

from ebm_cli.core import stein_kernel
from ebm_cli.core.metric_context import MetricContext
from ebm_cli.core.rng import Rng
from ebm_cli.metrics.fisher import score_of
from ebm_cli.metrics.mmd import COINCIDE, median_distance
from ebm_cli.types import Count, Metric, Positive

FEWEST = 4  # points: of two or three all bootstrap weights are nearly alike


@dataclass(frozen=True)
class KernelSteinDiscrepancy(Metric):
    """`n_points` held-out points at most; `bandwidth`: h, null for the median distance between them; `n_bootstrap` draws of the weights."""

    n_points: Annotated[int, Ge(FEWEST)]
    bandwidth: Positive | None
    n_bootstrap: Count
    units: ClassVar[Mapping[str, str]] = {"ksd2": "", "ksd2_p_value": ""}
    headline: ClassVar[Sequence[str]] = ("ksd2",)
    best: ClassVar[Mapping[str, str | float]] = {"ksd2": "least"}  # below 0 by chance alone: what it estimates is not
    unaveraged: ClassVar[Sequence[str]] = ("ksd2_p_value",)

    def __call__(self, context: MetricContext) -> dict[str, float | str] | str:
        points = context.held_out(self.n_points)
        if len(points) < FEWEST:
            return f"{len(points)} held-out points are too few: {FEWEST} are needed"
        x, score = points.flatten(1).cpu().double(), score_of(context.model, context.params, points)
        if not score.isfinite().all():
            return "the model's score is not finite at some held-out points"
        h = self.bandwidth or median_distance(x)
        if h == 0:
            return COINCIDE
        u = stein_kernel.operator(x, score, stein_kernel.inverse_multiquadric, h).fill_diagonal_(0)
        ksd2 = u.sum() / (len(u) * (len(u) - 1))
        if not ksd2.isfinite():
            return "the model's score is so large that its products are not finite"
        greater = (null_values(u, self.n_bootstrap, context.rng.at("ksd")) >= ksd2).sum().item()
        return {"ksd2": ksd2.item(), "ksd2_p_value": (1 + greater) / (1 + self.n_bootstrap)}


def null_values(u: Tensor, n_bootstrap: int, rng: Rng) -> Tensor:
    """What KSD^2 would be at the truth, (n_bootstrap,), from u (n, n) with nothing on its diagonal."""
    n = len(u)
    chosen = rng.integers("points", n, n_bootstrap, n).cpu()
    weight = torch.zeros(n_bootstrap, n, dtype=u.dtype).scatter_add_(1, chosen, torch.ones_like(chosen, dtype=u.dtype))
    weight = (weight - 1) / n
    return (weight @ u * weight).sum(-1)
