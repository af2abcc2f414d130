"""How the mass is shared out among the data's modes: the total variation distance 1/2 sum_k |q_k - w_k| from the true shares w_k.

`mode_weight_error` takes for q_k the fraction of the samples in mode k, `mode_weight_error_density` the model's mass there, on the grid
of the quadrature. They differ: chains that follow a ladder of noise levels share out well what E at the smallest level does not,
and chains that cannot cross keep the shares with which they began. With n samples of the right law the former is about
sum_k sqrt(w_k (1 - w_k) / (2 pi n)). Score matching is blind to the shares of modes that are far apart: Wenliang & Kanagawa 2021.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ebm_cli.core.densities import Density
from ebm_cli.core.metric_context import MetricContext
from ebm_cli.metrics.quadrature import Quadrature
from ebm_cli.types import Metric, Positive


@dataclass(frozen=True)
class ModeWeights(Metric):
    """`tolerance` and `margin` as in the quadrature: where it gives no log Z, there is no mass of a mode."""

    tolerance: Positive
    margin: Positive
    units: ClassVar[Mapping[str, str]] = {"mode_weight_error": "", "mode_weight_error_density": ""}
    headline: ClassVar[Sequence[str]] = ("mode_weight_error",)
    best: ClassVar[Mapping[str, str | float]] = {"mode_weight_error": "least", "mode_weight_error_density": "least"}
    waits: ClassVar[bool] = True

    def __call__(self, context: MetricContext) -> dict[str, float | str] | str:
        weight = context.dataset.mode_weights if isinstance(context.dataset, Density) else None
        if weight is None:
            return "no modes of this dataset are known"
        points, of_samples = context.samples.flatten(0, 1), "the samples are not finite"
        if points.isfinite().all():
            of_samples = distance(context.dataset.mode(points).cpu(), torch.ones(len(points), dtype=torch.double), weight)
        of_density = Quadrature(self.tolerance, self.margin).on_grid(context)
        if not isinstance(of_density, str):
            of_density = distance(context.dataset.mode(of_density.points), of_density.mass, weight)
        return {"mode_weight_error": of_samples, "mode_weight_error_density": of_density}


def distance(mode: Tensor, mass: Tensor, weight: Tensor) -> float:
    """Between the shares (K,) of the modes and those of points (N,) with their masses (N,)."""
    found = torch.zeros_like(weight).index_add(0, mode, mass / mass.sum())
    return 0.5 * (found - weight).abs().sum().item()
