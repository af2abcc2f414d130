"""Noise-contrastive estimation against closed forms. Statistical checks are seeded, at 5 standard errors (false alarm 6e-7 each)."""

import math
from math import log

import numpy as np
import pytest
import torch
from scipy.stats import gamma, kstest, multivariate_normal, uniform
from standard import reference
from targets import LogGamma, Quadratic
from torch.distributions import MultivariateNormal
from torch.nn.functional import softplus

from ebm_cli.config import compose
from ebm_cli.core.fitted_reference import FittedReference
from ebm_cli.core.model import Model
from ebm_cli.core.rng import Rng
from ebm_cli.objectives.nce import NoiseContrastive
from ebm_cli.references.full_gaussian import FullGaussian
from ebm_cli.references.gaussian import Gaussian
from ebm_cli.references.mixture import Mixture
from ebm_cli.references.uniform import Uniform
from ebm_cli.runner.experiment import Experiment

pytestmark = pytest.mark.usefixtures("double")


def correlated(n, shape):
    """Points that are correlated and off-centre, with several scales."""
    factor = torch.tensor([[2.0, 0.0, 0.0], [0.8, 0.9, 0.0], [-0.3, 0.2, 0.5]])
    return (Rng(7).normal("x", n, 3) @ factor.T + torch.tensor([4.0, -1.0, 0.5])).reshape(n, *shape)


def corners(d):
    """Points with mean 0 and covariance I, so that the noise fitted to them is N(0, I)."""
    return torch.cat([torch.eye(d), -torch.eye(d)]) * d**0.5


def fitted(reference, x_train, model, rng):
    """The tensors of a reference fitted to x_train, as in the `params` of a model."""
    return FittedReference.fit(reference, x_train, x_train.shape[x_train.ndim - model.event_ndim :], rng).named


@pytest.mark.parametrize("shape", [(3,), (1, 3)])
@pytest.mark.parametrize("run_reference", [Gaussian(), FullGaussian()], ids=["gaussian", "full_gaussian"])
def test_log_q_is_the_fitted_gaussian_and_the_noise_is_drawn_from_it(shape, run_reference):
    """The noise is the Gaussian with the full covariance. For a diagonal reference the objective fits the noise and carries it."""
    model, nce, x_train = (
        Model(Quadratic(), event_ndim=len(shape), stacked=False),
        NoiseContrastive(run_reference, 3),
        correlated(500, shape),
    )
    tensors = fitted(run_reference, x_train, model, Rng(0))
    _, carry = nce.init(model, tensors, x_train, Rng(0))
    assert bool(carry) == isinstance(run_reference, Gaussian)
    x = x_train[:100] + 1
    aux, _, _ = nce.prepare(model, {"a": torch.ones(())} | tensors, carry, x, Rng(0))
    flat = x_train.flatten(1)
    q = MultivariateNormal(flat.mean(0), torch.cov(flat.T, correction=0))
    torch.testing.assert_close(aux["points"][:100], x)
    torch.testing.assert_close(aux["offset"] - log(3), q.log_prob(aux["points"].flatten(1)), atol=1e-4, rtol=1e-4)
    white = torch.linalg.solve_triangular(q.scale_tril, (aux["points"][100:].flatten(1) - q.mean).T, upper=False).T
    assert white.shape == (300, 3)
    assert (white.mean(0).abs() < 5 * 300**-0.5).all()
    assert ((white.T @ white / 300 - torch.eye(3)).abs() < 5 * (2 / 300) ** 0.5).all()


@pytest.mark.parametrize("n_noise", [1, 3])
def test_loss_formula(n_noise):
    """softplus(-h(x_i)) + the sum of softplus(h(y_ij)) over the nu noise points of x_i, h = -E - c - log q - log nu."""
    model, nce, a, c = Model(Quadratic(), event_ndim=1, stacked=False), NoiseContrastive(Gaussian(), n_noise), 0.3, 1.9
    x_train = correlated(200, (3,))
    _, carry = nce.init(model, reference(x_train, model), x_train, Rng(0))
    x = x_train[:5]
    params = {"a": torch.tensor(a), "log_z": torch.tensor(c)} | reference(x_train, model)
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
def test_value_at_the_optimum_where_the_noise_follows_the_data_distribution(n_noise):
    """There h = -log nu everywhere, and each loss is (1 + nu) log(1 + nu) - nu log nu."""
    model, nce = Model(Quadratic(), event_ndim=1, stacked=False), NoiseContrastive(Gaussian(), n_noise)
    _, carry = nce.init(model, reference(corners(2), model), corners(2), Rng(0))
    x = 2 * Rng(1).normal("x", 10, 2)
    params = {"a": torch.ones(()), "log_z": torch.tensor(math.log(2 * math.pi))} | reference(corners(2), model)
    aux, _, _ = nce.prepare(model, params, carry, x, Rng(0))
    value = (1 + n_noise) * log(1 + n_noise) - n_noise * log(n_noise)
    torch.testing.assert_close(nce.loss(model, params, x, aux)[0], torch.full((10,), value), atol=1e-4, rtol=0)


