"""Implicit score matching against closed forms: there are no draws, and all tolerances are for rounding."""

from math import prod

import pytest
import torch
from targets import Coupled, CoupledScore, LogGamma, Quadratic, log_gamma_nodes, spread_points

from ebm_cli.core.model import Model
from ebm_cli.core.rng import Rng
from ebm_cli.objectives.ism import ImplicitScoreMatching

pytestmark = pytest.mark.usefixtures("double")

ISM = ImplicitScoreMatching()


@pytest.mark.parametrize("shape", [(1,), (3,), (2, 2)])
@pytest.mark.parametrize("a", [0.6, 1.0, 1.7])
def test_value_and_gradient_on_a_gaussian(shape, a):
    """a^2 d/2 - a d, with the derivative d (a - 1) and the minimum -d/2 at the truth."""
    d, leaf = prod(shape), torch.tensor(a, requires_grad=True)
    loss, _ = ISM.loss(Model(Quadratic(), event_ndim=len(shape), stacked=False), {"a": leaf}, spread_points(shape, 4 * d), {})
    (gradient,) = torch.autograd.grad(loss.mean(), leaf)
    torch.testing.assert_close(loss, torch.full((4 * d,), a * a * d / 2 - a * d))
    torch.testing.assert_close(gradient, torch.tensor(d * (a - 1.0)))


def test_value_and_gradient_on_a_skewed_distribution():
    """For u = exp(-x) ~ Gamma(2): 1/2 E (u e^b - k)^2 - e^b E u = 3 e^{2b} - 2 k e^b + k^2/2 - 2 e^b, with minimum -1 at k = 2, b = 0."""
    (x, weights), model = log_gamma_nodes(2), Model(LogGamma(), event_ndim=1, stacked=False)
    for k, b in ((2.0, 0.0), (1.4, 0.0), (2.0, 0.3), (2.0, -0.4), (3.1, 0.2)):
        params = {"k": torch.tensor(k, requires_grad=True), "b": torch.tensor(b, requires_grad=True)}
        loss = ISM.loss(model, params, x, {})[0] @ weights
        e = torch.tensor(b).exp()
        torch.testing.assert_close(loss.detach(), 3 * e * e - 2 * k * e + k * k / 2 - 2 * e)
        gradient = torch.stack(torch.autograd.grad(loss, params.values()))
        torch.testing.assert_close(gradient, torch.stack([k - 2 * e, 6 * e * e - 2 * k * e - 2 * e]))


@pytest.mark.parametrize("module", [Coupled, CoupledScore])
@pytest.mark.parametrize("shape", [(2,), (2, 1)])
def test_loss_is_that_of_the_explicit_jacobian(module, shape):
    x, score = Rng(1).normal("x", 4, *shape), CoupledScore()
    jacobians = [torch.autograd.functional.jacobian(lambda point: score(point[None])[0].flatten(), point) for point in x]
    jacobian = torch.stack([part.reshape(2, 2) for part in jacobians])
    expected = jacobian.diagonal(dim1=1, dim2=2).sum(-1) + score(x).flatten(1).square().sum(-1) / 2
    loss, _ = ISM.loss(Model(module(), event_ndim=len(shape), stacked=False), {"a": torch.tensor(0.7)}, x, {})
    torch.testing.assert_close(loss, expected.detach())


def test_a_stack_gives_every_model_its_own_loss():
    a, x = torch.tensor([0.5, 2.0]), Rng((3, 4)).normal("x", 6, 2)
    stacked = Model(Coupled(), event_ndim=1, stacked=True)
    together, _ = ISM.loss(stacked, {"a": a}, x, {})
    for m in range(2):
        torch.testing.assert_close(together[m], ISM.loss(stacked.alone(), {"a": a[m]}, x[m], {})[0])
