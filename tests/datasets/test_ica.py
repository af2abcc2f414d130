"""Mixed Laplace sources, compared with scipy and with known moments. Statistical checks are seeded."""

import math

import densities
import numpy as np
import pytest
import torch
from scipy.stats import kstest, laplace

from ebm_cli.core.rng import Rng


@pytest.mark.parametrize("dim", [1, 2, 30])
def test_log_prob_agrees_with_scipy(dim):
    """By the change of variables with an inverse and a determinant of numpy."""
    dataset = densities.option("ica", dim=dim, scale=0.7, condition=20.0)
    mixing = dataset.fixed["mixing"].numpy()
    x = np.random.default_rng(0).standard_normal((20, dim)) * np.logspace(-2, 1.5, 20)[:, None]
    expected = laplace.logpdf(np.linalg.solve(mixing, x.T).T, scale=0.7).sum(-1) - np.linalg.slogdet(mixing)[1]
    np.testing.assert_allclose(dataset.log_prob(torch.from_numpy(x)).numpy(), expected, rtol=1e-10)


def test_the_mixing_has_the_condition_number_and_is_full():
    dataset = densities.option("ica", dim=6, condition=20.0)
    assert np.linalg.cond(dataset.fixed["mixing"].numpy()) == pytest.approx(20.0)
    assert dataset.fixed["mixing"].abs().min() > 1e-4
    assert dataset.length_scale == pytest.approx(20.0**-0.5)


@pytest.mark.parametrize("dim", [1, 2, 10, 64, 784])
def test_entropy(dim):
    densities.check_mean_log_prob(densities.option("ica", dim=dim, scale=0.7), dim * (1 + math.log(1.4)), n_draws=2000)


def test_sources_of_draws_are_independent_laplace_variables():
    """Kolmogorov-Smirnov, false-alarm rate 1e-6 each; sources and their sizes are uncorrelated (5 standard errors)."""
    dataset = densities.option("ica", scale=0.7)
    sources = torch.linalg.solve(dataset.fixed["mixing"], dataset.draw(20_000, Rng(0)).double().T)
    for row in sources.numpy():
        assert kstest(row, laplace(scale=0.7).cdf).pvalue > 1e-6
    for values in (sources, sources.abs()):
        assert (torch.corrcoef(values) - torch.eye(10)).abs().max() < 5 / 20_000**0.5


def test_draws_and_box_in_the_plane():
    dataset = densities.option("ica", dim=2, condition=3.0)
    densities.check_draws(dataset)
    densities.check_box(dataset)
    densities.check_streams(dataset)


def test_the_box_in_one_dimension_is_the_quantile_up_to_the_looseness_of_the_bound():
    dataset = densities.option("ica", dim=1)
    assert laplace.isf(0.5e-9) <= dataset.box[0][1] < 1.3 * laplace.isf(0.5e-9)


def test_gradient():
    densities.check_gradient(densities.option("ica", dim=2), [[0.1, -0.2], [1.7, 0.9], [-3.0, 2.0], [5.0, 5.0]])


def test_invalid_values_are_errors():
    densities.check_refused("ica", dim=0, condition=0.9, scale=0.0, structure_seed=-1)
