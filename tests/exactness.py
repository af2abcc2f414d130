"""Tests of whether a sampler leaves its target invariant: targets with exact draws and distribution functions, and checks that use them.

All draws are seeded.
"""

import numpy as np
import torch
from scipy.stats import kstest
from torch import nn
from torch.special import ndtr

from ebm_cli.core import chain
from ebm_cli.core.model import Model
from ebm_cli.core.rng import Rng

FALSE_ALARM = 1e-6  # the false-alarm rate of each Kolmogorov-Smirnov or sign test
N = 20_000  # number of chains


class Gaussian(nn.Module):
    """x = L z with z ~ N(0, I), correlated. Every projection of z is normal."""

    projections = ([1.0, 0.0], [0.0, 1.0], [0.8, 0.6], [0.8, -0.6])

    def __init__(self):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor([[1.0, 0.0], [-1.2, 0.5]]))

    def forward(self, x):
        return 0.5 * torch.linalg.solve_triangular(self.factor, x.flatten(1).T, upper=False).square().sum(0)

    def draw(self, n, temperature=1.0, seed=1):
        return temperature**0.5 * Rng(seed).normal("z", n, 2) @ self.factor.detach().T

    def uniforms(self, x):
        z = torch.linalg.solve_triangular(self.factor.detach(), x.T, upper=False).T
        return [ndtr(z @ torch.tensor(w)) for w in self.projections]


class Line(nn.Module):
    """A density on the real line. Exact draws at any temperature invert its distribution function on a fine grid."""

    projections = ([1.0],)

    def draw(self, n, temperature=1.0, seed=1):
        grid = torch.linspace(-40.0, 80.0, 400_001).unsqueeze(-1)
        energy = self(grid).detach()
        density = (-(energy - energy.min()) / temperature).exp()
        below = torch.cumulative_trapezoid(density, dim=0)
        u = Rng(seed).uniform("u", n) * below[-1]
        return torch.from_numpy(np.interp(u.numpy(), below.numpy(), grid[1:, 0].numpy())).unsqueeze(-1)


class Gumbel(Line):
    """E(x) = x + exp(-x): skewed, with distribution function exp(-exp(-x))."""

    def __init__(self):
        super().__init__()
        self.slope = nn.Parameter(torch.ones(()))

    def forward(self, x):
        u = x.flatten(1)
        return (self.slope * u + (-u).exp()).sum(-1)

    def uniforms(self, x):
        return [(-(-x).exp()).exp().flatten()]


class TwoModes(Line):
    """0.7 N(-c, 0.4^2) + 0.3 N(c, 0.4^2), c = 1."""

    def __init__(self, c=1.0):
        super().__init__()
        self.weights = nn.Parameter(torch.tensor([0.7, 0.3]))
        self.c = c

    def forward(self, x):
        return -torch.logsumexp(self.weights.log() - ((x - torch.tensor([-self.c, self.c])) / 0.4).square() / 2, -1)

    def uniforms(self, x):
        return [(0.7 * ndtr((x + self.c) / 0.4) + 0.3 * ndtr((x - self.c) / 0.4)).flatten()]


TARGETS = (Gaussian, Gumbel, TwoModes)


def parts(module, *, event_ndim=1):
    """The model of a module, and its parameters."""
    params = {name: value.detach() for name, value in module.named_parameters()}
    return Model(module, event_ndim=event_ndim, stacked=False), params


def p_value(module, x):
    """The smallest p-value of the Kolmogorov-Smirnov tests of F(x) against the uniform distribution."""
    return min(kstest(values.numpy(), "uniform").pvalue for values in module.uniforms(x))


def moved(sampler, module, *, n_steps):
    """Chains after `n_steps` transitions from exact draws, and their mean infos. If the sampler is exact, they are exact draws again."""
    return chain.run(sampler, *parts(module), module.draw(N), Rng(2), n_steps=n_steps)


def assert_mean(values, expected):
    """The mean is within 5 standard errors of independent values: one false alarm in 2e6."""
    values = values.flatten()
    assert abs(values.mean() - expected) < 5 * values.std() / len(values) ** 0.5, f"{values.mean():.5f} is not {expected:.5f}"
