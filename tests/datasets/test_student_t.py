"""The Student t, compared with scipy. Statistical checks are seeded."""

import densities
import numpy as np
import pytest
import torch
from scipy.stats import kstest, multivariate_t, t

from ebm_cli.core.rng import Rng


@pytest.mark.parametrize(("dim", "nu"), [(1, 3), (2, 5)])
def test_mass_entropy_and_box(dim, nu):
    dataset = densities.option("student_t", dim=dim, degrees_of_freedom=nu)
    entropy = float(multivariate_t(np.zeros(dim), np.eye(dim), df=nu).entropy())
    densities.check_mass_and_entropy(dataset, entropy, n=100_000 if dim == 1 else 600, mass=1e-7)
    densities.check_mean_log_prob(dataset, entropy)
    assert 2 * t.sf(dataset.box[0][1], nu) == pytest.approx(1e-9)


@pytest.mark.parametrize(("dim", "nu"), [(1, 3), (2, 5), (6, 1)])
def test_draws(dim, nu):
    """Coordinates, and a sum of them, follow t (Kolmogorov-Smirnov, false-alarm rate 1e-6 each). |x|^2 / d follows F(d, nu), because the
    coordinates share one divisor."""
    x = densities.option("student_t", dim=dim, degrees_of_freedom=nu).draw(20_000, Rng(0)).double().numpy()
    for column in (*x.T, x.sum(1) / dim**0.5):
        assert kstest(column, t(nu).cdf).pvalue > 1e-6
    assert kstest((x**2).mean(1), "f", args=(dim, nu)).pvalue > 1e-6


def test_streams():
    densities.check_streams(densities.option("student_t"))


@pytest.mark.parametrize(("dim", "nu"), [(1, 3), (2, 5), (6, 1)])
def test_log_prob_agrees_with_scipy(dim, nu):
    dataset = densities.option("student_t", dim=dim, degrees_of_freedom=nu)
    x = np.random.default_rng(0).standard_normal((20, dim)) * np.logspace(-2, 4, 20)[:, None]
    exact = multivariate_t(np.zeros(dim), np.eye(dim), df=nu).logpdf(x)
    np.testing.assert_allclose(dataset.log_prob(torch.from_numpy(x)).numpy(), exact, rtol=1e-10)


def test_gradient():
    densities.check_gradient(densities.option("student_t"), [[0.0, 0.0], [1.0, 0.2], [-50.0, 4.0]])
