"""Langevin dynamics with its bias in closed form. Statistical checks are seeded, at 5 standard errors (false alarm 5e-7 each)."""

import math

import pytest
import torch
from exactness import assert_mean
from torch import nn

from ebm_cli.core import chain
from ebm_cli.core.model import Model
from ebm_cli.core.rng import Rng
from ebm_cli.samplers.langevin import Langevin

pytestmark = pytest.mark.usefixtures("double")


class Gaussian(nn.Module):
    """E(x) = x'Ax / 2."""

    def __init__(self, d):
        super().__init__()
        self.precision = nn.Parameter(torch.eye(d))

    def forward(self, x):
        u = x.flatten(1)
        return 0.5 * ((u @ self.precision) * u).sum(-1)


class Gumbel(nn.Module):
    """E(x) = (x - b) + exp(b - x)."""

    def __init__(self):
        super().__init__()
        self.b = nn.Parameter(torch.zeros(()))

    def forward(self, x):
        return (x - self.b + (self.b - x).exp()).sum(-1)


def test_step_formula_on_a_skewed_target():
    """x' = x + eps s(x) + sqrt(2 eps) z with s = exp(b - x) - 1; one step has mean x + eps s and variance 2 eps."""
    model, sampler, params = Model(Gumbel(), event_ndim=1, stacked=False), Langevin(0.3, None), {"b": torch.tensor(0.4)}
    x = torch.full((20_000, 1), -0.5)
    state, noise = sampler.init(model, params, x), sampler.noise(Rng(0), sampler.init(model, params, x), 1)
    moved = sampler.step(model, params, state, (noise[0][0],))[0].x
    mean = -0.5 + 0.3 * (torch.tensor(0.9).exp() - 1)
    torch.testing.assert_close(moved, mean + 0.6**0.5 * noise[0][0])
    assert_mean(moved, mean)
    assert_mean((moved - mean).square(), 0.6)


@pytest.mark.parametrize("shape", [(1,), (1, 1)])
def test_stationary_variance_with_its_bias(shape):
    """v / (1 - eps / 2v) = 3.125 at v = 2.5, eps = 1; the number of chains suffices to distinguish it from 2.5."""
    v, eps, n = 2.5, 1.0, 20_000
    model, params = Model(Gaussian(1), event_ndim=len(shape), stacked=False), {"precision": torch.tensor([[1 / v]])}
    x, _ = chain.run(Langevin(eps, None), model, params, torch.zeros(n, *shape), Rng(0), n_steps=40)
    assert_mean(x.flatten(), 0.0)
    assert_mean(x.flatten().square(), v / (1 - eps / (2 * v)))
    assert abs(x.var() - v) > 10 * v * (2 / n) ** 0.5


def test_stationary_covariance_of_a_correlated_target():
    """(A (I - eps A / 2))^-1 for E = x'Ax / 2."""
    precision, eps, n = torch.tensor([[2.0, -1.2], [-1.2, 1.5]]), 0.4, 20_000
    model = Model(Gaussian(2), event_ndim=1, stacked=False)
    x, _ = chain.run(Langevin(eps, None), model, {"precision": precision}, torch.zeros(n, 2), Rng(0), n_steps=60)
    covariance = torch.linalg.inv(precision @ (torch.eye(2) - eps / 2 * precision))
    for i in range(2):
        for j in range(2):
            assert_mean(x[:, i] * x[:, j], covariance[i, j])


def test_each_model_of_a_stack_follows_its_own_energy():
    variances, n, eps = torch.tensor([0.5, 2.5]), 20_000, 0.3
    model, precision = Model(Gaussian(1), event_ndim=1, stacked=True), (1 / variances).reshape(2, 1, 1)
    x, _ = chain.run(Langevin(eps, None), model, {"precision": precision}, torch.zeros(2, n, 1), Rng((3, 4)), n_steps=60)
    for m, seed in enumerate((3, 4)):
        assert_mean(x[m].flatten().square(), variances[m] / (1 - eps / (2 * variances[m])))
        alone, _ = chain.run(Langevin(eps, None), model.alone(), {"precision": precision[m]}, torch.zeros(n, 1), Rng(seed), n_steps=60)
        torch.testing.assert_close(x[m], alone)


def test_step_size_may_differ_between_models():
    model, params = Model(Gaussian(1), event_ndim=1, stacked=True), {"precision": torch.ones(2, 1, 1)}
    state = Langevin(0.1, None).init(model, params, torch.ones(2, 3, 1))._replace(step_size=torch.tensor([0.1, 0.5]))
    z = Rng((0, 1)).normal("z", 3, 1)
    moved = Langevin(0.1, None).step(model, params, state, (z,))[0].x
    torch.testing.assert_close(moved, torch.stack([0.9 + 0.2**0.5 * z[0], 0.5 + 1.0 * z[1]]))


def test_long_scores_are_truncated_per_chain_and_in_the_diagnostics():
    """s = exp(b - x) - 1 is 6.4 at -2 and -0.6 at 1: the first is truncated to 1.5."""
    model, sampler, params = Model(Gumbel(), event_ndim=1, stacked=False), Langevin(0.3, 1.5), {"b": torch.tensor(0.0)}
    x = torch.tensor([[-2.0], [1.0], [float("nan")]])
    after, info = sampler.step(model, params, sampler.init(model, params, x), (torch.ones(3, 1),))
    drift = torch.tensor([1.5, math.exp(-1.0) - 1])
    torch.testing.assert_close(after.x[:2, 0], x[:2, 0] + 0.3 * drift + 0.6**0.5)
    torch.testing.assert_close(info["gradient_noise_ratio"][:2], 0.3 * drift.abs() / 0.6**0.5)
    assert info["divergence"].tolist() == [False, False, True]
