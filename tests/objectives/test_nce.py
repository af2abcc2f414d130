"""Noise-contrastive estimation against closed forms. Statistical checks are seeded, at 5 standard errors: a false alarm in 1.7e6 each."""

import math
from math import log

import numpy as np
import pytest
import torch
from scipy.stats import gamma, kstest, multivariate_normal, uniform
from targets import LogGamma, Quadratic
from torch.distributions import MultivariateNormal
from torch.nn.functional import softplus

from ebm_cli.core.model import Model
from ebm_cli.core.rng import Rng
from ebm_cli.objectives.nce import NoiseContrastive

pytestmark = pytest.mark.usefixtures("double")


def correlated(n, shape):
    """Points far from standard: correlated, off centre, of several scales."""
    factor = torch.tensor([[2.0, 0.0, 0.0], [0.8, 0.9, 0.0], [-0.3, 0.2, 0.5]])
    return (Rng(7).normal("x", n, 3) @ factor.T + torch.tensor([4.0, -1.0, 0.5])).reshape(n, *shape)


def corners(d):
    """Points with mean 0 and covariance I exactly: the noise fitted to them is N(0, I)."""
    return torch.cat([torch.eye(d), -torch.eye(d)]) * d**0.5


@pytest.mark.parametrize("shape", [(3,), (1, 3)])
def test_log_q_is_the_fitted_gaussian_and_the_noise_is_drawn_from_it(shape):
    model, nce, x_train = (
        Model(Quadratic(), event_ndim=len(shape), stacked=False),
        NoiseContrastive("gaussian", 3, 1),
        correlated(500, shape),
    )
    _, carry = nce.init(model, x_train, Rng(0))
    x = x_train[:100] + 1
    aux, _, _ = nce.prepare(model, {"a": torch.ones(())}, carry, x, Rng(0))
    flat = x_train.flatten(1)
    q = MultivariateNormal(flat.mean(0), torch.cov(flat.T, correction=0))
    torch.testing.assert_close(aux["points"][:100], x)
    torch.testing.assert_close(aux["offset"] - log(3), q.log_prob(aux["points"].flatten(1)), atol=1e-4, rtol=1e-4)
    white = torch.linalg.solve_triangular(q.scale_tril, (aux["points"][100:].flatten(1) - q.mean).T, upper=False).T
    assert white.shape == (300, 3)
    assert (white.mean(0).abs() < 5 * 300**-0.5).all()
    assert ((white.T @ white / 300 - torch.eye(3)).abs() < 5 * (2 / 300) ** 0.5).all()


