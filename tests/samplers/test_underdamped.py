"""BAOAB: step, stationary covariance on a Gaussian, and second-order bias. Statistical checks are seeded."""

import math

import pytest
import torch
from exactness import Gumbel, assert_mean, parts
from targets import Quadratic
from torch import nn

from ebm_cli.core import chain
from ebm_cli.core.rng import Rng
from ebm_cli.samplers.underdamped import State, Underdamped

pytestmark = pytest.mark.usefixtures("double")


class Quartic(nn.Module):
    """E(x) = x^4 / 4: E[x^2] = 2 Gamma(3/4) / Gamma(1/4)."""

    def __init__(self):
        super().__init__()
        self.a = nn.Parameter(torch.tensor(0.25))

    def forward(self, x):
        return self.a * x.flatten(1).pow(4).sum(-1)


@pytest.mark.parametrize("shape", [(1,), (1, 1)])
@pytest.mark.parametrize("max_score_norm", [None, 1.5])
def test_step_formula_on_a_skewed_target(shape, max_score_norm):
    model, params = parts(Gumbel(), event_ndim=len(shape))
    h, friction, sampler = 0.4, 1.3, Underdamped(0.4, 1.3, max_score_norm)

    def score(x):
        return ((-x).exp() - 1).clamp(max=max_score_norm or math.inf)

    x, v, z = (Rng(0).normal(name, 30, *shape) for name in ("x", "v", "z"))
    x = x - 0.5
    state = sampler.init(model, params, x)._replace(velocity=v, fresh=torch.arange(30) < 10)
    after, info = sampler.step(model, params, state, (z, 10 + torch.zeros_like(z)))
    v[:10] = 10.0
    v = v + h / 2 * score(x)
    x = x + h / 2 * v
    v = math.exp(-friction * h) * v + math.sqrt(1 - math.exp(-2 * friction * h)) * z
    x = x + h / 2 * v
    v = v + h / 2 * score(x)
    torch.testing.assert_close(after.x, x)
    torch.testing.assert_close(after.velocity, v)
    torch.testing.assert_close(after.score, score(x))
    assert not after.fresh.any()
    expected = h * score(x).abs().flatten() / math.sqrt(1 - math.exp(-2 * friction * h))
    torch.testing.assert_close(info["gradient_noise_ratio"], expected)


@pytest.mark.parametrize("friction", [0.3, 2.0])
@pytest.mark.parametrize(("h", "variance"), [(0.1, 1.0), (1.2, 1.0), (1.9, 1.0), (1.2, 2.5)])
def test_stationary_covariance_of_a_gaussian(h, variance, friction):
    """Variances V and 1 - h^2 / 4V, uncorrelated. On a Gaussian a step is linear, and its matrix gives the stationary covariance."""
    model, _ = parts(Quadratic())
    params, sampler = {"a": torch.tensor(1 / variance)}, Underdamped(h, friction, None)
    x, v, z = torch.eye(3).unsqueeze(-1).unbind(1)  # unit vectors of position, velocity and noise
    state = State(x, torch.tensor(h), v, -x / variance, torch.zeros(3, dtype=torch.bool))
    after, _ = sampler.step(model, params, state, (z, torch.zeros(3, 1)))
    *columns, noise = torch.cat([after.x, after.velocity], -1)
    move = torch.stack(columns, -1)
    covariance = torch.linalg.solve(torch.eye(4) - torch.kron(move, move), torch.outer(noise, noise).flatten()).view(2, 2)
    torch.testing.assert_close(covariance, torch.diag(torch.tensor([variance, 1 - h**2 / (4 * variance)])))


def test_chains_reach_the_stationary_covariance():
    """After 60 transitions at h = 1.2 from distant starts: variances 1 and 0.64, at 5 standard errors (false alarm 5e-7 each)."""
    model, params = parts(Quadratic())
    sampler, rng = Underdamped(1.2, 0.7, None), Rng(0)
    state = sampler.init(model, params, torch.full((20_000, 1), 3.0))
    for noise in chain.noises(sampler, state, rng, 60):
        state, _ = sampler.step(model, params, state, noise)
    assert_mean(state.x, 0.0)
    assert_mean(state.x.square(), 1.0)
    assert_mean(state.velocity.square(), 1 - 1.2**2 / 4)
    assert_mean(state.x * state.velocity, 0.0)


def test_bias_on_a_quartic_is_of_second_order():
    """From the exact distribution one step changes every mean by O(h^3): h times a bias of O(h^2). By quadrature over x, v and z."""
    model, params = parts(Quartic())
    axes = torch.linspace(-3.6, 3.6, 120), torch.linspace(-8.0, 8.0, 40), torch.linspace(-8.0, 8.0, 40)
    x, v, z = (part.reshape(-1, 1) for part in torch.meshgrid(*axes, indexing="ij"))
    weight = (-(x**4) / 4 - v**2 / 2 - z**2 / 2).exp()

    def change(h):
        state = State(x, torch.tensor(h), v, model.score(params, x), torch.zeros(len(x), dtype=torch.bool))
        after, _ = Underdamped(h, 1.0, None).step(model, params, state, (z, z))
        means = [(weight * torch.cat([x**2, v**2, x * v, x**4, x**2 * v**2], -1)).sum(0) for x, v in ((after.x, after.velocity), (x, v))]
        return ((means[0] - means[1]) / weight.sum()).abs()

    coarse, fine = change(0.1), change(0.05)
    assert (fine > 1e-7).all()
    assert (coarse / fine > 7).all()  # it would be 4 for a first-order method
    assert coarse[1] / fine[1] < 9


def test_bias_on_a_quartic():
    """E[x^2] = 0.676 - 0.032 h^2: at h = 0.4 the bias is small but measurable, with a standard error of 0.0006 from 20,000 chains."""
    model, params = parts(Quartic())
    sampler, squares = Underdamped(0.4, 1.0, None), torch.zeros(())
    state = sampler.init(model, params, 0.8 * Rng(1).normal("x", 20_000, 1))
    for n, noise in enumerate(chain.noises(sampler, state, Rng(0), 230)):
        state, _ = sampler.step(model, params, state, noise)
        squares += state.x.square().mean() / 200 if n >= 30 else 0.0
    bias = squares.item() - 2 * math.gamma(0.75) / math.gamma(0.25)
    assert abs(bias + 0.032 * 0.4**2) < 5 * 0.0006
    assert bias < -0.001


def test_chains_that_start_at_the_model_remain_there():
    """Initial velocities are independent draws from N(0, I). If they were zero, the variance would be 0.3 after a quarter of a period."""
    model, params = parts(Quadratic())
    sampler, x = Underdamped(0.1, 0.2, None), Rng(1).normal("x", 20_000, 1)
    for n_steps in (5, 15):
        after, _ = chain.run(sampler, model, params, x, Rng(0), n_steps=n_steps)
        assert abs(after.square().mean() - 1) < 5 * (2 / 20_000) ** 0.5 + 0.1**2 / 4
    state = sampler.init(model, params, x)
    z, first = sampler.noise(Rng(0), state, 3)
    assert z.shape == first.shape == (3, 20_000, 1)
    assert_mean(z[0] * first[0], 0.0)
    assert_mean(first[0].square(), 1.0)
