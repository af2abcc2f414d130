"""Sliced Wasserstein distance between samples and held-out data. Rabin et al. 2011; Bonneel et al. 2015.

    SW = ( mean over directions w on the sphere of  int_0^1 (F_w^{-1}(t) - G_w^{-1}(t))^2 dt )^{1/2}

in the model's units (standardized, for tables), where F_w and G_w are the distributions of w'x. It is positive also for equal
distributions: `sliced_wasserstein_floor` is the distance between two independent sets of data, of the sizes of the samples and of the
test set (for tables, between the validation rows and the test rows).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ebm_cli.core.metric import Metric, MetricContext, no_events
from ebm_cli.core.rng import Rng
from ebm_cli.types import Best, Count


@dataclass(frozen=True)
class SlicedWasserstein(Metric):
    """Up to `n_points` data points, and `n_projections` directions."""

    n_points: Count
    n_projections: Count
    units: ClassVar[Mapping[str, str]] = {"sliced_wasserstein": "", "sliced_wasserstein_floor": ""}
    headline: ClassVar[Sequence[str]] = ("sliced_wasserstein",)
    best: ClassVar[Mapping[str, Best]] = {"sliced_wasserstein": "min"}
    final_only: ClassVar[bool] = True

    def __call__(self, context: MetricContext) -> dict[str, float | str]:
        data = context.split("test", self.n_points).flatten(1)
        points = context.samples.flatten(0, 1).flatten(1)
        other = context.dataset.split("validation", len(points), context.rng).x.flatten(1)
        along = directions(self.n_projections, data.shape[-1], context.rng.at("sliced_wasserstein"))
        found = distance(points, data, along)
        return {
            "sliced_wasserstein": found if found == found else "the samples are not finite",
            "sliced_wasserstein_floor": distance(other, data, along) if len(other) else no_events("validation"),
        }


def directions(n: int, d: int, rng: Rng) -> Tensor:
    """Directions, uniform on the sphere, (n, d)."""
    normal = rng.normal("directions", n, d)
    return normal / normal.norm(dim=-1, keepdim=True)


def distance(x: Tensor, y: Tensor, directions: Tensor) -> float:
    """SW of two sets of points (N, d) and (K, d), from their quantile functions at the midpoints of max(N, K) equal intervals."""
    n = max(len(x), len(y))
    quantiles = [(points @ directions.T).sort(0).values.cpu().double()[_rows(len(points), n)] for points in (x, y)]
    return (quantiles[0] - quantiles[1]).square().mean().sqrt().item()


def _rows(n_points: int, n: int) -> Tensor:
    """The indices of the order statistics that are the quantiles at (i + 1/2) / n, i = 0 .. n - 1."""
    return ((torch.arange(n, dtype=torch.double) + 0.5) / n * n_points).long()
