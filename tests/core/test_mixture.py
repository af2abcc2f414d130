"""Mixtures of Gaussians against scipy, and what expectation maximisation finds. Statistical checks are seeded, false alarms 1e-6 each."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.stats import binomtest, kstest, multivariate_normal

from ebm_cli.core import mixture
from ebm_cli.core.mixture import Mixture
from ebm_cli.core.rng import Rng

pytestmark = pytest.mark.usefixtures("double")

WEIGHT, MEAN = torch.tensor([0.2, 0.3, 0.5], dtype=torch.double), torch.tensor([[-6.0, 0.0], [5.0, 4.0], [1.0, -5.0]], dtype=torch.double)
FACTOR = torch.tensor([[[1.0, 0.0], [0.8, 0.4]], [[0.5, 0.0], [0.0, 1.5]], [[1.2, 0.0], [-0.5, 0.7]]], dtype=torch.double)
KNOWN = Mixture(WEIGHT.log(), MEAN, FACTOR, torch.linalg.inv(FACTOR))


def test_log_prob_is_that_of_scipy():
    x = 4 * Rng(0).normal("x", 50, 2)
    density = sum(
        float(w) * multivariate_normal(mean, factor @ factor.T).pdf(x.numpy()) for w, mean, factor in zip(WEIGHT, MEAN, FACTOR, strict=True)
    )
    torch.testing.assert_close(KNOWN.log_prob(x), torch.from_numpy(np.log(density)))


def test_draws_follow_the_mixture():
    """Components apart enough to tell: each as often as its weight says, and standard normal once whitened."""
    x = KNOWN.draw(20_000, Rng(1))
    of = KNOWN._log_joint(x).argmax(-1)
    for k in range(3):
        mine = x[of == k]
        assert binomtest(len(mine), 20_000, float(WEIGHT[k])).pvalue > 1e-6
        white = (mine - MEAN[k]) @ KNOWN.precision[k].T
        assert all(kstest(column.numpy(), "norm").pvalue > 1e-6 for column in white.T)
        assert abs(torch.corrcoef(white.T)[0, 1]) < 4.9 * len(white) ** -0.5


def test_one_component_is_the_datas_mean_and_covariance():
    x = 3 + Rng(2).normal("x", 300, 2) @ torch.tensor([[2.0, 1.5], [0.0, 0.4]])  # correlated
    fitted = Mixture.fit(x, 1, Rng(0))
    torch.testing.assert_close(fitted.mean, x.mean(0, keepdim=True))
    covariance = fitted.factor[0] @ fitted.factor[0].T
    torch.testing.assert_close(covariance, torch.cov(x.T, correction=0), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(fitted.log_prob(x), torch.distributions.MultivariateNormal(x.mean(0), covariance).log_prob(x))
    white = (fitted.draw(5000, Rng(3)) - x.mean(0)) @ fitted.precision[0].T
    assert all(kstest(column.numpy(), "norm").pvalue > 1e-6 for column in white.T)
    assert abs(torch.corrcoef(white.T)[0, 1]) < 4.9 * 5000**-0.5


def test_a_known_mixture_is_found():
    """From 10,000 draws, each component's weight to 5 of its standard errors, its mean too, its covariance to a tenth."""
    n = 10_000
    fitted = Mixture.fit(KNOWN.draw(n, Rng(4)), 3, Rng(2))
    order = torch.cdist(MEAN, fitted.mean).argmin(-1)
    assert sorted(order.tolist()) == [0, 1, 2]
    assert ((fitted.log_weight[order].exp() - WEIGHT).abs() < 5 * (WEIGHT * (1 - WEIGHT) / n).sqrt()).all()
    covariance, known = (one @ one.mT for one in (fitted.factor[order], FACTOR))
    error = (known.diagonal(dim1=1, dim2=2) / (n * WEIGHT).unsqueeze(-1)).sqrt()
    assert ((fitted.mean[order] - MEAN).abs() < 5 * error).all()
    assert ((covariance - known).abs() < 0.1 * known.abs().amax((1, 2), keepdim=True)).all()


def test_every_iteration_raises_the_likelihood(monkeypatch):
    x, likelihood = KNOWN.draw(400, Rng(5)), []
    for n in (1, 2, 3, 5, 10, 30):
        monkeypatch.setattr(mixture, "N_ITERATIONS", n)
        likelihood.append(Mixture.fit(x, 5, Rng(0)).log_prob(x).mean().item())
    assert all(later > earlier for earlier, later in pairwise(likelihood))


def test_each_model_of_a_stack_is_fitted_and_drawn_from_as_it_is_alone():
    x = torch.stack([KNOWN.draw(200, Rng(6)), 2 * KNOWN.draw(200, Rng(7)) - 1])
    together = Mixture.fit(x, 3, Rng((3, 4)))
    draws, log_prob = together.draw(40, Rng((3, 4))), together.log_prob(x)
    for m, seed in enumerate((3, 4)):
        alone = Mixture.fit(x[m], 3, Rng(seed))
        for a, b in zip(together, alone, strict=True):
            torch.testing.assert_close(a[m], b)
        torch.testing.assert_close(draws[m], alone.draw(40, Rng(seed)))
        torch.testing.assert_close(log_prob[m], alone.log_prob(x[m]))


def test_fit_is_done_in_double_precision_and_given_in_the_datas():
    x = (KNOWN.draw(200, Rng(6)) + 1000).float()  # far from 0: single precision would lose the covariance
    assert {part.dtype for part in Mixture.fit(x, 2, Rng(0))} == {torch.float32}
    fitted = Mixture.fit(x, 1, Rng(0))
    torch.testing.assert_close(fitted.factor[0] @ fitted.factor[0].T, torch.cov(x.double().T, correction=0).float(), rtol=1e-4, atol=1e-3)
