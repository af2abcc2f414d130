"""Energies with closed forms that several tests share."""

import math

import numpy as np
import torch
from torch import nn


class Quadratic(nn.Module):
    """E(x) = a |x|^2 / 2: N(0, I/a), score -a x, log Z = (d/2) log(2 pi / a)."""

    def __init__(self):
        super().__init__()
        self.a = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return 0.5 * self.a * x.flatten(1).square().sum(-1)


class LogGamma(nn.Module):
    """E(x) = k (x - b) + exp(b - x): with u = exp(-x) ~ Gamma(k) under b = 0, s = u e^b - k and s' = -u e^b. Z = Gamma(k). It is skewed."""

    def __init__(self):
        super().__init__()
        self.k, self.b = nn.Parameter(torch.ones(())), nn.Parameter(torch.zeros(()))

    def forward(self, x):
        return (self.k * (x - self.b) + (self.b - x).exp()).sum(-1)


class Coupled(nn.Module):
    """E(x) = a (x_0 + exp(-x_0)) + x_0 x_1 + x_1^4."""

    def __init__(self):
        super().__init__()
        self.a = nn.Parameter(torch.tensor(0.7))

    def forward(self, x):
        x = x.flatten(1)
        return self.a * (x[:, 0] + (-x[:, 0]).exp()) + x[:, 0] * x[:, 1] + x[:, 1] ** 4


class CoupledScore(nn.Module):
    """The score of `Coupled` in closed form."""

    outputs_score = True

    def __init__(self):
        super().__init__()
        self.a = nn.Parameter(torch.tensor(0.7))

    def forward(self, x):
        x_0, x_1 = x.flatten(1).unbind(-1)
        return -torch.stack([self.a * (1 - (-x_0).exp()) + x_1, x_0 + 4 * x_1**3], -1).view_as(x)


def spread_points(shape, n):
    """n points on the sphere of radius sqrt(d) whose first two moments are exactly those of N(0, I); n is a multiple of 2 d."""
    d = math.prod(shape)
    corners = torch.cat([torch.eye(d), -torch.eye(d)]) * d**0.5
    return corners.repeat(n // (2 * d), 1).reshape(-1, *shape)


def log_gamma_nodes(k, n=8):
    """Points (n, 1) and weights (n,) of the distribution of `LogGamma` at an integer k and b = 0, exact for polynomials in exp(-x)."""
    u, weights = (torch.from_numpy(part) for part in np.polynomial.laguerre.laggauss(n))
    return -u.log().unsqueeze(-1), weights * u ** (k - 1) / math.gamma(k)


def normal_nodes(n=20):
    """Points (n,) and weights (n,) of N(0, 1), exact for polynomials up to degree 2 n - 1."""
    z, weights = (torch.from_numpy(part) for part in np.polynomial.hermite_e.hermegauss(n))
    return z, weights / weights.sum()


def pairs(a, b):
    """All pairs of a (n, ...) and b (k, ...), as two tensors (n k, ...)."""
    return a.repeat_interleave(len(b), 0), b.repeat(len(a), *[1] * (b.ndim - 1))


def assert_mean(values, expected, n_errors=5.0):
    """The mean is within 5 standard errors (one false alarm in 1.7e6), and exact if the values are constant."""
    values = values.detach()
    assert abs(values.mean() - expected) <= n_errors * values.std() / len(values) ** 0.5 + 1e-10


def log_integral(energy, box, n=801):
    """The log of the integral of exp(-E) over a box, by the trapezoid rule with n points per side; exp(-E) must vanish at its border."""
    axes = [torch.linspace(low, high, n) for low, high in box]
    cell = torch.stack([axis[1] - axis[0] for axis in axes]).log().sum()
    with torch.no_grad():
        return torch.logsumexp(-energy(torch.cartesian_prod(*axes).reshape(-1, len(box))), 0).add(cell).item()


def by_differences(energy, x, h=1e-5):
    """-grad E at x (B, d) by central differences, (B, d)."""
    steps = h * torch.eye(x.shape[-1])
    return torch.stack([(energy(x - step) - energy(x + step)) / (2 * h) for step in steps], -1)