@pytest.mark.parametrize("n_noise", [1, 3])
def test_loss_written_out(n_noise):
    """softplus(-h(x_i)) + sum over its own nu noise points of softplus(h(y_ij)), h = -E - c - log q - log nu."""
    model, nce, a, c = Model(Quadratic(), event_ndim=1, stacked=False), NoiseContrastive("gaussian", n_noise, 1), 0.3, 1.9
    x_train = correlated(200, (3,))
    _, carry = nce.init(model, x_train, Rng(0))
    x = x_train[:5]
    params = {"a": torch.tensor(a), "log_z": torch.tensor(c)}
    aux, _, _ = nce.prepare(model, params, carry, x, Rng(0))
    loss, info = nce.loss(model, params, x, aux)
    q = MultivariateNormal(x_train.mean(0), torch.cov(x_train.T, correction=0))

    def h(y):
        return -a * y.square().sum() / 2 - c - q.log_prob(y) - log(n_noise)

    noise = aux["points"][5:]
    for i in range(5):
        expected = softplus(-h(x[i])) + sum(softplus(h(noise[i * n_noise + j])) for j in range(n_noise))
        torch.testing.assert_close(loss[i], expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(info["energy"], a * x.square().sum(-1) / 2)


@pytest.mark.parametrize("n_noise", [1, 4])
def test_value_at_the_optimum_where_the_noise_is_the_data_law(n_noise):
    """There h = -log nu everywhere: each loss is (1 + nu) log(1 + nu) - nu log nu, if nu is applied once."""
    model, nce = Model(Quadratic(), event_ndim=1, stacked=False), NoiseContrastive("gaussian", n_noise, 1)
    _, carry = nce.init(model, corners(2), Rng(0))
    x = 2 * Rng(1).normal("x", 10, 2)
    params = {"a": torch.ones(()), "log_z": torch.tensor(math.log(2 * math.pi))}
    aux, _, _ = nce.prepare(model, params, carry, x, Rng(0))
    value = (1 + n_noise) * log(1 + n_noise) - n_noise * log(n_noise)
    torch.testing.assert_close(nce.loss(model, params, x, aux)[0], torch.full((10,), value), atol=1e-4, rtol=0)


@pytest.mark.parametrize("n_noise", [1, 4])
def test_gradient_is_zero_at_the_truth_only(n_noise):
    """x ~ N(0, I) against other noise: a = 1 and c = (d/2) log 2 pi, with the gradients' signs on both sides of each."""
    d, rng = 3, Rng(tuple(range(100)))  # 100 independent batches, side by side as a stack
    model, nce, c = Model(Quadratic(), event_ndim=1, stacked=True), NoiseContrastive("gaussian", n_noise, 1), 0.5 * d * log(2 * math.pi)
    extra, carry = nce.init(model, (1.3 * corners(d) + 0.5).expand(100, -1, -1), rng)
    assert extra["log_z"].shape == (100,)
    x = rng.normal("x", 200, d)

    def z_scores(a, c):
        params = {"a": torch.full((100,), a, requires_grad=True), "log_z": torch.full((100,), c, requires_grad=True)}
        aux, _, _ = nce.prepare(model, params, carry, x, rng)
        assert not any(value.requires_grad for value in aux.values())  # none through the noise
        gradients = torch.autograd.grad(nce.loss(model, params, x, aux)[0].mean(-1).sum(), params.values())
        return [(one.mean() / one.std() * 10).item() for one in gradients]

    assert max(map(abs, z_scores(1.0, c))) < 5
    assert z_scores(0.8, c)[0] < -5
    assert z_scores(1.25, c)[0] > 5
    assert z_scores(1.0, c - 0.2)[1] < -5
    assert z_scores(1.0, c + 0.2)[1] > 5


@pytest.mark.parametrize("shape", [(3,), (1, 3)])
def test_log_q_of_a_mixture_and_its_nu(shape):
    """Against scipy, at data and at noise, of each model of a stack; three clusters so that no single Gaussian will do."""
    model, nce, rng = Model(Quadratic(), event_ndim=len(shape), stacked=True), NoiseContrastive("mixture", 2, 3), Rng((0, 1))
    centre = 4 * torch.eye(3).repeat(50, 1)
    x_train = (centre + rng.normal("x", 150, 3) * torch.tensor([0.3, 0.5, 0.9])).reshape(2, 150, *shape)
    extra, carry = nce.init(model, x_train, rng)
    assert extra["log_z"].tolist() == [0.0, 0.0]
    aux, _, _ = nce.prepare(model, {}, carry, x_train[:, :40], rng)
    points = aux["points"].flatten(2)
    assert points.shape == (2, 120, 3)
    torch.testing.assert_close(points[:, :40], x_train[:, :40].flatten(2))
    for m in range(2):
        density = sum(
            float(carry["log_weight"][m, k].exp())
            * multivariate_normal(carry["mean"][m, k], carry["factor"][m, k] @ carry["factor"][m, k].T).pdf(points[m].numpy())
            for k in range(3)
        )
        torch.testing.assert_close(aux["offset"][m] - log(2), torch.from_numpy(np.log(density)))
    noise = points[:, 40:]
    assert (torch.cdist(noise, 4 * torch.eye(3).expand(2, 3, 3)).amin(-1) < 5).all()


def test_uniform_noise_fills_the_datas_box_with_its_margin():
    """A box a tenth wider on each side; log q of scipy inside, minus infinity outside. Kolmogorov-Smirnov, a false alarm in 1e6."""
    model, nce = Model(Quadratic(), event_ndim=1, stacked=False), NoiseContrastive("uniform", 50, 1)
    x_train = torch.tensor([[0.0, -3.0], [2.0, 1.0], [1.0, 5.0]])
    _, carry = nce.init(model, x_train, Rng(0))
    low, width = torch.tensor([-0.2, -3.8]), torch.tensor([2.4, 9.6])
    x = torch.cat([x_train, torch.tensor([[2.19, 5.79], [2.21, 0.0], [0.0, -3.81]])]).repeat(20, 1)
    params = {"a": torch.tensor(0.6, requires_grad=True), "log_z": torch.tensor(0.4, requires_grad=True)}
    aux, _, _ = nce.prepare(model, params, carry, x, Rng(1))
    expected = uniform(low, width).logpdf(aux["points"].numpy()).sum(-1)
    assert expected[120:].min() > -10
    assert np.isinf(expected[:120]).sum() == 40
    torch.testing.assert_close(aux["offset"] - log(50), torch.from_numpy(expected))
    for column in ((aux["points"][120:] - low) / width).T:
        assert kstest(column.numpy(), "uniform").pvalue > 1e-6
    loss, _ = nce.loss(model, params, x, aux)
    assert loss.isfinite().all()  # data outside the box are told from noise with certainty
    assert all(one.isfinite() for one in torch.autograd.grad(loss.mean(), params.values()))


@pytest.mark.parametrize("noise", ["gaussian", "mixture", "uniform"])
def test_minimum_is_at_the_truth_of_a_skewed_law(noise):
    """exp(-x) ~ Gamma(3), log Z = log 2: zero gradients in k, b and c there, right signs around. Data at midpoints of equal parts."""
    n, nu, model = 20_000, 3, Model(LogGamma(), event_ndim=1, stacked=False)
    x = -torch.from_numpy(np.log(gamma.ppf((np.arange(n) + 0.5) / n, 3))).unsqueeze(-1)
    nce = NoiseContrastive(noise, nu, 2)
    _, carry = nce.init(model, x[:: 20 if noise == "mixture" else 1], Rng(0))
    aux, _, _ = nce.prepare(model, {}, carry, x, Rng(1))

    def z_scores(k, b, c):
        """Gradients in standard errors: of the noise points' terms, n of nu each."""
        params = {name: torch.full((n, 1), value, requires_grad=True) for name, value in {"k": k, "b": b, "log_z": c}.items()}
        points, offset = aux["points"][n:].reshape(n, nu, 1), aux["offset"][n:].reshape(n, nu)
        # every datum with its own noise as a model of a stack: its gradient by itself
        alone = {
            "points": torch.cat([x.unsqueeze(1), points], 1),
            "offset": torch.cat([aux["offset"][:n, None], offset], 1),
        }
        stack = {name: value.squeeze(-1) for name, value in params.items()}
        loss, _ = nce.loss(Model(LogGamma(), event_ndim=1, stacked=True), stack, x.unsqueeze(1), alone)
        gradients = torch.autograd.grad(loss.sum(), params.values())
        return [(one.mean() / one.std() * n**0.5).item() for one in gradients]

    truth = {"k": 3.0, "b": 0.0, "c": log(2)}
    assert max(map(abs, z_scores(**truth))) < 5
    for i, (name, away) in enumerate({"k": 0.4, "b": 0.2, "c": 0.2}.items()):
        assert z_scores(**truth | {name: truth[name] - away})[i] < -5
        assert z_scores(**truth | {name: truth[name] + away})[i] > 5
