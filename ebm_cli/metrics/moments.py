"""Errors of the means and covariances of the samples, beside those of another set of data.

    mean error of column i            d_i = (m_i - m'_i) / s_i,    s_i^2 = (C_ii + C'_ii) / 2
    covariance error of i and j       c_ij = (C_ij - C'_ij) / (s_i s_j),    i <= j

m, C are the means and covariances of the samples and m', C' those of held-out data; d is the standardized mean difference (Austin 2009,
Stat. Med. 28, 3083). The root mean square over all columns and pairs is reported, and the largest absolute value. Columns are coordinates;
for bits they are spins s = 2x - 1, and for categories indicators of every value. Columns that are constant and equal in both have no error.
The floors are the root mean squares between the validation and the test events, with as many of the former as there are samples: errors of
a perfect model whose samples are independent. For n and n' independent events the root mean square of d is sqrt(1/n + 1/n').
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ebm_cli.core.indicators import columns
from ebm_cli.core.metric import Metric, MetricContext, no_events
from ebm_cli.types import Best, Count

ERRORS = ("mean_error", "mean_error_max", "covariance_error", "covariance_error_max")
CONSTANT = "a column is constant in the samples and in the data, with different values"


@dataclass(frozen=True)
class Moments(Metric):
    """Up to `n_points` held-out events. More than `max_columns` columns have no covariance errors, whose memory grows with the square."""

    n_points: Count
    max_columns: Count
    units: ClassVar[Mapping[str, str]] = dict.fromkeys((*ERRORS, "mean_error_floor", "covariance_error_floor"), "")
    headline: ClassVar[Sequence[str]] = ("mean_error", "covariance_error")
    best: ClassVar[Mapping[str, Best]] = dict.fromkeys(ERRORS, "min")
    final_only: ClassVar[bool] = True

    def __call__(self, context: MetricContext) -> dict[str, float | str] | str:
        space = context.dataset.space
        data = columns(context.split("test", self.n_points), space).cpu()
        samples = columns(context.samples.flatten(0, 1), space).cpu()
        if not samples.isfinite().all():
            return "the samples are not finite"
        if min(len(samples), len(data)) < 2:
            return "a variance needs two events"
        found = self.errors(samples, data)
        other = context.dataset.split("validation", len(samples), context.rng).x
        floor = self.errors(columns(other, space).cpu(), data) if len(other) > 1 else dict.fromkeys(ERRORS, no_events("validation"))
        return found | {f"{name}_floor": floor[name] for name in ("mean_error", "covariance_error")}

    def errors(self, x: Tensor, y: Tensor) -> dict[str, float | str]:
        """The root mean square and the largest of the errors of events x (N, K) and y (N', K)."""
        scale = ((x.var(0) + y.var(0)) / 2).sqrt()
        away = x.mean(0) - y.mean(0)
        mean = torch.where((scale == 0) & (away == 0), 0, away / scale)
        if not mean.isfinite().all():
            return dict.fromkeys(ERRORS, CONSTANT)
        found = dict(zip(ERRORS, summary(mean), strict=False))
        if x.shape[1] > self.max_columns:
            reason = f"there are {x.shape[1]} columns, more than metric.moments.max_columns={self.max_columns}"
            return found | dict.fromkeys(ERRORS[2:], reason)
        pairs = (x.T.cov() - y.T.cov()).view(len(scale), -1) / (scale.unsqueeze(-1) * scale)
        upper = torch.where(scale.unsqueeze(-1) * scale == 0, 0, pairs)[*torch.triu_indices(len(scale), len(scale))]
        return found | dict(zip(ERRORS[2:], summary(upper), strict=True))


def summary(errors: Tensor) -> tuple[float, float]:
    """The root mean square and the largest absolute value."""
    return errors.square().mean().sqrt().item(), errors.abs().max().item()
