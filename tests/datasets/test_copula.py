"""The Gaussian copula, compared with scipy. Statistical checks are seeded."""

import math

import densities
import numpy as np
import pytest
import torch
from scipy import stats

from ebm_cli.core.rng import Rng

SCIPY = {
    "normal": stats.norm(),
    "laplace": stats.laplace(),
    "logistic": stats.logistic(),
    "student_t": stats.t(4),
    "lognormal": stats.lognorm(0.5),
}


def correlation(dataset):
    factor = dataset.fixed["factor"].numpy()
    return factor @ factor.T


def margins(dataset):
    return [SCIPY[dataset.margins[i % len(dataset.margins)]] for i in range(dataset.dim)]


@pytest.mark.parametrize("dim", [1, 3, 12])
def test_log_prob_agrees_with_scipy(dim):
    dataset = densities.option("copula", dim=dim)
    x = dataset.draw(50, Rng(0)).double().numpy()
    z = np.stack([stats.norm.ppf(margin.cdf(column)) for margin, column in zip(margins(dataset), x.T, strict=True)], -1)
    expected = stats.multivariate_normal(np.zeros(dim), correlation(dataset)).logpdf(z) - stats.norm.logpdf(z).sum(-1)
    expected += sum(margin.logpdf(column) for margin, column in zip(margins(dataset), x.T, strict=True))
    np.testing.assert_allclose(dataset.log_prob(torch.from_numpy(x)).numpy(), expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("dim", [10, 64, 784])
def test_entropy(dim):
    """The entropies of the margins and 1/2 log det R."""
    dataset = densities.option("copula", dim=dim)
    entropy = sum(float(margin.entropy()) for margin in margins(dataset)) + 0.5 * np.linalg.slogdet(correlation(dataset))[1]
    densities.check_mean_log_prob(dataset, entropy, n_draws=2000)


def test_draws_have_the_margins_and_the_rank_correlations():
    """Kolmogorov-Smirnov (false-alarm rate 1e-6 each). Kendall's tau is 2/pi asin R_ij; its standard error is below 0.7 / sqrt n."""
    dataset = densities.option("copula", dim=6)
    x = dataset.draw(20_000, Rng(0)).double().numpy()
    for margin, column in zip(margins(dataset), x.T, strict=True):
        assert stats.kstest(column, margin.cdf).pvalue > 1e-6
    for i, j in ((0, 1), (0, 5), (2, 3), (1, 4)):
        tau = stats.kendalltau(x[:, i], x[:, j]).statistic
        assert tau == pytest.approx(2 / math.pi * math.asin(correlation(dataset)[i, j]), abs=5 * 0.7 / 20_000**0.5)


def test_the_correlation_is_full_and_has_ones_on_its_diagonal():
    matrix = correlation(densities.option("copula", dim=8, condition=50.0))
    np.testing.assert_allclose(matrix.diagonal(), 1)
    assert np.abs(matrix).min() > 1e-4
    assert np.linalg.cond(matrix) > 10
    assert np.allclose(correlation(densities.option("copula", condition=1.0)), np.eye(10))


@pytest.mark.parametrize("pair", [["normal", "lognormal"], ["laplace", "logistic"]])
def test_mass_box_and_draws_in_the_plane(pair):
    dataset = densities.option("copula", dim=2, margins=pair, condition=4.0)
    _, p = densities.cells(dataset, 960)  # the kink of the Laplace density is at an edge of cells
    assert abs(p.sum() - 1) < 1e-4
    densities.check_draws(dataset, n=960)
    densities.check_streams(dataset)


@pytest.mark.parametrize("margin", SCIPY)
def test_box(margin):
    (low, high), (left, right) = densities.option("copula", dim=2, margins=[margin]).box
    assert (low, high) == (left, right)
    assert SCIPY[margin].cdf(low) + SCIPY[margin].sf(high) == pytest.approx(2 * stats.norm.sf(6.2), rel=1e-6)


def test_gradient():
    dataset = densities.option("copula", dim=4, margins=["student_t", "laplace", "logistic", "normal"])
    densities.check_gradient(dataset, [[0.1, -0.2, 0.3, 1.0], [1.7, 0.9, -7.0, 2.0], [-3.0, 20.0, 1.0, -2.0]])


def test_the_density_of_a_positive_margin_is_zero_below_zero():
    dataset = densities.option("copula", dim=2, margins=["normal", "lognormal"])
    x = torch.tensor([[0.3, -1.0], [0.3, 0.0], [0.3, 1e-3]], dtype=torch.double, requires_grad=True)
    value = dataset.log_prob(x)
    assert value.isfinite().tolist() == [False, False, True]
    assert torch.autograd.grad(value[2], x)[0][2].isfinite().all()


def test_fewer_coordinates_than_margins():
    assert densities.option("copula", dim=2).draw(3, Rng(0)).shape == (3, 2)


def test_invalid_values_are_errors():
    densities.check_refused("copula", dim=0, condition=0.9, margins=[], structure_seed=-1)
    densities.check_refused("copula", margins=["uniform"])
