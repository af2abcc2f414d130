"""Gaussian-Bernoulli machines of a few units, compared with the mixture of Gaussians that they are. All draws are seeded."""

import math

import pytest
import torch
from scipy.stats import kstest
from torch.special import ndtr

from ebm_cli.core import chain
from ebm_cli.core.model import Model, tensors
from ebm_cli.core.rng import Rng
from ebm_cli.core.states import states
from ebm_cli.energies.gaussian_rbm import GaussianRBM
from ebm_cli.samplers.block_gibbs import BlockGibbs
from ebm_cli.types import Space

MEAN, SCALE = torch.tensor([1.0, -2.0]), torch.tensor([0.5, 3.0])


def machine():
    torch.manual_seed(1)
    energy = GaussianRBM(Space((2,)), MEAN, SCALE, n_hidden=3, std=1.0).double()
    for bias in (energy.visible_bias, energy.hidden_bias):
        torch.nn.init.normal_(bias)
    return energy


def mixture(energy):
    """The weights (8,) of the Gaussians in u and their centers (8, 2), written out, and log Z in the units of u."""
    h = states(Space((3,), "binary")).double()
    shift = h @ energy.weight.T
    log_weight = h @ energy.hidden_bias + shift @ energy.visible_bias + 0.5 * shift.square().sum(1)
    return log_weight.softmax(0).detach(), (energy.visible_bias + shift).detach(), log_weight.logsumexp(0) + math.log(2 * math.pi)


def test_the_energy_and_log_z_are_those_of_the_mixture():
    energy, x = machine(), 3 * Rng(0).normal("x", 50, 2).double()
    weight, center, log_z = mixture(energy)
    u = (x - MEAN) / SCALE
    log_p = (weight.log() - 0.5 * (u.unsqueeze(1) - center).square().sum(-1)).logsumexp(1) - math.log(2 * math.pi)
    torch.testing.assert_close(energy(x) + log_z, -log_p)
    torch.testing.assert_close(energy.log_partition(), log_z + SCALE.log().sum())
    beta = torch.linspace(0.2, 1.0, 50).double()
    torch.testing.assert_close(energy.annealed_energy(x, torch.ones(50).double(), torch.zeros(2).double()), energy(x))
    joint = 0.5 * (u - energy.visible_bias).square().sum(1)
    at = u @ energy.weight + energy.hidden_bias
    expected = beta * joint - torch.log1p((beta.unsqueeze(-1) * at).exp()).sum(1)
    torch.testing.assert_close(energy.annealed_energy(x, beta, torch.zeros(2).double()), expected)


@pytest.mark.parametrize("direction", [(1.0, 0.0), (0.0, 1.0), (0.8, -0.6)])
def test_chains_that_start_at_the_model_keep_it(direction):
    """A Kolmogorov-Smirnov test of a projection fails for one seed in 10^6."""
    energy, n = machine(), 20_000
    weight, center, _ = mixture(energy)
    kind = torch.searchsorted(weight.cumsum(0), Rng(0).uniform("kind", n).double()).clamp(max=7)
    x = MEAN + SCALE * (center[kind] + Rng(0).normal("z", n, 2).double())
    model = Model(energy, event_ndim=1, stacked=False)
    params = {name: value.detach() for name, value in tensors(energy).items()}
    moved, _ = chain.run(BlockGibbs(), model, params, x, Rng(1), n_steps=3)
    along = ((moved - MEAN) / SCALE) @ torch.tensor(direction).double()
    at = center @ torch.tensor(direction).double()
    assert kstest(along.numpy(), lambda t: (ndtr(torch.as_tensor(t).unsqueeze(-1) - at) * weight).sum(-1).numpy()).pvalue > 1e-6
    assert not torch.equal(moved, x)
