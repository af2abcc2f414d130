"""Mixtures of Gaussians against scipy, and what expectation maximization finds. Statistical checks are seeded (false alarm 1e-6 each)."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from reference_checks import check_entropy, check_score, check_stack, check_streams, check_tilt, coordinates
from scipy.stats import binomtest, kstest, multivariate_normal
from targets import log_integral, normal_nodes

from ebm_cli.core.rng import Rng
from ebm_cli.references import mixture
from ebm_cli.references.mixture import FittedMixture, Mixture

pytestmark = pytest.mark.usefixtures("double")

WEIGHT, MEAN = torch.tensor([0.2, 0.3, 0.5], dtype=torch.double), torch.tensor([[-6.0, 0.0], [5.0, 4.0], [1.0, -5.0]], dtype=torch.double)
FACTOR = torch.tensor([[[1.0, 0.0], [0.8, 0.4]], [[0.5, 0.0], [0.0, 1.5]], [[1.2, 0.0], [-0.5, 0.7]]], dtype=torch.double)
KNOWN = FittedMixture(WEIGHT.log(), MEAN, FACTOR, torch.linalg.inv(FACTOR))
PARAMS = KNOWN._asdict() | dict(zip(("variance", "vectors"), torch.linalg.eigh(FACTOR @ FACTOR.mT), strict=True))
Q = Mixture(3)


def draw_known(n, seed):
    return KNOWN.draw(n, Rng(seed), "noise")


def log_prob_of(fitted, x):
    return torch.logsumexp(fitted.log_joint(x), -1)


def scipys_log_prob(x, sigma=0.0):
    """The log-density of `KNOWN` with noise of standard deviation sigma."""
    density = sum(
        float(weight) * multivariate_normal(mean, factor @ factor.T + sigma**2 * torch.eye(2)).pdf(x.numpy())
        for weight, mean, factor in zip(WEIGHT, MEAN, FACTOR, strict=True)
    )
    return torch.from_numpy(np.log(density))


def test_log_prob_is_that_of_scipy():
    x = 4 * Rng(0).normal("x", 50, 2)
    torch.testing.assert_close(Q.log_prob(PARAMS, x), scipys_log_prob(x))
    torch.testing.assert_close(log_prob_of(KNOWN, x), scipys_log_prob(x))


def test_draws_follow_the_mixture():
    """The components are well separated: their frequencies are the weights, and whitened draws are standard normal."""
    x = draw_known(20_000, 1)
    of = KNOWN.log_joint(x).argmax(-1)
    for k in range(3):
        mine = x[of == k]
        assert binomtest(len(mine), 20_000, float(WEIGHT[k])).pvalue > 1e-6
        white = (mine - MEAN[k]) @ KNOWN.precision[k].T
        assert all(kstest(column.numpy(), "norm").pvalue > 1e-6 for column in white.T)
        assert abs(torch.corrcoef(white.T)[0, 1]) < 4.9 * len(white) ** -0.5


def test_one_component_has_the_mean_and_covariance_of_the_data():
    x = 3 + Rng(2).normal("x", 300, 2) @ torch.tensor([[2.0, 1.5], [0.0, 0.4]])  # correlated
    fitted = FittedMixture.fit(x, 1, Rng(0))
    torch.testing.assert_close(fitted.mean, x.mean(0, keepdim=True))
    covariance = fitted.factor[0] @ fitted.factor[0].T
    torch.testing.assert_close(covariance, torch.cov(x.T, correction=0), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(log_prob_of(fitted, x), torch.distributions.MultivariateNormal(x.mean(0), covariance).log_prob(x))
    white = (fitted.draw(5000, Rng(3), "noise") - x.mean(0)) @ fitted.precision[0].T
    assert all(kstest(column.numpy(), "norm").pvalue > 1e-6 for column in white.T)
    assert abs(torch.corrcoef(white.T)[0, 1]) < 4.9 * 5000**-0.5


def test_a_known_mixture_is_recovered():
    """From 10,000 draws: weights and means within 5 standard errors, covariances within a tenth."""
    n = 10_000
    fitted = FittedMixture.fit(draw_known(n, 4), 3, Rng(2))
    order = torch.cdist(MEAN, fitted.mean).argmin(-1)
    assert sorted(order.tolist()) == [0, 1, 2]
    assert ((fitted.log_weight[order].exp() - WEIGHT).abs() < 5 * (WEIGHT * (1 - WEIGHT) / n).sqrt()).all()
    covariance, known = (factor @ factor.mT for factor in (fitted.factor[order], FACTOR))
    error = (known.diagonal(dim1=1, dim2=2) / (n * WEIGHT).unsqueeze(-1)).sqrt()
    assert ((fitted.mean[order] - MEAN).abs() < 5 * error).all()
    assert ((covariance - known).abs() < 0.1 * known.abs().amax((1, 2), keepdim=True)).all()


def test_every_iteration_raises_the_likelihood(monkeypatch):
    x, likelihood = draw_known(400, 5), []
    for n in (1, 2, 3, 5, 10, 30):
        monkeypatch.setattr(mixture, "N_ITERATIONS", n)
        likelihood.append(log_prob_of(FittedMixture.fit(x, 5, Rng(0)), x).mean().item())
    assert all(later > earlier for earlier, later in pairwise(likelihood))


def test_fits_and_draws_of_a_stack_equal_those_of_single_models():
    x = torch.stack([draw_known(200, 6), 2 * draw_known(200, 7) - 1])
    together = FittedMixture.fit(x, 3, Rng((3, 4)))
    draws, log_prob = together.draw(40, Rng((3, 4)), "noise"), log_prob_of(together, x)
    for m, seed in enumerate((3, 4)):
        alone = FittedMixture.fit(x[m], 3, Rng(seed))
        for a, b in zip(together, alone, strict=True):
            torch.testing.assert_close(a[m], b)
        torch.testing.assert_close(draws[m], alone.draw(40, Rng(seed), "noise"))
        torch.testing.assert_close(log_prob[m], log_prob_of(alone, x[m]))
    check_stack(Q, x)


def test_the_fit_uses_double_precision_and_returns_the_precision_of_the_data():
    x = (draw_known(200, 6) + 1000).float()  # far from 0: single precision would lose the covariance
    assert {part.dtype for part in FittedMixture.fit(x, 2, Rng(0))} == {torch.float32}
    fitted = FittedMixture.fit(x, 1, Rng(0))
    torch.testing.assert_close(fitted.factor[0] @ fitted.factor[0].T, torch.cov(x.double().T, correction=0).float(), rtol=1e-4, atol=1e-3)
    assert {value.dtype for value in Mixture(2).fit(x, x.shape[-1:], Rng(0)).values()} == {torch.float32}


def test_the_tensors_are_those_of_the_fit_and_the_eigenvectors_of_its_covariances():
    x = draw_known(300, 8)
    params, fitted = Q.fit(x, x.shape[-1:], Rng(0)), FittedMixture.fit(x, 3, Rng(0))
    assert params.keys() == {*FittedMixture._fields, "variance", "vectors"}
    assert all(torch.equal(params[name], value) for name, value in fitted._asdict().items())
    covariance = params["vectors"] @ torch.diag_embed(params["variance"]) @ params["vectors"].mT
    torch.testing.assert_close(covariance, fitted.factor @ fitted.factor.mT)


def test_it_integrates_to_one_and_its_draws_have_its_entropy():
    """The entropy is a Riemann sum; that of the draws is within 5 standard errors (false alarm 5e-7)."""
    box, x_train = [(-20.0, 16.0), (-16.0, 16.0)], draw_known(1000, 9)
    for params in (PARAMS, Q.fit(x_train, x_train.shape[-1:], Rng(0))):
        assert log_integral(lambda x, params=params: -Q.log_prob(params, x), box) == pytest.approx(0.0, abs=1e-9)
    assert Q.log_normalizer(PARAMS) == 0.0
    x = torch.cartesian_prod(*(torch.linspace(low, high, 801) for low, high in box))
    log_prob = Q.log_prob(Q.fit(x_train, x_train.shape[-1:], Rng(0)), x)
    check_entropy(Q, x_train, -(log_prob.exp() * log_prob).sum() * 36 * 32 / 800**2)


def test_tilt():
    x_train = draw_known(300, 8)
    check_tilt(Q, x_train, 4 * Rng(0).normal("x", 50, 2))
    check_tilt(Q, torch.stack([x_train, 2 * x_train - 1]), 4 * Rng((0, 1)).normal("x", 50, 2))


@pytest.mark.parametrize("sigma", [0.1, 0.7, 3.0])
def test_smoothing_adds_the_variance_of_the_noise_to_every_covariance(sigma):
    x = 4 * Rng(0).normal("x", 50, 2)
    tilt = Q.tilt(PARAMS, x, coordinates(x, x)[0], torch.full((50,), sigma))
    torch.testing.assert_close(-tilt, scipys_log_prob(x, sigma))


def test_every_point_has_its_own_noise_level():
    x, level = 4 * Rng(0).normal("x", 12, 2), torch.linspace(0.05, 4.0, 12)
    tilt = Q.tilt(PARAMS, x, coordinates(x, x, level)[0], level)
    torch.testing.assert_close(-tilt, torch.stack([scipys_log_prob(x, sigma)[i] for i, sigma in enumerate(level.tolist())]))


@pytest.mark.parametrize("sigma", [0.1, 0.3])
def test_the_smoothed_distribution_is_the_convolution_with_the_noise(sigma):
    """E_z q(x + sigma z) by Gauss-Hermite quadrature, which is accurate if sigma is below the widths of the components."""
    z, weight = normal_nodes(60)
    nodes, weights = torch.cartesian_prod(z, z), torch.outer(weight, weight).flatten()
    x = draw_known(40, 10)
    density = Q.log_prob(PARAMS, (x.unsqueeze(1) + sigma * nodes).flatten(0, 1)).exp().view(40, -1)
    tilt = Q.tilt(PARAMS, x, coordinates(x, x)[0], torch.full((40,), sigma))
    torch.testing.assert_close((density @ weights).log(), -tilt, atol=1e-6, rtol=0)


def test_score():
    """By autograd, and for the known mixture by differences of the density of scipy."""
    x, level = 4 * Rng(0).normal("x", 30, 2), torch.linspace(0.05, 3.0, 30)
    check_score(Q, draw_known(300, 8), x, level)
    u, inverse_width = coordinates(x, x)
    score = Q.score(PARAMS, x, u, inverse_width, torch.full((30,), 0.7)) * inverse_width
    h = 1e-5 * torch.eye(2)
    expected = torch.stack([(scipys_log_prob(x + step, 0.7) - scipys_log_prob(x - step, 0.7)) / 2e-5 for step in h], -1)
    torch.testing.assert_close(score, expected, rtol=1e-6, atol=1e-7)


def test_streams():
    """The components are far apart: draws that shared their components would be correlated."""
    check_streams(Q, draw_known(300, 8))
    assert Q.starts_at_zero
    assert Q.as_noise() is Q
