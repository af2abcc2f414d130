"""Annealed Langevin dynamics on the exact noise-conditional energy of a Gaussian. Seeded, at 5 standard errors (false alarm 5e-7 each)."""

import pytest
import torch
from exactness import assert_mean
from torch import nn

from ebm_cli.core import chain
from ebm_cli.core.chain import Draws
from ebm_cli.core.model import Model
from ebm_cli.core.rng import Rng
from ebm_cli.core.wrappers import AtNoiseLevel
from ebm_cli.samplers.annealed import AnnealedLangevin

pytestmark = pytest.mark.usefixtures("double")

LEVELS = (2.0, 0.8, 0.3)
N = 20_000


class NoisedGaussian(nn.Module):
    """N(mean, v I) with added noise of standard deviation sigma: E(x, sigma) = |x - mean|^2 / (2 (v + sigma^2))."""

    takes_noise_level = True

    def __init__(self, mean=0.7, v=0.25):
        super().__init__()
        self.mean, self.v = nn.Parameter(torch.tensor(mean)), nn.Parameter(torch.tensor(v))
        self.asked = []

    def forward(self, x, noise_level):
        self.asked.append(noise_level)
        return 0.5 * (x - self.mean).flatten(1).square().sum(-1) / (self.v + noise_level**2)


def parts(*, event_ndim=1, **values):
    module = NoisedGaussian(**values)
    params = {name: value.detach() for name, value in module.named_parameters()}
    return AtNoiseLevel(Model(module, event_ndim=event_ndim, stacked=False), LEVELS), params


@pytest.mark.parametrize("shape", [(1,), (1, 1)])
def test_every_level_has_its_own_step_and_the_last_level_is_kept(shape):
    """x + eps_i s(x, sigma_i) + sqrt(2 eps_i) z with eps_i = 0.15 sigma_i^2: two transitions per level, then the last level."""
    model, params = parts(event_ndim=len(shape))
    sampler, x, z = AnnealedLangevin(0.15, 2), torch.tensor([1.5, -1.0]).view(2, *shape), torch.tensor([0.3, -0.8]).view(2, *shape)
    state = sampler.init(model, params, x)
    for sigma in (2.0, 2.0, 0.8, 0.8, 0.3, 0.3, 0.3, 0.3):
        before, eps = state.x, 0.15 * sigma**2
        state, info = sampler.step(model, params, state, (z,))
        drift = eps * (0.7 - before) / (0.25 + sigma**2)
        torch.testing.assert_close(state.x, before + drift + (2 * eps) ** 0.5 * z)
        torch.testing.assert_close(info["gradient_noise_ratio"], (drift / (2 * eps) ** 0.5).abs().flatten())


def test_a_sample_is_denoised_at_the_end():
    """x + sigma_L^2 s(x, sigma_L): the mean of the clean x given the noisy one, (v x + sigma_L^2 mean) / (v + sigma_L^2)."""
    model, params = parts()
    sampler, x = AnnealedLangevin(0.15, 2), torch.tensor([[1.5], [-1.0]])
    sample = sampler.finish(model, params, sampler.init(model, params, x))
    torch.testing.assert_close(sample, (0.25 * x + 0.09 * 0.7) / 0.34)


@pytest.mark.parametrize("step_size", [0.05, 0.2, 1.2])
def test_variance_at_the_last_level(step_size):
    """w / (1 - eps / 2w) with w = v + sigma_L^2 and eps = step_size sigma_L^2; the samples have (v / w)^2 times this variance."""
    model, params = parts()
    sampler, n_steps = AnnealedLangevin(step_size, 60), 200 if step_size > 0.1 else 400
    state = sampler.init(model, params, LEVELS[0] * Rng(1).normal("x", N, 1))
    for noise in chain.noises(sampler, state, Rng(0), n_steps):
        state, _ = sampler.step(model, params, state, noise)
    w = 0.25 + 0.3**2
    variance = w / (1 - step_size * 0.3**2 / (2 * w))
    assert_mean(state.x, 0.7)
    assert_mean((state.x - 0.7).square(), variance)
    assert_mean((sampler.finish(model, params, state) - 0.7).square(), (0.25 / w) ** 2 * variance)


@pytest.mark.parametrize(("step_size", "factor"), [(0.2, 1 / 0.9), (1.9, 20.0)])
def test_large_steps_inflate_the_variance(step_size, factor):
    """On a point mass the variance at a level is 1 / (1 - step_size / 2) times sigma^2."""
    model, params = parts(v=0.0)
    x, _ = chain.run(AnnealedLangevin(step_size, 40), model, params, torch.zeros(N, 1), Rng(0), n_steps=160)
    assert_mean((x - 0.7).square(), factor * 0.3**2)


@pytest.mark.parametrize("n_steps", [10, 1000])
def test_every_sample_is_the_end_of_its_own_chain(n_steps):
    """Three levels of 50 transitions and one score for the sample, for any numbers of chains and steps."""
    model, params = parts()
    sampler, draws = AnnealedLangevin(0.1, 50), Draws(8, 4, n_steps)
    x, _ = chain.draw(sampler, model, params, torch.zeros(draws.starts(sampler, model), 1), Rng(0), draws)
    asked = torch.stack([noise_level[0] for noise_level in model.base.module.asked]).tolist()
    assert asked == [2.0] * 50 + [0.8] * 50 + [0.3] * 51
    assert x.shape == (8, 1, 1)


def test_each_model_of_a_stack_gives_the_samples_of_the_single_model():
    params = {"mean": torch.tensor([0.7, -2.0]), "v": torch.tensor([0.25, 1.0])}
    stacked, sampler = AtNoiseLevel(Model(NoisedGaussian(), event_ndim=1, stacked=True), LEVELS), AnnealedLangevin(0.1, 3)
    x = Rng((3, 4)).normal("x", 5, 1)
    together, _ = chain.draw(sampler, stacked, params, x, Rng((3, 4)), Draws(5, 5, 20))
    for m, seed in enumerate((3, 4)):
        single = {name: value[m] for name, value in params.items()}
        alone, _ = chain.draw(sampler, stacked.alone(), single, x[m], Rng(seed), Draws(5, 5, 20))
        torch.testing.assert_close(together[m], alone)
