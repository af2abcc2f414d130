"""How the mass is shared out among the data's modes: the total variation distance 1/2 sum_k |q_k - w_k| from the true shares w_k.

`mode_weight_error` takes for q_k the fraction of the samples in mode k, `mode_weight_error_density` the model's mass there, on the first
grid of the quadrature. They differ: chains that follow a ladder of noise levels share out well what E at the smallest level does not,
and chains that cannot cross keep the shares with which they began. With n samples of the right law the former is about
sum_k sqrt(w_k (1 - w_k) / (2 pi n)). Score matching is blind to the shares of modes that are far apart: Wenliang & Kanagawa 2021.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ebm_cli.densities import Density
from ebm_cli.metrics.quadrature import Quadrature, evaluate, grid
from ebm_cli.model import Model
from ebm_cli.rng import Rng
from ebm_cli.types import Dataset, Params, Positive


@dataclass(frozen=True)
class ModeWeights:
    """`tolerance` and `margin` as in the quadrature: where it gives no log Z, there is no mass of a mode."""

    tolerance: Positive
    margin: Positive
    needs_samples: ClassVar[bool] = True

    def __call__(
        self, model: Model, params: Params, samples: Tensor | None, dataset: Dataset, rng: Rng, *, final: bool
    ) -> dict[str, float | str]:
        weight = dataset.mode_weights if isinstance(dataset, Density) else None
        if weight is None:
            return dict.fromkeys(("mode_weight_error", "mode_weight_error_density"), "no modes of this dataset are known")
        points, of_samples = samples.flatten(0, 1), "the samples are not finite"
        if points.isfinite().all():
            of_samples = distance(dataset.mode(points).cpu(), torch.ones(len(points), dtype=torch.double), weight)
        quadrature = Quadrature(self.tolerance, self.margin)
        of_density = quadrature(model, params, samples, dataset, rng, final=final)["log_z"]
        if not isinstance(of_density, str):
            box, spacing = quadrature.first_grid(dataset, rng)
            at, log_volume = grid(box, spacing)
            mass = (log_volume - evaluate(model, params, box, spacing)).softmax(-1)
            of_density = distance(dataset.mode(at), mass, weight)
        return {"mode_weight_error": of_samples, "mode_weight_error_density": of_density}


def distance(mode: Tensor, mass: Tensor, weight: Tensor) -> float:
    """Between the shares (K,) of the modes and those of points (N,) with their masses (N,)."""
    found = torch.zeros_like(weight).index_add(0, mode, mass / mass.sum())
    return 0.5 * (found - weight).abs().sum().item()
