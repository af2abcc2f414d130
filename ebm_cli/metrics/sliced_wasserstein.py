"""Sliced Wasserstein distance between samples and held-out data. Rabin et al. 2011; Bonneel et al. 2015.

    SW = ( mean over directions w on the sphere of  int_0^1 (F_w^{-1}(t) - G_w^{-1}(t))^2 dt )^{1/2}

in the model's units (standardised, for tables), with F_w and G_w the laws of w'x. It is above zero for equal laws too:
`sliced_wasserstein_floor` is the distance between two independent sets of data of the sizes of the samples and of the test set
(for tables, whose data are finite, between the test and the validation rows).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ebm_cli.core.metric_context import MetricContext
from ebm_cli.core.rng import Rng
from ebm_cli.types import Count, Metric


@dataclass(frozen=True)
class SlicedWasserstein(Metric):
    """`n_points` data points at most, `n_projections` directions."""

    n_points: Count
    n_projections: Count
    units: ClassVar[Mapping[str, str]] = {"sliced_wasserstein": "", "sliced_wasserstein_floor": ""}
    headline: ClassVar[Sequence[str]] = ("sliced_wasserstein",)
    best: ClassVar[Mapping[str, str | float]] = {"sliced_wasserstein": "least"}
    waits: ClassVar[bool] = True

    def __call__(self, context: MetricContext) -> dict[str, float | str]:
        data = context.dataset.split("test", self.n_points, context.rng).flatten(1)
        points = context.samples.flatten(0, 1).flatten(1)
        other = context.dataset.split("validation", len(points), context.rng).flatten(1)
        along = directions(self.n_projections, data.shape[-1], context.rng.at("sliced_wasserstein"))
        distances = {"sliced_wasserstein": distance(points, data, along), "sliced_wasserstein_floor": distance(other, data, along)}
        return {name: value if value == value else "the samples are not finite" for name, value in distances.items()}


def directions(n: int, d: int, rng: Rng) -> Tensor:
    """Uniform on the sphere, (n, d)."""
    normal = rng.normal("directions", n, d)
    return normal / normal.norm(dim=-1, keepdim=True)


def distance(x: Tensor, y: Tensor, directions: Tensor) -> float:
    """SW of two sets of points (N, d) and (K, d), by their quantile functions at the midpoints of max(N, K) equal cells."""
    n = max(len(x), len(y))
    quantiles = [(points @ directions.T).sort(0).values.cpu().double()[_rows(len(points), n)] for points in (x, y)]
    return (quantiles[0] - quantiles[1]).square().mean().sqrt().item()


def _rows(n_points: int, n: int) -> Tensor:
    """The order statistic that is the quantile at (i + 1/2) / n, i = 0 .. n - 1."""
    return ((torch.arange(n, dtype=torch.double) + 0.5) / n * n_points).long()
