"""Mixtures of Student t distributions, compared with scipy. Statistical checks are seeded."""

import densities
import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import kstest, multivariate_t, t

from ebm_cli.core.rng import Rng

LINE = {"dim": 1, "n_components": 2, "weights": [3.0, 1.0], "separation": 5.0, "std": 0.5, "degrees_of_freedom": 4}
SPACE = {"dim": 7, "weights": [0.1, 2.0, 1.0, 5.0], "std": 1.7, "degrees_of_freedom": 3, "structure_seed": 2}


@pytest.mark.parametrize("changes", [LINE, SPACE, {"dim": 40}])
def test_log_prob_agrees_with_scipy(changes):
    dataset = densities.option("student_t_mixture", **changes)
    weight, centre, factor = (value.numpy() for value in dataset.components())
    x = np.concatenate([dataset.draw(20, Rng(0)).numpy().astype(float), 1e4 * np.random.default_rng(0).standard_normal((5, dataset.dim))])
    parts = [multivariate_t(c, a @ a.T, df=dataset.degrees_of_freedom).logpdf(x) for c, a in zip(centre, factor, strict=True)]
    expected = logsumexp(np.stack(parts, -1), axis=-1, b=weight / weight.sum())
    np.testing.assert_allclose(dataset.log_prob(torch.from_numpy(x)).numpy(), expected, rtol=1e-10)


def test_draws_on_a_line():
    """Kolmogorov-Smirnov test against the known distribution function; false-alarm rate 1e-6."""
    dataset = densities.option("student_t_mixture", **LINE)
    weight, centre, _ = (value.numpy() for value in dataset.components())

    def cdf(x):
        return ((weight / weight.sum()) * t.cdf((x[:, None] - centre[:, 0]) / 0.5, 4)).sum(-1)

    x = dataset.draw(50_000, Rng(0)).double().numpy()
    assert kstest(x[:, 0], cdf).pvalue > 1e-6
    outside = cdf(np.array([dataset.box[0][0]]))[0] + 1 - cdf(np.array([dataset.box[0][1]]))[0]
    assert 1e-10 < outside < 1e-9


@pytest.mark.parametrize("dim", [7, 64])
def test_a_component_has_the_radial_distribution_and_entropy_of_the_t(dim):
    """|A^-1 (x - c)|^2 / d follows F(d, nu), and coordinates of A^-1 (x - c) follow t (Kolmogorov-Smirnov, false-alarm rate 1e-6 each)."""
    dataset = densities.option("student_t_mixture", dim=dim, n_components=1, degrees_of_freedom=5, std=1.3)
    _, centre, factor = dataset.components()
    x = dataset.draw(20_000, Rng(0)).double()
    z = torch.linalg.solve(factor[0], (x - centre[0]).T).T.numpy()
    assert kstest((z**2).mean(1), "f", args=(dim, 5)).pvalue > 1e-6
    assert kstest(z[:, 0], t(5).cdf).pvalue > 1e-6
    assert kstest(z.sum(1) / dim**0.5, t(5).cdf).pvalue > 1e-6
    densities.check_mean_log_prob(dataset, float(multivariate_t(np.zeros(dim), np.eye(dim), df=5).entropy()) + dim * np.log(1.3))


def test_draws_of_the_whole_mixture_follow_its_density():
    """The mean of p_k(x) w_k / p(x), the share of component k, is w_k within 5 standard errors (one false alarm in 2e6 per component)."""
    dataset = densities.option("student_t_mixture", **SPACE | {"separation": 3.0})
    weight, _, _ = dataset.components()
    share = dataset._log_components(dataset.draw(40_000, Rng(0))).softmax(-1)
    assert ((share.mean(0) - weight / weight.sum()).abs() < 5 * share.std(0) / 40_000**0.5).all()


def test_heavier_tails_need_more_distance_between_modes():
    """The quantile of t with P(z > q) = P(z > 3) of a normal is 4.0 for nu = 10: isotropic modes are 2 q apart."""
    isotropic = {"dim": 3, "n_components": 2, "condition": 1.0, "std": 1.0, "degrees_of_freedom": 10}
    apart = 2 * t.isf(0.0013498980316300946, 10)
    assert densities.option("student_t_mixture", **isotropic, separation=apart + 0.01).mode_weights is not None
    assert densities.option("student_t_mixture", **isotropic, separation=apart - 0.01).mode_weights is None


def test_streams_and_gradient():
    dataset = densities.option("student_t_mixture", dim=2)
    densities.check_streams(dataset)
    densities.check_gradient(densities.option("student_t_mixture", dim=2, separation=3.0), [[0.0, 0.0], [1.0, 0.2], [-40.0, 4.0]])
