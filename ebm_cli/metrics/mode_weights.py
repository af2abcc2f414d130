"""The error of the weights of the data's modes: the total variation distance 1/2 sum_k |q_k - w_k| from the true weights w_k.

For `mode_weight_error`, q_k is the fraction of the samples in mode k. For `mode_weight_error_density`, q_k is the probability of mode k
under the model, on the grid of the quadrature, or over all states of discrete events. The two differ: chains on a ladder of noise levels
can have good weights even if the energy at the smallest level does not, and chains that cannot move between modes keep their initial
weights. For n samples of the true distribution, `mode_weight_error` is about sum_k sqrt(w_k (1 - w_k) / (2 pi n)). Score matching does not
learn the weights of distant modes: Wenliang & Kanagawa 2021.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ebm_cli.core.contracts import Dataset
from ebm_cli.core.metric import Metric, MetricContext
from ebm_cli.core.states import parts, states
from ebm_cli.metrics.enumeration import Enumeration
from ebm_cli.metrics.quadrature import Quadrature
from ebm_cli.types import Best, Count, Positive, implied


@dataclass(frozen=True)
class ModeWeights(Metric):
    """`tolerance` and `margin` are those of the quadrature, and `max_states` is that of the enumeration.

    If they have no log Z, the density has no mode weights.
    """

    tolerance: Positive
    margin: Positive
    max_states: Count
    requires: ClassVar[frozenset[str]] = frozenset({"density"})
    units: ClassVar[Mapping[str, str]] = {"mode_weight_error": "", "mode_weight_error_density": ""}
    headline: ClassVar[Sequence[str]] = ("mode_weight_error",)
    best: ClassVar[Mapping[str, Best]] = {"mode_weight_error": "min", "mode_weight_error_density": "min"}
    final_only: ClassVar[bool] = True

    def expected(self, dataset: Dataset) -> Collection[str]:
        return () if dataset.mode_weights is None else self.units

    def __call__(self, context: MetricContext) -> dict[str, float | str] | str:
        weight = context.dataset.mode_weights
        if weight is None:
            return "this dataset has no known modes"
        points, of_samples = context.samples.flatten(0, 1), "the samples are not finite"
        if points.isfinite().all():
            of_samples = distance(context.dataset.mode(points).cpu(), torch.ones(len(points), dtype=torch.double), weight)
        return {"mode_weight_error": of_samples, "mode_weight_error_density": self._of_density(context, weight)}

    def _of_density(self, context: MetricContext, weight: Tensor) -> float | str:
        space = context.dataset.space
        if space.kind == "real":
            grid = Quadrature(self.tolerance, self.margin).on_grid(context)
            return grid if isinstance(grid, str) else distance(context.dataset.mode(grid.points), grid.mass, weight)
        enumeration = Enumeration(self.max_states)
        if not enumeration.requires <= implied(context.model.provides | context.dataset.provides):
            return "a sum over all states needs an energy that takes no labels"
        mass = enumeration.mass(context)
        if isinstance(mass, str):
            return mass
        return distance(torch.cat([context.dataset.mode(states(space, *part)) for part in parts(space)]), mass, weight)


def distance(mode: Tensor, mass: Tensor, weight: Tensor) -> float:
    """The total variation distance between the weights (K,) and those of points with the modes (N,) and masses (N,)."""
    found = torch.zeros_like(weight).index_add(0, mode, mass / mass.sum())
    return 0.5 * (found - weight).abs().sum().item()
