"""Kernel Stein discrepancy between held-out points and the model. Liu, Lee & Jordan 2016; Gorham & Mackey 2017, arXiv:1703.01717.

    KSD^2 = mean over i != j of u(x_i, x_j),    u the Stein operator of the model's score, on both sides of k = (1 + r^2 / h^2)^(-1/2)

is an unbiased U-statistic. Its expectation is zero if the points follow the model, and positive otherwise. It needs neither samples nor
log Z. `ksd2_p_value` is the probability of a value at least as large if the points follow the model, by the bootstrap of Liu et al.: with
multinomial weights w,

    sum over i != j of (w_i - 1/n) (w_j - 1/n) u(x_i, x_j)

has the null distribution of KSD^2 for independent points. The cost is one score per point and `n_bootstrap` n^2 products. KSD is not
sensitive to the weights of distant modes, since the score does not depend on them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge
from torch import Tensor

from ebm_cli.core import stein_kernel
from ebm_cli.core.metric import Metric, MetricContext
from ebm_cli.core.pointwise import score_of
from ebm_cli.core.rng import Rng
from ebm_cli.metrics.mmd import COINCIDE, median_distance
from ebm_cli.types import Best, Count, Positive

FEWEST = 4  # minimum number of points: for two or three, the bootstrap weights take too few values


@dataclass(frozen=True)
class KernelSteinDiscrepancy(Metric):
    """Up to `n_points` held-out points. `bandwidth` is h; null means the median distance between the points.

    `n_bootstrap` is the number of bootstrap draws.
    """

    n_points: Annotated[int, Ge(FEWEST)]
    bandwidth: Positive | None
    n_bootstrap: Count
    requires: ClassVar[frozenset[str]] = frozenset({"real", "unconditional"})
    units: ClassVar[Mapping[str, str]] = {"ksd2": "", "ksd2_p_value": ""}
    headline: ClassVar[Sequence[str]] = ("ksd2",)
    best: ClassVar[Mapping[str, Best]] = {"ksd2": "min"}  # the estimate can be negative, but what it estimates cannot
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
    """Bootstrap draws from the null distribution of KSD^2, (n_bootstrap,), from u (n, n) with a zero diagonal."""
    n = len(u)
    chosen = rng.integers("points", n, n_bootstrap, n).cpu()
    weight = torch.zeros(n_bootstrap, n, dtype=u.dtype).scatter_add_(1, chosen, torch.ones_like(chosen, dtype=u.dtype))
    weight = (weight - 1) / n
    return (weight @ u * weight).sum(-1)
