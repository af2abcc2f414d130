"""Denoising score matching against closed forms, on points with exact moments. Statistical checks are seeded (false alarm 1e-6 each)."""

from math import prod

import pytest
import torch
from scipy.stats import chisquare
from targets import Quadratic, assert_mean, normal_nodes, pairs, spread_points
from torch import nn

from ebm_cli.core.model import Model
from ebm_cli.core.rng import Rng
from ebm_cli.errors import InputError
from ebm_cli.objectives.denoising import Denoising, MultilevelDenoising

pytestmark = pytest.mark.usefixtures("double")

POINTS, WEIGHTS = (-0.5, 0.2, 1.9), (0.5, 0.3, 0.2)  # a skewed distribution


class Smoothed(nn.Module):
    """c times the energy of the skewed distribution above, smoothed by N(0, sigma^2) and shifted by b: exact at c = 1, b = 0."""

    def __init__(self, sigma):
        super().__init__()
        self.sigma, self.c, self.b = sigma, nn.Parameter(torch.ones(())), nn.Parameter(torch.zeros(()))

    def forward(self, x):
        away = (x - self.b - torch.tensor(POINTS)) / self.sigma
        return -self.c * torch.logsumexp(torch.tensor(WEIGHTS).log() - away.square() / 2, -1)


class Levels(nn.Module):
    """E(x, sigma) = a |x|^2 / (2 (1 + sigma^2)): at a = 1 it is N(0, I) smoothed by the noise."""

    takes_noise_level = True

    def __init__(self):
        super().__init__()
        self.a = nn.Parameter(torch.ones(()))

    def forward(self, x, noise_level):
        return 0.5 * self.a / (1 + noise_level.square()) * x.flatten(1).square().sum(-1)


@pytest.mark.parametrize("shape", [(1,), (3,), (2, 2)])
@pytest.mark.parametrize("sigma", [0.3, 1.0, 1.6])
def test_value_and_gradient_on_a_gaussian(shape, sigma):
    """d/2 ((a sigma)^2 + (1 - a sigma^2)^2), with its minimum d / (2 (1 + sigma^2)) at a = 1 / (1 + sigma^2)."""
    d, model, dsm = prod(shape), Model(Quadratic(), event_ndim=len(shape), stacked=False), Denoising(sigma)
    x, z = pairs(spread_points(shape, 2 * d), spread_points(shape, 2 * d))
    best = 1 / (1 + sigma**2)
    for a in (best, 0.5 * best, 1.3 * best):
        leaf = torch.tensor(a, requires_grad=True)
        loss = dsm.loss(model, {"a": leaf}, x, {"noise": z})[0].mean()
        (gradient,) = torch.autograd.grad(loss, leaf)
        torch.testing.assert_close(loss, torch.tensor(d / 2 * ((a * sigma) ** 2 + (1 - a * sigma**2) ** 2)))
        torch.testing.assert_close(gradient, torch.tensor(d * sigma**2 * (a * (1 + sigma**2) - 1)))
        if a == best:
            torch.testing.assert_close(loss, torch.tensor(d / (2 * (1 + sigma**2))))


def test_loss_formula():
    model, x, z = Model(Quadratic(), event_ndim=1, stacked=False), Rng(0).normal("x", 5, 3), Rng(0).normal("z", 5, 3)
    loss, _ = Denoising(0.4).loss(model, {"a": torch.tensor(0.7)}, x, {"noise": z})
    torch.testing.assert_close(loss, (-0.4 * 0.7 * (x + 0.4 * z) + z).square().sum(-1) / 2)


