"""SGLD: temperature and bias in closed form. Seeded, at 5 standard errors (false alarm 5e-7 each)."""

import pytest
import torch
from exactness import Gumbel, assert_mean, parts
from targets import Quadratic

from ebm_cli.core import chain
from ebm_cli.core.rng import Rng
from ebm_cli.samplers.langevin import Langevin
from ebm_cli.samplers.sgld import SGLD

pytestmark = pytest.mark.usefixtures("double")

N = 20_000


@pytest.mark.parametrize("shape", [(1,), (1, 1)])
def test_step_formula_on_a_skewed_target(shape):
    """x' = x + eps s(x) + sigma z with s = exp(-x) - 1, which is 6.4 at -2 and truncated to 1.5 there."""
    model, params = parts(Gumbel(), event_ndim=len(shape))
    sampler, x, z = SGLD(0.3, 1.5, 0.2), torch.tensor([-2.0, 1.0]).view(2, *shape), torch.tensor([1.0, -2.0]).view(2, *shape)
    after, info = sampler.step(model, params, sampler.init(model, params, x), (z,))
    drift = torch.minimum((-x).exp() - 1, torch.tensor(1.5))
    torch.testing.assert_close(after.x, x + 0.3 * drift + 0.2 * z)
    torch.testing.assert_close(info["gradient_noise_ratio"], 0.3 * drift.abs().flatten() / 0.2)


def test_stationary_variance_is_that_of_its_temperature_with_the_bias_of_its_step():
    """T v / (1 - eps / 2v), v = 2.5, at T = sigma^2 / (2 eps) = 0.4."""
    v, eps, sampler = 2.5, 0.8, SGLD(0.8, None, 0.8)
    assert sampler.temperature == pytest.approx(0.4)
    model, _ = parts(Quadratic())
    x, _ = chain.run(sampler, model, {"a": torch.tensor(1 / v)}, torch.zeros(N, 1), Rng(0), n_steps=50)
    assert_mean(x, 0.0)
    assert_mean(x.square(), 0.4 * v / (1 - eps / (2 * v)))


@pytest.mark.parametrize(("eps", "noise_scale"), [(0.3, 0.5), (0.05, 0.45)])
def test_temperature_on_a_skewed_target(eps, noise_scale):
    """If the means of x and x^2 are stationary, E[-x s - eps/2 s^2] = sigma^2 / (2 eps) = T for every target and step."""
    model, params = parts(Gumbel())
    sampler = SGLD(eps, None, noise_scale)
    x, _ = chain.run(sampler, model, params, torch.zeros(N, 1), Rng(0), n_steps=round(30 / eps))
    score = model.score(params, x)
    assert_mean(score, 0.0)
    assert_mean(-x * score - eps / 2 * score.square(), sampler.temperature)


def test_at_temperature_one_it_is_langevin_dynamics():
    model, params = parts(Gumbel())
    samplers, x = (SGLD(0.32, None, 0.8), Langevin(0.32, None)), torch.zeros(50, 1)
    decoupled, langevin = (chain.run(sampler, model, params, x, Rng(0), n_steps=9)[0] for sampler in samplers)
    torch.testing.assert_close(decoupled, langevin)
    assert SGLD(0.32, None, 0.8).temperature == pytest.approx(1.0)
