"""Neal's funnel, compared with its two factors. Statistical checks are seeded."""

import math

import densities
import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm

from ebm_cli.core.rng import Rng


@pytest.mark.parametrize(("scale", "n"), [(0.5, 400), (0.7, 1200)])
def test_mass_and_entropy(scale, n):
    dataset, entropy = densities.option("funnel", dim=2, scale=scale), math.log(2 * math.pi * math.e) + math.log(scale)
    densities.check_mass_and_entropy(dataset, entropy, n=n)
    densities.check_mean_log_prob(dataset, entropy)


@pytest.mark.parametrize("scale", [0.5, 3.0])
def test_box_leaves_1e_9_outside(scale):
    reach = densities.option("funnel", scale=scale).box[3][1]
    outside = quad(lambda z: norm.pdf(z) * 2 * norm.sf(reach * math.exp(-scale * z / 2)), -12, 12, epsabs=1e-16, limit=500)[0]
    assert outside == pytest.approx(1e-9, rel=1e-3)


def test_draws_of_the_plane():
    densities.check_draws(densities.option("funnel", dim=2, scale=0.5))


@pytest.mark.parametrize("scale", [3.0, 1.3])
def test_draws_and_entropy_in_ten_dimensions(scale):
    """x_0 / scale and x_i e^{-x_0 / 2} are standard normal and uncorrelated (5 standard errors: one false alarm in 2e6 each)."""
    dataset = densities.option("funnel", scale=scale)
    x = dataset.draw(20_000, Rng(0)).double()
    z = torch.cat([x[:, :1] / scale, x[:, 1:] * (-x[:, :1] / 2).exp()], 1)
    assert z.mean(0).abs().max() < 5 / 20_000**0.5
    second = z.T @ z / 20_000 - torch.eye(10)
    assert second.abs().max() < 5 * 2**0.5 / 20_000**0.5
    assert ((z**4).mean(0) - 3).abs().max() < 5 * 96**0.5 / 20_000**0.5
    densities.check_mean_log_prob(dataset, 5 * math.log(2 * math.pi * math.e) + math.log(scale))
    densities.check_streams(dataset)


def test_log_prob_is_the_product_of_its_factors():
    dataset = densities.option("funnel", dim=4, scale=1.7)
    x = np.array([[0.3, -1.0, 0.4, 2.0], [-5.0, 0.1, 0.0, -0.2], [8.0, 30.0, -70.0, 5.0]])
    exact = norm.logpdf(x[:, 0], scale=1.7) + norm.logpdf(x[:, 1:], scale=np.exp(x[:, :1] / 2)).sum(1)
    np.testing.assert_allclose(dataset.log_prob(torch.from_numpy(x)).numpy(), exact, rtol=1e-12)


def test_gradient():
    densities.check_gradient(densities.option("funnel", dim=3), [[0.1, -1.0, 0.3], [1.0, 0.2, -4.0], [-2.0, 0.4, 0.1]])