@pytest.mark.parametrize("sigma", [0.6, 1.4])
def test_minimizer_is_the_smoothed_skewed_distribution(sigma):
    """The gradients in c and b vanish there and have the right signs on both sides; the minimum is 1/2 - sigma^2/2 E|s|^2."""
    z, weight = normal_nodes(80)
    x, z = pairs(torch.tensor(POINTS).unsqueeze(-1), z.unsqueeze(-1))
    weight = torch.outer(torch.tensor(WEIGHTS), weight).flatten()
    model, dsm = Model(Smoothed(sigma), event_ndim=1, stacked=False), Denoising(sigma)

    def gradient(c, b):
        params = {"c": torch.tensor(c, requires_grad=True), "b": torch.tensor(b, requires_grad=True)}
        loss = dsm.loss(model, params, x, {"noise": z})[0] @ weight
        return loss.detach(), torch.stack(torch.autograd.grad(loss, params.values()))

    value, slope = gradient(1.0, 0.0)
    torch.testing.assert_close(slope, torch.zeros(2), atol=1e-5, rtol=0)
    score = model.score({"c": torch.tensor(1.0), "b": torch.tensor(0.0)}, x + sigma * z)
    torch.testing.assert_close(value, 0.5 - sigma**2 / 2 * (score.square().sum(-1) @ weight), atol=1e-5, rtol=0)
    assert gradient(0.8, 0.0)[1][0] < -0.01
    assert gradient(1.2, 0.0)[1][0] > 0.01
    assert gradient(1.0, -0.2)[1][1] < -0.01
    assert gradient(1.0, 0.2)[1][1] > 0.01


@pytest.mark.parametrize("dsm", [Denoising(0.3), MultilevelDenoising(3.0, 0.3, 5)])
def test_noise_is_standard_normal(dsm):
    """Mean, variance and fourth moment within 5 standard errors, before the factor sigma."""
    z = dsm.prepare(Model(Levels(), event_ndim=2, stacked=False), {}, {}, torch.ones(20_000, 1, 2), Rng(0))[0]["noise"].flatten(1)
    for column in z.T:
        assert_mean(column, 0.0)
        assert_mean(column**2, 1.0)
        assert_mean(column**4, 3.0)
    assert_mean(z[:, 0] * z[:, 1], 0.0)


@pytest.mark.parametrize("shape", [(2,), (1, 2)])
def test_each_level_is_denoising_at_that_sigma(shape):
    model, plain = (Model(module, event_ndim=len(shape), stacked=False) for module in (Levels(), Quadratic()))
    multi, x = MultilevelDenoising(3.0, 0.3, 5), Rng(0).normal("x", 40, *shape)
    aux, _, _ = multi.prepare(model, {}, {}, x, Rng(1))
    loss, _ = multi.loss(model, {"a": torch.tensor(0.7)}, x, aux)
    assert len(aux["noise_level"].unique()) == 5
    for sigma in aux["noise_level"].unique().tolist():
        here = aux["noise_level"] == sigma
        single = Denoising(sigma).loss(plain, {"a": torch.tensor(0.7 / (1 + sigma**2))}, x[here], {"noise": aux["noise"][here]})[0]
        torch.testing.assert_close(loss[here], single)


def test_levels_are_geometrically_spaced_and_drawn_uniformly():
    """Chi-squared test with a false-alarm rate of 1e-6. Points and models of a stack draw their levels independently."""
    model, multi = Model(Levels(), event_ndim=1, stacked=True), MultilevelDenoising(3.0, 0.3, 5)
    sigma = multi.prepare(model, {}, {}, torch.zeros(2, 20_000, 1), Rng((0, 1)))[0]["noise_level"]
    assert sigma.shape == (2, 20_000)
    levels, counts = sigma.flatten().unique(return_counts=True)
    torch.testing.assert_close(levels, 0.3 * 10 ** (torch.arange(5) / 4))
    assert chisquare(counts.numpy()).pvalue > 1e-6
    assert not torch.equal(sigma[0], sigma[1])


def test_the_model_is_measured_at_the_smallest_level():
    model, x, params = Model(Levels(), event_ndim=1, stacked=False), Rng(0).normal("x", 6, 2), {"a": torch.tensor(0.7)}
    trained = MultilevelDenoising(3.0, 0.3, 3).trained(model)
    assert trained.levels == pytest.approx((3.0, 0.9**0.5, 0.3))
    torch.testing.assert_close(trained.energy(params, x), model.energy(params, x, torch.full((6,), 0.3)))
    assert MultilevelDenoising(0.5, 0.5, 1).trained(model).levels == (0.5,)
    assert Denoising(0.3).trained(model) is model


def test_noise_levels_that_do_not_descend_are_refused():
    with pytest.raises(InputError, match=r"objective\.sigma_min: 2\.0 is not less than sigma_max, 0\.5"):
        MultilevelDenoising(0.5, 2.0, 3)
