"""The Gaussian with the covariance of the data against scipy. Statistical checks are seeded (false-alarm rate 1e-6 each)."""

import math

import numpy as np
import pytest
import torch
from reference_checks import check_entropy, check_score, check_stack, check_streams, check_tilt, coordinates
from scipy.stats import kstest, multivariate_normal
from targets import log_integral

from ebm_cli.core.rng import Rng
from ebm_cli.references.full_gaussian import FullGaussian
from ebm_cli.references.mixture import Mixture
from ebm_cli.references.mixture_fit import RIDGE

pytestmark = pytest.mark.usefixtures("double")

Q = FullGaussian()
FACTOR = torch.tensor([[2.0, 0.3, -0.4], [0.0, 0.4, 0.2], [0.0, 0.0, 0.9]], dtype=torch.double)


def data(n=400, d=3):
    """Points that are correlated and off-centre, with several scales."""
    return Rng(1).normal("x", n, d) @ FACTOR[:d, :d] + torch.tensor([3.0, -1.0, 0.5])[:d]


def moments(x):
    """The mean, and the covariance with the ridge on its diagonal."""
    covariance = np.cov(x.numpy().T, bias=True)
    return x.numpy().mean(0), covariance + RIDGE * np.diag(np.diag(covariance))


def test_log_prob_is_that_of_scipy():
    x_train, x = data(), 2 * data(50)
    expected = multivariate_normal(*moments(x_train)).logpdf(x.numpy())
    torch.testing.assert_close(Q.log_prob(Q.fit(x_train, x_train.shape[-1:], Rng(0)), x), torch.from_numpy(expected))


def test_it_is_the_mixture_of_one_component():
    x_train, x = data(), 2 * data(50)
    params = Mixture(1, 0.0, None).fit(x_train, x_train.shape[-1:], Rng(0))
    for name, value in params.items():
        assert torch.equal(Q.fit(x_train, x_train.shape[-1:], Rng(7))[name], value)  # the fit does not depend on the seed
    torch.testing.assert_close(Q.log_prob(params, x), Mixture(1, 0.0, None).log_prob(params, x))
    assert Q.starts_at_zero
    assert Q.as_noise() is Q


def test_it_integrates_to_one():
    params = Q.fit(data(d=2), (2,), Rng(0))
    box = [(3.0 - 25, 3.0 + 25), (-1.0 - 8, -1.0 + 8)]
    assert log_integral(lambda x: -Q.log_prob(params, x), box) == pytest.approx(0.0, abs=1e-9)
    assert Q.log_normalizer(params) == 0.0


def test_draws_follow_the_distribution():
    x_train, n = data(), 20_000
    params, (mean, covariance) = Q.fit(x_train, x_train.shape[-1:], Rng(0)), moments(x_train)
    white = np.linalg.solve(np.linalg.cholesky(covariance), (Q.draw(params, n, Rng(1), "start").numpy() - mean).T)
    assert all(kstest(column, "norm").pvalue > 1e-6 for column in white)
    correlation = np.corrcoef(white)[np.triu_indices(3, 1)]
    assert (abs(correlation) < 5 * n**-0.5).all()
    check_entropy(Q, x_train, 1.5 * math.log(2 * math.pi * math.e) + 0.5 * np.linalg.slogdet(covariance)[1])


def test_tilt():
    check_tilt(Q, data(), 2 * data(30))
    check_tilt(Q, torch.stack([data(), 2 * data() - 1]), torch.stack([data(30), data(30)]))


def test_smoothing_adds_the_variance_of_the_noise_to_the_covariance():
    """Each point has its own noise level, against scipy; the score is -(C + sigma^2 I)^-1 (x - mean)."""
    x_train, x, level = data(), 2 * data(20), torch.linspace(0.05, 4.0, 20)
    params, (mean, covariance) = Q.fit(x_train, x_train.shape[-1:], Rng(0)), moments(x_train)
    u, inverse_width = coordinates(x_train, x, level)
    tilt, score = Q.tilt(params, x, u, level), Q.score(params, x, u, inverse_width, level) * inverse_width
    for i, sigma in enumerate(level.tolist()):
        smoothed = covariance + sigma**2 * np.eye(3)
        assert tilt[i].item() == pytest.approx(-multivariate_normal(mean, smoothed).logpdf(x[i].numpy()))
        torch.testing.assert_close(score[i], torch.from_numpy(-np.linalg.solve(smoothed, x[i].numpy() - mean)))


def test_score():
    check_score(Q, data(), 2 * data(30), torch.linspace(0.05, 3.0, 30))


def test_each_model_of_a_stack_equals_the_single_model():
    check_stack(Q, torch.stack([data(), 2 * data() - 1]))


def test_streams():
    check_streams(Q, data())