@pytest.mark.parametrize("n_noise", [1, 4])
def test_gradient_is_zero_at_the_truth_only(n_noise):
    """x ~ N(0, I) and different noise: the gradients vanish at a = 1, c = (d/2) log 2 pi and have the right signs on both sides."""
    d, rng = 3, Rng(tuple(range(100)))  # 100 independent batches, as a stack
    model, nce, c = Model(Quadratic(), event_ndim=1, stacked=True), NoiseContrastive(Gaussian(), n_noise), 0.5 * d * log(2 * math.pi)
    x_train = (1.3 * corners(d) + 0.5).expand(100, -1, -1)
    tensors = reference(x_train, model)
    extra, carry = nce.init(model, tensors, x_train, rng)
    assert extra["log_z"].shape == (100,)
    x = rng.normal("x", 200, d)

    def z_scores(a, c):
        params = {"a": torch.full((100,), a, requires_grad=True), "log_z": torch.full((100,), c, requires_grad=True)}
        aux, _, _ = nce.prepare(model, params | tensors, carry, x, rng)
        assert not any(value.requires_grad for value in aux.values())  # no gradient passes through the noise
        gradients = torch.autograd.grad(nce.loss(model, params, x, aux)[0].mean(-1).sum(), params.values())
        return [(gradient.mean() / gradient.std() * 10).item() for gradient in gradients]

    assert max(map(abs, z_scores(1.0, c))) < 5
    assert z_scores(0.8, c)[0] < -5
    assert z_scores(1.25, c)[0] > 5
    assert z_scores(1.0, c - 0.2)[1] < -5
    assert z_scores(1.0, c + 0.2)[1] > 5


@pytest.mark.parametrize("shape", [(3,), (1, 3)])
def test_log_q_of_a_mixture_and_its_nu(shape):
    """Against scipy at data and noise points, for each model of a stack. The data have three clusters, unlike any single Gaussian."""
    model, nce, rng = Model(Quadratic(), event_ndim=len(shape), stacked=True), NoiseContrastive(Mixture(3, 0.0, None), 2), Rng((0, 1))
    centre = 4 * torch.eye(3).repeat(50, 1)
    x_train = (centre + rng.normal("x", 150, 3) * torch.tensor([0.3, 0.5, 0.9])).reshape(2, 150, *shape)
    tensors = fitted(Mixture(3, 0.0, None), x_train, model, rng)
    extra, carry = nce.init(model, tensors, x_train, rng)
    assert extra["log_z"].tolist() == [0.0, 0.0]
    assert carry == {}  # the run's reference is the noise
    aux, _, _ = nce.prepare(model, tensors, carry, x_train[:, :40], rng)
    points = aux["points"].flatten(2)
    assert points.shape == (2, 120, 3)
    torch.testing.assert_close(points[:, :40], x_train[:, :40].flatten(2))
    for m in range(2):
        weight, mean, factor = (tensors[f"reference.{name}"][m] for name in ("log_weight", "mean", "factor"))
        components = [multivariate_normal(mean[k], factor[k] @ factor[k].T) for k in range(3)]
        density = sum(float(weight[k].exp()) * component.pdf(points[m].numpy()) for k, component in enumerate(components))
        torch.testing.assert_close(aux["offset"][m] - log(2), torch.from_numpy(np.log(density)))
    noise = points[:, 40:]
    assert (torch.cdist(noise, 4 * torch.eye(3).expand(2, 3, 3)).amin(-1) < 5).all()


