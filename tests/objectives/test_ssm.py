"""Sliced score matching against closed forms. Statistical checks are seeded, at 5 standard errors (one false alarm in 2e6 each)."""

from math import prod

import pytest
import torch
from targets import Coupled, CoupledScore, LogGamma, Quadratic, assert_mean, log_gamma_nodes, spread_points

from ebm_cli.core.model import Model
from ebm_cli.core.rng import Rng
from ebm_cli.objectives.ssm import SlicedScoreMatching

pytestmark = pytest.mark.usefixtures("double")

DISTRIBUTIONS = ("gaussian", "rademacher", "sphere")


def losses(ssm, model, params, x, seed=0):
    aux, _, _ = ssm.prepare(model, params, {}, x, Rng(seed))
    return ssm.loss(model, params, x, aux)[0]


@pytest.mark.parametrize("shape", [(1,), (3,), (2, 2)])
@pytest.mark.parametrize("a", [0.6, 1.0, 1.7])
@pytest.mark.parametrize("variance_reduced", [True, False])
@pytest.mark.parametrize("n_projections", [1, 3])
@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_expectation_and_its_gradient_on_a_gaussian(distribution, n_projections, variance_reduced, a, shape):
    """a^2 d/2 - a d, with the derivative d (a - 1): minimal at the truth."""
    model, d = Model(Quadratic(), event_ndim=len(shape), stacked=False), prod(shape)
    ssm = SlicedScoreMatching(distribution, n_projections, variance_reduced)
    x, leaf = spread_points(shape, 2400), torch.tensor(a, requires_grad=True)
    loss, above, below = (losses(ssm, model, {"a": leaf + step}, x) for step in (0.0, 0.5, -0.5))
    (gradient,) = torch.autograd.grad(loss.mean(), leaf)
    slope = (above - below).detach()  # per sample; the loss is quadratic in a
    torch.testing.assert_close(gradient, slope.mean())
    assert_mean(loss.detach(), a * a * d / 2 - a * d)
    assert_mean(slope, d * (a - 1))
    if distribution == "rademacher" or (distribution == "sphere" and variance_reduced):
        assert abs(loss.mean() - (a * a * d / 2 - a * d)) < 1e-10  # there is no Monte Carlo error


@pytest.mark.parametrize("variance_reduced", [True, False])
def test_expectation_on_a_skewed_distribution(variance_reduced):
    """e^{2b} - 2 e^b + 1/2 by Gauss-Laguerre quadrature, which is exact here; at the truth -1/2 E|s|^2 = -1/2."""
    (x, weights), model = log_gamma_nodes(1), Model(LogGamma(), event_ndim=1, stacked=False)
    ssm = SlicedScoreMatching("rademacher", 3, variance_reduced)
    for b in (-0.4, 0.0, 0.3):
        e = torch.tensor(b).exp()
        loss = losses(ssm, model, {"k": torch.tensor(1.0), "b": torch.tensor(b)}, x) @ weights
        torch.testing.assert_close(loss, e * e - 2 * e + 0.5)


@pytest.mark.parametrize("variance_reduced", [True, False])
@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_loss_formula(distribution, variance_reduced):
    """v' grad s v + 1/2 |s|^2, or 1/2 (v's)^2, averaged over directions, from the Jacobian of the score."""
    model, ssm = Model(Coupled(), event_ndim=1, stacked=False), SlicedScoreMatching(distribution, 3, variance_reduced)
    x, params = Rng(1).normal("x", 4, 2), {"a": torch.tensor(0.7)}
    aux, _, _ = ssm.prepare(model, params, {}, x, Rng(2))
    v, score = aux["directions"], CoupledScore()
    s = score(x).detach()
    jacobian = torch.stack([torch.autograd.functional.jacobian(lambda point: score(point[None])[0], point) for point in x])
    slices = torch.einsum("kni,nij,knj->kn", v, jacobian, v).mean(0)
    square = s.square().sum(-1) if variance_reduced else torch.einsum("kni,ni->kn", v, s).square().mean(0)
    torch.testing.assert_close(ssm.loss(model, params, x, aux)[0], slices + square / 2)


@pytest.mark.parametrize("variance_reduced", [True, False])
def test_a_score_network_has_the_loss_of_the_energy_with_the_same_score(variance_reduced):
    ssm, x, params = SlicedScoreMatching("gaussian", 3, variance_reduced), Rng(1).normal("x", 5, 2), {"a": torch.tensor(0.3)}
    both = [losses(ssm, Model(module, event_ndim=1, stacked=False), params, x) for module in (Coupled(), CoupledScore())]
    torch.testing.assert_close(*both)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_second_moment_of_the_directions_is_the_identity(distribution):
    ssm, x = SlicedScoreMatching(distribution, 2, True), torch.zeros(20_000, 3)
    aux, _, _ = ssm.prepare(Model(Quadratic(), event_ndim=1, stacked=False), {}, {}, x, Rng(0))
    first, second = aux["directions"]
    for i in range(3):
        assert_mean(first[:, i], 0.0)
        for j in range(3):
            assert_mean(first[:, i] * first[:, j], float(i == j))
            assert_mean(first[:, i] * second[:, j], 0.0)  # projections are drawn independently
    fourth_moment = {"gaussian": 3.0, "rademacher": 1.0, "sphere": 9 / 5}[distribution]  # of a coordinate: 3 d / (d + 2) on the sphere
    assert_mean(first[:, 0] ** 4, fourth_moment)


@pytest.mark.parametrize("shape", [(1,), (3,), (2, 2)])
def test_sphere_has_radius_sqrt_d(shape):
    model = Model(Quadratic(), event_ndim=len(shape), stacked=False)
    aux, _, _ = SlicedScoreMatching("sphere", 2, True).prepare(model, {}, {}, torch.zeros(50, *shape), Rng(0))
    torch.testing.assert_close(aux["directions"].flatten(2).norm(dim=-1), torch.full((2, 50), prod(shape) ** 0.5))


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_a_stack_gives_every_model_its_own_loss(distribution):
    ssm, x = SlicedScoreMatching(distribution, 2, False), Rng((3, 4)).normal("x", 6, 2)
    stacked, a = Model(Quadratic(), event_ndim=1, stacked=True), torch.tensor([0.5, 2.0])
    aux, _, _ = ssm.prepare(stacked, {"a": a}, {}, x, Rng((3, 4)))
    together = ssm.loss(stacked, {"a": a}, x, aux)[0]
    for m, seed in enumerate((3, 4)):
        torch.testing.assert_close(together[m], losses(ssm, stacked.alone(), {"a": a[m]}, x[m], seed))
