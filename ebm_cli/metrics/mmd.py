"""Maximum mean discrepancy between samples and held-out points. Gretton et al. 2012, JMLR 13.

    MMD^2 = mean over i != j of k(x_i, x_j) + mean over i != j of k(y_i, y_j) - 2 mean of k(x_i, y_j),    k = exp(-|x - y|^2 / 2 h^2)

where x are the samples and y the data, in the model's units. This is an unbiased U-statistic; for equal distributions it is negative more
often than not. For equal distributions and m and n independent draws, its mean is zero and its variance is

    (2 / m(m - 1) + 2 / n(n - 1) + 4 / mn) E c(y, y')^2,    c = k - E k(y, .) - E k(., y') + E k  (the centered kernel)

`mmd2_null_std` is the square root of this variance, with the unbiased estimate of E c^2 from the held-out points (Szekely & Rizzo 2014).
The null distribution is skewed to the right: values of 3 `mmd2_null_std` are not rare. The draws of a chain are correlated, and their
MMD^2 varies more. The cost is (m + n)^2 kernel values. MMD is not sensitive to differences on scales far from h: with the median
distance, it detects global differences, but hardly the width of a narrow mode.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge
from torch import Tensor

from ebm_cli.core.metric import Metric, MetricContext
from ebm_cli.types import Best, Positive

FEWEST = 4  # minimum number of points, for the variance of the null distribution
COINCIDE = "more than half of the pairs of held-out points coincide, so that their median distance is zero: set `bandwidth` to a number"


@dataclass(frozen=True)
class MaximumMeanDiscrepancy(Metric):
    """Up to `n_points` samples and held-out points. `bandwidth` is h; null means the median distance between held-out points."""

    n_points: Annotated[int, Ge(FEWEST)]
    bandwidth: Positive | None
    units: ClassVar[Mapping[str, str]] = {"mmd2": "", "mmd2_null_std": "", "mmd2_bandwidth": ""}
    headline: ClassVar[Sequence[str]] = ("mmd2",)
    best: ClassVar[Mapping[str, Best]] = {"mmd2": "min"}  # the estimate can be negative, but what it estimates cannot
    unaveraged: ClassVar[Sequence[str]] = ("mmd2_null_std",)
    final_only: ClassVar[bool] = True

    def __call__(self, context: MetricContext) -> dict[str, float | str] | str:
        x, y = (points.flatten(1).cpu().double() for points in (context.drawn(self.n_points), context.held_out(self.n_points)))
        if not x.isfinite().all():
            return "the samples are not finite"
        if min(len(x), len(y)) < FEWEST:
            return f"{len(x)} samples and {len(y)} held-out points are too few: {FEWEST} of each are needed"
        h = self.bandwidth or median_distance(y)
        if h == 0:
            return COINCIDE
        among_x, among_y, between = kernel(x, x, h), kernel(y, y, h), kernel(x, y, h)
        mmd2 = off_diagonal_mean(among_x) + off_diagonal_mean(among_y) - 2 * between.mean().item()
        return {"mmd2": mmd2, "mmd2_null_std": null_variance(among_y, len(x)) ** 0.5, "mmd2_bandwidth": h}


def kernel(x: Tensor, y: Tensor, h: float) -> Tensor:
    """The kernel k of every pair of points, (N, d) and (K, d) -> (N, K)."""
    return torch.cdist(x, y).square_().div_(-2 * h**2).exp_()


def median_distance(x: Tensor) -> float:
    """The median distance between any two points of (N, d)."""
    return torch.pdist(x).median().item()


def off_diagonal_mean(k: Tensor) -> float:
    """The mean over i != j of a matrix (N, N)."""
    return ((k.sum() - k.trace()) / (len(k) * (len(k) - 1))).item()


def null_variance(k: Tensor, m: int) -> float:
    """The variance of MMD^2 for equal distributions, with m samples and the n points of the kernel matrix (n, n)."""
    n = len(k)
    k = k.clone().fill_diagonal_(0)
    row = k.sum(0) / (n - 2)
    centered = (k - row - row.unsqueeze(-1) + k.sum() / ((n - 1) * (n - 2))).fill_diagonal_(0)
    square = centered.square().sum().item() / (n * (n - 3))
    return (2 / (m * (m - 1)) + 2 / (n * (n - 1)) + 4 / (m * n)) * square