def test_uniform_noise_fills_the_box_of_the_data_with_its_margin():
    """The margin is a tenth; log q is that of scipy inside and -infinity outside. Kolmogorov-Smirnov test, one false alarm in 1e6."""
    model, nce = Model(Quadratic(), event_ndim=1, stacked=False), NoiseContrastive(Uniform(0.1), 50)
    x_train = torch.tensor([[0.0, -3.0], [2.0, 1.0], [1.0, 5.0]])
    tensors = fitted(Uniform(0.1), x_train, model, Rng(0))
    _, carry = nce.init(model, tensors, x_train, Rng(0))
    assert carry == {}
    low, width = torch.tensor([-0.2, -3.8]), torch.tensor([2.4, 9.6])
    x = torch.cat([x_train, torch.tensor([[2.19, 5.79], [2.21, 0.0], [0.0, -3.81]])]).repeat(20, 1)
    params = {"a": torch.tensor(0.6, requires_grad=True), "log_z": torch.tensor(0.4, requires_grad=True)}
    aux, _, _ = nce.prepare(model, params | tensors, carry, x, Rng(1))
    expected = uniform(low, width).logpdf(aux["points"].numpy()).sum(-1)
    assert expected[120:].min() > -10
    assert np.isinf(expected[:120]).sum() == 40
    torch.testing.assert_close(aux["offset"] - log(50), torch.from_numpy(expected))
    for column in ((aux["points"][120:] - low) / width).T:
        assert kstest(column.numpy(), "uniform").pvalue > 1e-6
    loss, _ = nce.loss(model, params, x, aux)
    assert loss.isfinite().all()  # data outside the box are distinguished from noise with certainty
    assert all(gradient.isfinite() for gradient in torch.autograd.grad(loss.mean(), params.values()))


@pytest.mark.parametrize("noise", [Gaussian(), Mixture(2, 0.0, None), Uniform(0.1)], ids=["gaussian", "mixture", "uniform"])
def test_minimum_is_at_the_truth_of_a_skewed_distribution(noise):
    """exp(-x) ~ Gamma(3), log Z = log 2: the gradients in k, b and c vanish, with the right signs around. Data at quantile midpoints."""
    n, nu, model = 20_000, 3, Model(LogGamma(), event_ndim=1, stacked=False)
    x = -torch.from_numpy(np.log(gamma.ppf((np.arange(n) + 0.5) / n, 3))).unsqueeze(-1)
    nce, x_train = NoiseContrastive(noise, nu), x[:: 20 if isinstance(noise, Mixture) else 1]
    tensors = fitted(noise, x_train, model, Rng(0))
    _, carry = nce.init(model, tensors, x_train, Rng(0))
    aux, _, _ = nce.prepare(model, tensors, carry, x, Rng(1))

    def z_scores(k, b, c):
        """Gradients in units of their standard errors, from n data points with nu noise points each."""
        params = {name: torch.full((n, 1), value, requires_grad=True) for name, value in {"k": k, "b": b, "log_z": c}.items()}
        points, offset = aux["points"][n:].reshape(n, nu, 1), aux["offset"][n:].reshape(n, nu)
        # each data point with its noise is a model of a stack, which gives separate gradients
        alone = {
            "points": torch.cat([x.unsqueeze(1), points], 1),
            "offset": torch.cat([aux["offset"][:n, None], offset], 1),
        }
        stack = {name: value.squeeze(-1) for name, value in params.items()}
        loss, _ = nce.loss(Model(LogGamma(), event_ndim=1, stacked=True), stack, x.unsqueeze(1), alone)
        gradients = torch.autograd.grad(loss.sum(), params.values())
        return [(gradient.mean() / gradient.std() * n**0.5).item() for gradient in gradients]

    truth = {"k": 3.0, "b": 0.0, "c": log(2)}
    assert max(map(abs, z_scores(**truth))) < 5
    for i, (name, away) in enumerate({"k": 0.4, "b": 0.2, "c": 0.2}.items()):
        assert z_scores(**truth | {name: truth[name] - away})[i] < -5
        assert z_scores(**truth | {name: truth[name] + away})[i] > 5


def test_training_continues_when_the_tilt_is_infinite_at_a_data_point():
    """The data have heavy tails and the model is tilted by a box. Data outside the box are distinguished from noise with certainty."""
    line = ["objective=nce", "dataset=student_t", "reference=uniform", "energy.hidden=[8]", "energy=mlp", "reference.margin=0"]
    trainer = Experiment.of(compose.compose([*line, "trainer.batch_size=4096", "device=cpu", "metric=[]"])).trainer()
    x = trainer.dataset.batch(0, 4096, trainer.rng).x
    energy = trainer.model.energy(trainer.params, x)
    assert energy.isinf().any()
    assert energy.isfinite().any()
    for _ in range(3):
        trainer.step()
    assert all(value.isfinite().all() for name, value in trainer.params.items() if not name.startswith("reference."))
    aux, _, _ = trainer.objective.prepare(trainer.model, trainer.params, trainer.state.carry, x, trainer.rng.at("step").at(9))
    loss, _ = trainer.objective.loss(trainer.model, trainer.params, x, aux)
    assert loss.isfinite().all()
