"""The NLL of two densities without training, at the held-out points where that of the model is measured.

`gaussian_nll` is that of a Gaussian with the mean and covariance of the training points, and `reference_nll` that of the reference of the
run, for example a mixture. A model is worth its training if its NLL is lower. Both are exact, in nats and data units. The cost is that of
fitting a Gaussian.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ebm_cli.core.metric import Metric, MetricContext
from ebm_cli.core.pointwise import in_chunks
from ebm_cli.types import Best, Count

RIDGE = 1e-6  # added to the covariance, in units of the variances


@dataclass(frozen=True)
class Baselines(Metric):
    """`n_points` is the maximum number of training points, and of held-out points."""

    n_points: Count
    requires: ClassVar[frozenset[str]] = frozenset({"real", "unconditional"})
    units: ClassVar[Mapping[str, str]] = {"reference_nll": "nats", "gaussian_nll": "nats"}
    best: ClassVar[Mapping[str, Best]] = {}  # they do not measure the model
    final_only: ClassVar[bool] = True

    def __call__(self, context: MetricContext) -> dict[str, float | str] | str:
        x, held_out = context.split("train", self.n_points), context.held_out(self.n_points)
        if not len(held_out):
            return "there are no held-out points"
        constant = context.dataset.standardization.log_det - context.log_warp(held_out).mean().item()
        of_reference = in_chunks(context.reference.log_prob, held_out)
        of_gaussian = gaussian_log_prob(x.flatten(1).cpu().double(), held_out.flatten(1).cpu().double())
        return {"reference_nll": constant - of_reference.mean().item(), "gaussian_nll": constant - of_gaussian.mean().item()}


def gaussian_log_prob(x: Tensor, points: Tensor) -> Tensor:
    """The log-density of a Gaussian with the mean and covariance of x, (N, d), at points (n, d), in nats, (n,)."""
    mean, covariance = x.mean(0), x.T.cov(correction=0).reshape(x.shape[1], -1)
    factor = torch.linalg.cholesky(covariance + RIDGE * covariance.diagonal().clamp(min=RIDGE).diag())
    white = torch.linalg.solve_triangular(factor, (points - mean).T, upper=False)
    return -0.5 * (white.square().sum(0) + len(mean) * math.log(2 * math.pi)) - factor.diagonal().log().sum()
