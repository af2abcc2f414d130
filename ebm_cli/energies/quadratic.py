"""A trainable Gaussian: an energy with an analytic normalizing constant.

    E(x) = 1/2 (u - mu)' A (u - mu),    A = L L',    u = (x - mean) / scale
    log Z = D/2 log 2 pi - log det L + sum log scale

L is lower triangular, and its diagonal is the exponential of parameters, so that A is always positive definite. It starts at mu = 0,
A = I: the uncorrelated Gaussian with the mean and scale of the data. It serves as a reference: the covariance that an objective learns can
be compared with that of the data. It is not suited to data that are not Gaussian.
"""

import math
from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn

from ebm_cli.core.contracts import Energy


class Quadratic(nn.Module, Energy):
    """x (B, *d) -> E(x) (B,)."""

    def __init__(self, shape: Sequence[int], mean: Tensor, scale: Tensor) -> None:
        super().__init__()
        n = prod(shape)
        self.centre = nn.Parameter(torch.zeros(n))
        self.raw_factor = nn.Parameter(torch.zeros(n, n))  # the log of the diagonal of L, and L below it; the rest is unused
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)

    @property
    def factor(self) -> Tensor:
        """L, (D, D)."""
        return self.raw_factor.tril(-1) + torch.diag_embed(self.raw_factor.diagonal().exp())

    @property
    def log_z(self) -> Tensor:
        """log Z in nats, a scalar that is differentiable with respect to the parameters."""
        return 0.5 * len(self.centre) * math.log(2 * math.pi) - self.raw_factor.diagonal().sum() + self.scale.log().sum()

    def forward(self, x: Tensor) -> Tensor:
        white = (((x - self.mean) / self.scale).flatten(1) - self.centre) @ self.factor
        return 0.5 * (white * white).sum(-1)
