"""A Gaussian to be learned: the energy whose every quantity is known.

    E(x) = 1/2 (u - mu)' A (u - mu),    A = L L',    u = (x - mean) / scale
    log Z = D/2 log 2 pi - log det L + sum log scale

L is lower triangular with exp on its diagonal, so that A is positive definite whatever the parameters. It starts at mu = 0, A = I: the
Gaussian of the data's mean and scale, uncorrelated. The reference row: what an objective makes of it can be compared with the data's
covariance. Not for data that are no Gaussian.
"""

import math
from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn

from ebm_cli.types import Energy


class Quadratic(nn.Module, Energy):
    """x (B, *d) -> E(x) (B,)."""

    def __init__(self, shape: Sequence[int], mean: Tensor, scale: Tensor) -> None:
        super().__init__()
        n = prod(shape)
        self.centre = nn.Parameter(torch.zeros(n))
        self.raw_factor = nn.Parameter(torch.zeros(n, n))  # the diagonal's logarithm and what is below it; above it nothing is read
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)

    @property
    def factor(self) -> Tensor:
        """L, (D, D)."""
        return self.raw_factor.tril(-1) + torch.diag_embed(self.raw_factor.diagonal().exp())

    @property
    def log_z(self) -> Tensor:
        """In nats, (): differentiable in the parameters."""
        return 0.5 * len(self.centre) * math.log(2 * math.pi) - self.raw_factor.diagonal().sum() + self.scale.log().sum()

    def forward(self, x: Tensor) -> Tensor:
        white = (((x - self.mean) / self.scale).flatten(1) - self.centre) @ self.factor
        return 0.5 * (white * white).sum(-1)
