"""The fit of mixtures: every step by its formula, what it protects from, and what it chooses. Statistical checks are seeded."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from ebm_cli.core.rng import Rng
from ebm_cli.references import mixture_fit
from ebm_cli.references.mixture_fit import RIDGE, Fit, clusters, fit, go_on, improve, log_prob, maximize

pytestmark = pytest.mark.usefixtures("double")


def blobs(n=300, d=3, seed=0):
    """Three clusters of different shapes, as many points in each."""
    z = Rng(seed).normal("x", n, d)
    scale = torch.tensor([[1.0, 0.3, 2.0], [0.2, 1.5, 1.0], [1.0, 1.0, 0.5]])[:, :d].repeat(n // 3, 1)
    return scale * z + 5 * torch.eye(3)[:, :d].repeat(n // 3, 1)


def scipys_log_joint(x, gaussians):
    parts = zip(*gaussians, strict=True)
    return np.stack(
        [w.item() + multivariate_normal(mean.numpy(), covariance.numpy()).logpdf(x.numpy()) for w, mean, covariance in parts], 1
    )


@pytest.mark.parametrize("shrinkage", [0.0, 7.0])
def test_the_m_step_is_the_formula(shrinkage, monkeypatch):
    """Weighted moments by numpy, for responsibilities that are not hard, in parts of few points."""
    monkeypatch.setattr(mixture_fit, "AT_ONCE", 100)
    x, share = blobs(), Rng(1).normal("share", 300, 4).softmax(-1)
    found, total = maximize(x, share, shrinkage), share.sum(0).numpy()
    own = [np.cov(x.numpy().T, aweights=weight.numpy(), ddof=0) for weight in share.T]
    pooled = sum(n * covariance for n, covariance in zip(total, own, strict=True)) / 300
    for k in range(4):
        np.testing.assert_allclose(found.mean[k], np.average(x.numpy(), 0, share[:, k].numpy()))
        expected = (total[k] * own[k] + shrinkage * pooled) / (total[k] + shrinkage) + RIDGE * np.eye(3)
        np.testing.assert_allclose(found.covariance[k], expected)
    np.testing.assert_allclose(found.log_weight.exp(), total / 300)


def test_the_density_is_that_of_scipy():
    x = blobs()
    found = maximize(x, clusters(x, 3, Rng(0)), 1.0)
    expected = np.logaddexp.reduce(scipys_log_joint(x, found), 1)
    np.testing.assert_allclose(log_prob(x, found), expected)
    np.testing.assert_allclose((mixture_fit.features(x) @ mixture_fit.coefficients(found)).logsumexp(-1), expected)


def test_an_iteration_is_an_e_step_and_an_m_step(monkeypatch):
    monkeypatch.setattr(mixture_fit, "N_ITERATIONS", 1)
    monkeypatch.setattr(mixture_fit, "AT_ONCE", 100)
    x = blobs()
    before = Fit(maximize(x, clusters(x, 3, Rng(0)), 1.0), 2.0)
    share = torch.from_numpy(scipys_log_joint(x, before.gaussians)).softmax(-1)
    for found, expected in zip(improve(x, before, 0.0).gaussians, maximize(x, share, 2.0), strict=True):
        torch.testing.assert_close(found, expected)


def test_every_iteration_raises_the_likelihood(monkeypatch):
    """Without shrinkage, up to the ridge."""
    x, likelihood = blobs(), []
    start = clusters(x, 5, Rng(0))
    for n in (1, 2, 3, 5, 10, 30):
        monkeypatch.setattr(mixture_fit, "N_ITERATIONS", n)
        likelihood.append(log_prob(x, improve(x, Fit(maximize(x, start, 0.0), 0.0), -1.0).gaussians).mean().item())
    assert all(later > earlier for earlier, later in pairwise(likelihood))


def test_it_stops_when_the_likelihood_grows_by_less_than_the_tolerance(monkeypatch):
    x, n = blobs(), []
    start = Fit(maximize(x, clusters(x, 5, Rng(0)), 0.0), 0.0)
    original = mixture_fit.coefficients
    monkeypatch.setattr(mixture_fit, "coefficients", lambda gaussians: n.append(1) or original(gaussians))
    improve(x, start, 10.0)
    assert len(n) == 2
    improve(x, start, -1.0)
    assert len(n) == 2 + mixture_fit.N_ITERATIONS


def test_the_clusters_of_separated_blobs_are_the_blobs():
    """k-means++ finds three far clusters from every seed: a center in a cluster that has one is drawn with probability below 1e-4."""
    x = blobs() + 100 * torch.eye(3).repeat(100, 1)
    for seed in range(10):
        share = clusters(x, 3, Rng(seed))
        assert share.unflatten(0, (100, 3)).std(0).max() == 0
        assert share[:3].sum(0).tolist() == [1, 1, 1]


def test_more_clusters_than_distinct_points_leave_clusters_empty():
    x = torch.tensor([[0.0], [1.0]]).repeat(10, 1)
    assert clusters(x, 5, Rng(0)).sum().item() == 20
    found = fit(x, 5, 1.0, Rng(0), None).gaussians
    assert all(part.isfinite().all() for part in found)


@pytest.mark.parametrize("shrinkage", [0.0, 4.0])
def test_a_component_does_not_collapse(shrinkage):
    """Half of the rows are one row, one column is constant, and one is a copy: every variance stays above the ridge."""
    x = blobs()
    x = torch.cat([x, x[:, :1], torch.full((300, 1), 7.0)], 1)
    x[::2] = x[0]
    found = fit(x, 6, shrinkage, Rng(0), None).gaussians
    scale = x.std(0, correction=0).where(x.amax(0) > x.amin(0), 1)
    smallest = torch.linalg.eigvalsh(found.covariance / torch.outer(scale, scale)).amin()
    assert RIDGE * (1 - 1e-6) < smallest < 2 * RIDGE
    assert log_prob(x, found).isfinite().all()


def test_shrinkage_bounds_the_component_of_a_repeated_row():
    """Its covariance is n / (N_k + n) of the pooled covariance."""
    x = blobs()
    x[:100] = 40.0
    found = fit(x, 4, 16.0, Rng(0), None).gaussians
    k = (found.mean - 40).abs().sum(-1).argmin()
    own = torch.linalg.eigvalsh(found.covariance[k])
    weight = found.log_weight.exp()[:, None, None]
    share = 16 / (300 * weight + 16)
    pooled = (weight * (found.covariance)).sum(0)  # near the pooled covariance within components
    assert own[-1] > 0.5 * share[k].item() * torch.linalg.eigvalsh(pooled)[-1]


def test_the_units_of_the_data_do_not_matter():
    """A shift and a scale of every column move the mixture, with the same log-likelihood up to the Jacobian."""
    x, held_out = blobs().split([200, 100])
    shift, scale = torch.tensor([1000.0, -3.0, 0.5]), torch.tensor([1e-3, 50.0, 2.0])
    one, other = fit(x, None, None, Rng(0), held_out), fit(x * scale + shift, None, None, Rng(0), held_out * scale + shift)
    assert one.shrinkage == other.shrinkage
    torch.testing.assert_close(other.gaussians.mean, one.gaussians.mean * scale + shift, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(other.gaussians.covariance, one.gaussians.covariance * torch.outer(scale, scale), rtol=1e-5, atol=1e-8)
    assert other.log_likelihood == pytest.approx(one.log_likelihood - scale.log().sum().item(), abs=1e-6)


def test_the_choice_is_that_of_all_candidates_by_hand(monkeypatch):
    """With two candidates for each setting: the greatest likelihood of the held-out points among the four."""
    monkeypatch.setattr(mixture_fit, "N_COMPONENTS", (1, 3))
    monkeypatch.setattr(mixture_fit, "SHRINKAGE", (0.0, 16.0))
    monkeypatch.setattr(mixture_fit, "FIRST", 1)
    monkeypatch.setattr(mixture_fit, "N_STARTS", 1)
    monkeypatch.setattr(mixture_fit, "ROUGH", mixture_fit.TOLERANCE)
    for n in (60, 600):
        x, held_out = blobs(n).split([n // 2, n // 2])
        chosen = fit(x, None, None, Rng(0), held_out)
        values = {
            (k, shrinkage): log_prob(held_out, fit(x, k, shrinkage, Rng(0).at(k).at(0), None).gaussians).mean().item()
            for k, shrinkage in [(1, 16.0), (3, 0.0), (3, 16.0)]
        }
        best = max(values, key=values.get)
        assert (len(chosen.gaussians.mean), chosen.shrinkage) == best
        assert chosen.log_likelihood == pytest.approx(values[best], abs=1e-3)


def test_no_more_components_than_the_held_out_points_support():
    """One Gaussian, of which any further component would fit the noise: one component, or two."""
    x, held_out = Rng(0).normal("x", 1200, 4).split([200, 1000])
    assert len(fit(x, None, None, Rng(0), held_out).gaussians.mean) <= 2
    assert len(fit(x, None, 0.0, Rng(0), held_out).gaussians.mean) == 1


def test_given_settings_are_kept():
    x, held_out = blobs().split([200, 100])
    assert len(fit(x, 2, None, Rng(0), held_out).gaussians.mean) == 2
    assert fit(x, None, 3.5, Rng(0), held_out).shrinkage == 3.5


def test_it_goes_on_from_a_fit_with_more_points():
    """A fit that has converged does not change; with further points the likelihood of all points grows."""
    x, rest = blobs(600).split([150, 450])
    before = fit(x, 3, 1.0, Rng(0), None)
    again = go_on(x, before)
    torch.testing.assert_close(again.gaussians.mean, before.gaussians.mean, atol=1e-2, rtol=0)
    both = torch.cat([x, rest])
    after = go_on(both, before)
    assert (len(after.gaussians.mean), after.shrinkage) == (3, 1.0)
    assert log_prob(both, after.gaussians).mean() > log_prob(both, before.gaussians).mean()
