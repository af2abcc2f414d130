"""The frozen flow: its inverse, its Jacobian, and its draws. Statistical checks are seeded."""

import math

import densities
import numpy as np
import pytest
import torch
from scipy.stats import chi2, kstest, norm

from ebm_cli.core.rng import Rng


def layers(dataset, z):
    """The map z -> x, written with explicit loops."""
    fixed, n = dataset.fixed, dataset.dim // 2
    for order, first, bias, second in zip(fixed["order"], fixed["first"], fixed["bias"], fixed["second"], strict=True):
        z = torch.stack([z[i] for i in order.tolist()])
        out = torch.tanh(second @ torch.tanh(first @ z[:n] + bias))
        m = dataset.dim - n
        z = torch.cat([z[:n], z[n:] * torch.exp(dataset.log_scale * out[:m]) + dataset.shift * out[m:]])
    return z


@pytest.mark.parametrize("dim", [2, 5, 12])
def test_log_prob_agrees_with_the_jacobian_of_the_map(dim):
    """log p(x) = log N(z; 0, I) - log |det dx/dz|."""
    dataset = densities.option("flow", dim=dim, shift=2.0)
    for z in Rng(0).normal("z", 10, dim).double():
        x = layers(dataset, z)
        jacobian = torch.autograd.functional.jacobian(lambda z: layers(dataset, z), z)
        expected = norm.logpdf(z.numpy()).sum() - torch.linalg.slogdet(jacobian).logabsdet
        assert dataset.log_prob(x).item() == pytest.approx(expected.item(), rel=1e-10)
        torch.testing.assert_close(dataset.inverse(x)[0], z)


@pytest.mark.parametrize("dim", [3, 64, 784])
def test_the_inverse_of_draws_is_standard_normal(dim):
    """Kolmogorov-Smirnov tests of all coordinates, of their sum, and of |z|^2; false-alarm rate 1e-6 each."""
    dataset = densities.option("flow", dim=dim)
    z = dataset.inverse(dataset.draw(2000, Rng(0)).double())[0].numpy()
    assert kstest(z.flatten(), norm.cdf).pvalue > 1e-6
    assert kstest(z.sum(-1) / dim**0.5, norm.cdf).pvalue > 1e-6
    assert kstest((z**2).sum(-1), chi2(dim).cdf).pvalue > 1e-6


def test_mass_draws_and_box_in_the_plane():
    dataset = densities.option("flow", dim=2, n_layers=3, width=16, log_scale=0.3)
    _, p = densities.cells(dataset, 480)
    assert abs(p.sum() - 1) < 1e-6
    densities.check_draws(dataset)
    densities.check_box(dataset)
    densities.check_streams(dataset)


def test_it_is_not_gaussian():
    """The kurtosis of a Gaussian coordinate would be 3 within 5 standard errors, 5 sqrt(24 / n) = 0.17."""
    x = densities.option("flow").draw(20_000, Rng(0)).double()
    kurtosis = ((x - x.mean(0)) / x.std(0)).pow(4).mean(0)
    assert (kurtosis - 3).abs().max() > 0.5


def test_the_box_bounds_the_map():
    dataset = densities.option("flow", dim=6)
    z = 12.4 * Rng(0).uniform("z", 500, 6).double() - 6.2
    x = torch.stack([layers(dataset, row) for row in z])
    reach = torch.tensor(dataset.box)[:, 1]
    assert (x.abs() < reach).all()
    assert np.all(np.array(dataset.box)[:, 1] <= 6.2 * math.exp(0.5 * 6) + 6 * math.exp(0.5 * 6))


def test_gradient():
    densities.check_gradient(densities.option("flow", dim=3), [[0.1, -0.2, 0.5], [1.7, 0.9, -3.0], [-3.0, 2.0, 0.0]])


def test_invalid_values_are_errors():
    densities.check_refused("flow", dim=1, n_layers=0, width=0, log_scale=0.0, shift=0.0, structure_seed=-1)
