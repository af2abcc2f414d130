"""Kernel Stein discrepancy, as a U-statistic. Liu, Lee & Jordan 2016, arXiv:1602.03253; for training, Barp et al. 2019, arXiv:1906.08283.

    mean over j != i of k_ij ( s_i's_j + (s_i - s_j)'(x_i - x_j) / h^2 + d / h^2 - r^2 / h^4 ),    k = exp(-r^2 / 2h^2), r = |x_i - x_j|

Its expectation is zero if the model is the data distribution, and positive otherwise. Only pairs of points within a few h contribute, so
that the results depend strongly on the bandwidth (on moons 0.05 is good, 0.1 fair and 0.4 poor: results/tune_defaults.json). Cost per
sample and step: one score, and one kernel value for each point of the batch. It is not suited to high dimensions, where points have no
close neighbors.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ebm_cli.core import stein_kernel
from ebm_cli.core.contracts import Objective
from ebm_cli.core.model import Model
from ebm_cli.errors import bad
from ebm_cli.types import Info, Params, Positive


@dataclass(frozen=True)
class KernelSteinDiscrepancy(Objective):
    """`bandwidth` is h, in the model's units."""

    bandwidth: Positive

    def loss(self, model: Model, params: Params, x: Tensor, aux: Params) -> tuple[Tensor, Info]:
        if x.shape[-1 - model.event_ndim] < 2:
            raise bad("trainer.batch_size: objective=ksd needs batches of at least 2 points", "trainer.batch_size=256")
        score = model.score(params, x, create_graph=True).flatten(-model.event_ndim)
        u = stein_kernel.operator(x.flatten(-model.event_ndim), score, stein_kernel.gaussian, self.bandwidth)
        n = u.shape[-1]
        alone = torch.eye(n, dtype=torch.bool, device=x.device)
        return u.masked_fill(alone, 0).sum(-1) / (n - 1), {}
