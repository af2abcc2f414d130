"""The banana, compared with the Gaussian that it is made from. Statistical checks are seeded."""

import math

import densities
import numpy as np
import pytest
import torch
from scipy.stats import norm

from ebm_cli.core.rng import Rng


@pytest.mark.parametrize(("scale", "bend"), [(2.0, 0.25), (0.7, 0.8)])
def test_mass_entropy_and_box(scale, bend):
    """The bend does not change the entropy of the Gaussian."""
    dataset, entropy = densities.option("banana", scale=scale, bend=bend), math.log(2 * math.pi * math.e) + math.log(scale)
    densities.check_mass_and_entropy(dataset, entropy, n=800)
    densities.check_mean_log_prob(dataset, entropy)
    densities.check_box(dataset, n=800)
    densities.check_draws(dataset)
    densities.check_streams(dataset)


def test_moments():
    """Means 0, variances scale^2, 1 + 2 bend^2 scale^4 and 1, and the third moment 8 bend^3 scale^6 of x_1, within 6 standard errors."""
    x = densities.option("banana", dim=3, scale=1.5, bend=0.4).draw(100_000, Rng(0)).double()
    expected = {
        "mean": (x, (0.0, 0.0, 0.0)),
        "variance": (x.square(), (2.25, 1 + 2 * 0.16 * 1.5**4, 1.0)),
        "third": (x**3, (0.0, 8 * 0.4**3 * 1.5**6, 0.0)),
    }
    for values, exact in expected.values():
        error = (values.mean(0) - torch.tensor(exact)).abs()
        assert (error < 6 * values.std(0) / 100_000**0.5).all()


def test_log_prob_is_that_of_the_gaussian_before_the_bend():
    dataset = densities.option("banana", dim=4, scale=1.7, bend=0.3)
    x = np.array([[0.3, -1.0, 0.4, 2.0], [-5.0, 6.1, 0.0, -0.2], [80.0, 30.0, -70.0, 5.0]])
    exact = norm.logpdf(x[:, 0], scale=1.7) + norm.logpdf(x[:, 1] - 0.3 * (x[:, 0] ** 2 - 1.7**2)) + norm.logpdf(x[:, 2:]).sum(1)
    np.testing.assert_allclose(dataset.log_prob(torch.from_numpy(x)).numpy(), exact, rtol=1e-12)


def test_gradient():
    densities.check_gradient(densities.option("banana", dim=3), [[0.1, -1.0, 0.3], [1.0, 0.2, -4.0], [-5.0, 4.0, 0.1]])
