"""Convergence of the chains: rank-normalized split R-hat, the largest over coordinates. Vehtari et al. 2021, arXiv:1903.08008.

    R-hat = ( (N - 1) / N + B / (N W) )^{1/2},    z = Phi^{-1}((rank - 3/8) / (S + 1/4))

for the halves of the chains, with N draws each and S draws in total. W is the mean of the variances of the halves, and B / N the variance
of their means, both of z; equal draws have their mean rank. The larger of two values is reported: R-hat of the draws, which detects
different centers, and R-hat of their distances from the median, which detects different widths. It is 1 for chains with the same
distribution; values below 1.01 are good. The cost is a sort, without evaluations of the model. R-hat does not assess the joint
distribution of many short chains, which may be right even if each chain stays near its start and R-hat is large (1.5 for a thousand
chains of ten draws on moons). It does not detect a mode that all chains miss.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ebm_cli.core.metric import Metric, MetricContext
from ebm_cli.metrics.effective_sample_size import unfit
from ebm_cli.types import Best


@dataclass(frozen=True)
class RHat(Metric):
    units: ClassVar[Mapping[str, str]] = {"r_hat": ""}
    headline: ClassVar[Sequence[str]] = ("r_hat",)
    best: ClassVar[Mapping[str, Best]] = {"r_hat": "min"}
    final_only: ClassVar[bool] = True

    def __call__(self, context: MetricContext) -> dict[str, float | str] | str:
        x = context.samples.flatten(2).cpu().double()
        return unfit(x) or {"r_hat": max(r_hat(coordinate) for coordinate in x.unbind(-1))}


def r_hat(x: Tensor) -> float:
    """R-hat of one coordinate of the chains, (M, N)."""
    n = x.shape[1] // 2
    halves = torch.cat([x[:, :n], x[:, -n:]])  # the middle draw of an odd number is left out
    return max(of_ranks(halves), of_ranks((halves - median(halves)).abs()))


def of_ranks(x: Tensor) -> float:
    """R-hat of the normalized ranks of x, (M, N)."""
    n = x.shape[1]
    z = torch.special.ndtri((ranks(x) - 0.375) / (x.numel() + 0.25))
    within, between = z.var(1).mean(), z.mean(1).var()  # B / N
    return ((n - 1) / n + between / within).sqrt().item()


def median(x: Tensor) -> Tensor:
    """The median of all entries, of any number (torch.quantile takes at most 2^24)."""
    ordered = x.flatten().sort().values
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2


def ranks(x: Tensor) -> Tensor:
    """The ranks 1 .. S of all entries; equal entries have their mean rank."""
    _, place, count = x.unique(return_inverse=True, return_counts=True)
    return (count.cumsum(0) - 0.5 * (count - 1).to(x))[place]
