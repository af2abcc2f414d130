"""Gaussian-Bernoulli restricted Boltzmann machine: real coordinates and binary hidden units. Welling et al. 2004; Cho et al. 2011.

    E(u, h) = |u - b|^2 / 2 - c'h - u'W h,    F(u) = |u - b|^2 / 2 - sum_j softplus(c_j + (W'u)_j),    u = (x - mean) / scale

The energy of an event is the free energy F. The model is a mixture of 2^H Gaussians of unit variance in u, with centers b + W h: Z is
finite for all parameters, and with at most 20 hidden units log Z is a sum over the states of h,

    Z = (2 pi)^(D/2) prod(scale) sum_h exp(c'h + b'W h + |W h|^2 / 2).

Given h the coordinates are independent Gaussians, and given u the h_j are independent bits. Normal numbers are made from pairs of uniform
ones (Box & Muller 1958); with 24 random bits they do not exceed 5.8.
"""

import math
from math import prod

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from ebm_cli.core import rbm
from ebm_cli.core.block_gibbs import BlockGibbs
from ebm_cli.core.contracts import Energy
from ebm_cli.types import Count, Positive, Space


class GaussianRBM(nn.Module, Energy, BlockGibbs):
    """x (B, *d) -> F (B,). `n_hidden` is H and `std` the standard deviation of the initial weights. The path ignores `bias`."""

    def __init__(self, space: Space, mean: Tensor, scale: Tensor, *, n_hidden: Count, std: Positive) -> None:
        super().__init__()
        n = prod(space.shape)
        self.n_hidden, self.n_uniforms = n_hidden, n_hidden + 2 * n
        self.has_log_partition = n_hidden <= rbm.MOST_SUMMED
        self.weight = nn.Parameter(std * torch.randn(n, n_hidden))
        self.visible_bias, self.hidden_bias = nn.Parameter(torch.zeros(n)), nn.Parameter(torch.zeros(n_hidden))
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)

    def forward(self, x: Tensor) -> Tensor:
        u = self.standardized(x)
        return 0.5 * (u - self.visible_bias).square().sum(-1) - softplus(u @ self.weight + self.hidden_bias).sum(-1)

    def standardized(self, x: Tensor) -> Tensor:
        """u, (B, *d) -> (B, D)."""
        return ((x - self.mean) / self.scale).flatten(1)

    def hidden(self, x: Tensor) -> Tensor:
        """P(h = 1 | x), (B, *d) -> (B, H)."""
        return torch.sigmoid(self.standardized(x) @ self.weight + self.hidden_bias)

    def filters(self) -> Tensor:
        """The weights of every hidden unit, (H, D), on standardized coordinates."""
        return self.weight.T

    def sweep(self, x: Tensor, u: Tensor, beta: Tensor, bias: Tensor) -> Tensor:
        beta = beta.unsqueeze(-1)
        units, radius, angle = u.split([self.n_hidden, x[0].numel(), x[0].numel()], -1)
        on = units < torch.sigmoid(beta * (self.standardized(x) @ self.weight + self.hidden_bias))
        z = (-2 * torch.log1p(-radius)).sqrt() * torch.cos(2 * math.pi * angle)
        drawn = self.visible_bias + on.to(x) @ self.weight.T + z * beta.rsqrt()
        return self.mean + self.scale * drawn.view_as(x)

    def annealed_energy(self, x: Tensor, beta: Tensor, bias: Tensor) -> Tensor:
        u, one = self.standardized(x), beta.unsqueeze(-1)
        return 0.5 * beta * (u - self.visible_bias).square().sum(-1) - softplus(one * (u @ self.weight + self.hidden_bias)).sum(-1)

    def log_partition(self) -> Tensor:
        """log Z in nats, in the units of x, a scalar in double precision. It is differentiable."""
        weight, b, c = self.weight.double(), self.visible_bias.double(), self.hidden_bias.double()
        total = weight.new_full((), -torch.inf)
        for h in rbm.all_states(self.n_hidden, len(b), weight):
            shift = h @ weight.T
            total = torch.logaddexp(total, (h @ c + shift @ b + 0.5 * shift.square().sum(-1)).logsumexp(0))
        return total + 0.5 * len(b) * math.log(2 * math.pi) + self.scale.expand_as(self.mean).double().log().sum()
