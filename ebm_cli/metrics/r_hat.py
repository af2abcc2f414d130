"""Whether the chains have met: rank-normalised split R-hat, the greatest over coordinates. Vehtari et al. 2021, arXiv:1903.08008.

    R-hat = ( (N - 1) / N + B / (N W) )^{1/2},    z = Phi^{-1}((rank - 3/8) / (S + 1/4))

of the halves of the chains, N draws each and S in all: W is the mean of their variances and B / N the variance of their means, both of z,
with the mean rank where draws are equal. Reported is the larger of two: of the draws (chains about different centres) and of their
distances from the median (chains of different widths). 1 for chains of one law; below 1.01 is good. Cost: a sort, none of the model's.
Not for the law of many short chains together, which may be right where each stays near its start and R-hat is large (1.5 for a thousand
chains of ten draws on moons). Nor for chains that all miss the same mode: they agree.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ebm_cli.core.metric_context import MetricContext
from ebm_cli.metrics.effective_sample_size import unfit
from ebm_cli.types import Metric


@dataclass(frozen=True)
class RHat(Metric):
    units: ClassVar[Mapping[str, str]] = {"r_hat": ""}
    headline: ClassVar[Sequence[str]] = ("r_hat",)
    best: ClassVar[Mapping[str, str | float]] = {"r_hat": "least"}
    waits: ClassVar[bool] = True

    def __call__(self, context: MetricContext) -> dict[str, float | str] | str:
        x = context.samples.flatten(2).cpu().double()
        return unfit(x) or {"r_hat": max(r_hat(one) for one in x.unbind(-1))}


def r_hat(x: Tensor) -> float:
    """Of one coordinate of the chains, (M, N)."""
    n = x.shape[1] // 2
    halves = torch.cat([x[:, :n], x[:, -n:]])  # of an odd number of draws the middle one is left out
    return max(of_ranks(halves), of_ranks((halves - median(halves)).abs()))


def of_ranks(x: Tensor) -> float:
    """R-hat of the normalised ranks, (M, N)."""
    n = x.shape[1]
    z = torch.special.ndtri((ranks(x) - 0.375) / (x.numel() + 0.25))
    within, between = z.var(1).mean(), z.mean(1).var()  # B / N
    return ((n - 1) / n + between / within).sqrt().item()


def median(x: Tensor) -> Tensor:
    """Over all entries, however many (torch's quantile takes 2^24); of an even number the middle between two."""
    ordered = x.flatten().sort().values
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2


def ranks(x: Tensor) -> Tensor:
    """1 .. S over all entries; equal ones share their mean rank."""
    _, place, count = x.unique(return_inverse=True, return_counts=True)
    return (count.cumsum(0) - 0.5 * (count - 1).to(x))[place]
