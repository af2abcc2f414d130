"""Score matching with finite differences against closed forms. Statistical checks are seeded, with a tolerance of 5 standard errors."""

from math import cosh, prod, sinh

import pytest
import torch
from targets import Coupled, LogGamma, Quadratic, assert_mean, log_gamma_nodes, spread_points

from ebm_cli.core.model import Model
from ebm_cli.core.rng import Rng
from ebm_cli.objectives.fd_ssm import FiniteDifferenceScoreMatching
from ebm_cli.objectives.ssm import SlicedScoreMatching

pytestmark = pytest.mark.usefixtures("double")


@pytest.mark.parametrize("shape", [(1,), (3,), (2, 2)])
@pytest.mark.parametrize("eps", [0.03, 0.7, 2.5])
def test_value_on_a_gaussian_at_every_eps(shape, eps):
    """d a^2 (v'x)^2 / (2 eps^2) - a d of each point, a^2 d/2 - a d on average, with the derivative d (a - 1)."""
    d, model, fd = prod(shape), Model(Quadratic(), event_ndim=len(shape), stacked=False), FiniteDifferenceScoreMatching(eps)
    x = spread_points(shape, 2400)
    aux, _, _ = fd.prepare(model, {}, {}, x, Rng(0))
    along = (aux["difference"] * x).flatten(1).sum(-1)
    for a in (0.6, 1.0, 1.7):
        leaf = torch.tensor(a, requires_grad=True)
        loss, info = fd.loss(model, {"a": leaf}, x, aux)
        torch.testing.assert_close(loss, d * a * a * along.square() / (2 * eps**2) - a * d, atol=1e-9, rtol=1e-9)
        torch.testing.assert_close(info["energy"], a * x.flatten(1).square().sum(-1) / 2)
        assert_mean(loss, a * a * d / 2 - a * d)
        (gradient,) = torch.autograd.grad(loss.mean(), leaf)
        torch.testing.assert_close(gradient, (d * a * along.square() / eps**2 - d).mean(), atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("shape", [(1,), (3,), (2, 2)])
def test_differences_are_uniform_on_the_sphere_of_radius_eps(shape):
    """The radius is eps, not eps sqrt(d); E v = 0, E v v' = eps^2 / d I, and the fourth moment is 3 eps^4 / (d (d + 2))."""
    eps, d, x = 0.7, prod(shape), torch.zeros(20_000, *shape)
    model = Model(Quadratic(), event_ndim=len(shape), stacked=False)
    v = FiniteDifferenceScoreMatching(eps).prepare(model, {}, {}, x, Rng(0))[0]["difference"].flatten(1)
    torch.testing.assert_close(v.norm(dim=-1), torch.full((20_000,), eps))
    for i in range(d):
        assert_mean(v[:, i], 0.0)
        assert_mean(v[:, i] ** 4, 3 * eps**4 / (d * (d + 2)))
        for j in range(d):
            assert_mean(v[:, i] * v[:, j], eps**2 / d * (i == j))


def test_value_on_a_skewed_distribution_at_a_large_eps():
    """With w = e^b exp(-x): ((k eps - w sinh eps)^2 / 2 - 2 w (cosh eps - 1)) / eps^2, with exp(-x) ~ Gamma(2) by exact quadrature."""
    (x, weights), model, eps = log_gamma_nodes(2), Model(LogGamma(), event_ndim=1, stacked=False), 0.7
    fd = FiniteDifferenceScoreMatching(eps)
    aux, _, _ = fd.prepare(model, {}, {}, x, Rng(0))
    for k, b in ((2.0, 0.0), (1.4, 0.3), (2.7, -0.2)):
        e = torch.tensor(b).exp()
        loss = fd.loss(model, {"k": torch.tensor(k), "b": torch.tensor(b)}, x, aux)[0] @ weights
        square = (k * eps) ** 2 - 4 * k * eps * e * sinh(eps) + 6 * (e * sinh(eps)) ** 2
        torch.testing.assert_close(loss, (square / 2 - 4 * e * (cosh(eps) - 1)) / eps**2)


def test_tends_to_the_plain_form_of_sliced_score_matching():
    """With the same directions the difference decreases as eps^2."""
    model, x, params = Model(Coupled(), event_ndim=1, stacked=False), Rng(1).normal("x", 50, 2), {"a": torch.tensor(0.7)}
    errors = []
    for eps in (0.02, 0.01):
        fd = FiniteDifferenceScoreMatching(eps)
        aux, _, _ = fd.prepare(model, params, {}, x, Rng(2))
        directions = {"directions": 2**0.5 / eps * aux["difference"].unsqueeze(0)}
        plain = SlicedScoreMatching("sphere", 1, False).loss(model, params, x, directions)[0]
        errors.append(fd.loss(model, params, x, aux)[0] - plain)
        assert (errors[-1].abs() < 100 * eps**2 * (1 + plain.abs())).all()
    assert abs(errors[0].norm() / errors[1].norm() - 4) < 0.05
