"""Log-densities as energies use them: in single precision, with tensors as parameters, under vmap, differentiable in x and parameters."""

import math

import pytest
import torch
from torch.distributions import MultivariateNormal

from ebm_cli.core import log_densities
from ebm_cli.core.rng import Rng

CENTRE, LOG_WEIGHT = torch.tensor([[-2.0, 1.0], [1.0, 0.5], [0.5, -3.0]]), torch.tensor([0.2, 0.5, 0.3]).log()
LAWS = {
    "mixture": lambda x, a: log_densities.mixture(x, CENTRE.to(x), LOG_WEIGHT.to(x), a),
    "funnel": log_densities.funnel,
    "banana": lambda x, a: log_densities.banana(x, a, 0.3),
    "banana, bent": lambda x, a: log_densities.banana(x, 1.3, a),
}


@pytest.mark.parametrize("name", LAWS)
def test_parameters_may_be_tensors_that_differ_between_models(name):
    x, a = Rng(0).normal("x", 3, 20, 2), torch.tensor([0.4, 0.9, 1.6])
    stacked = torch.vmap(LAWS[name])(x, a)
    assert stacked.dtype == torch.float
    for m in range(3):
        torch.testing.assert_close(stacked[m], LAWS[name](x[m], a[m].item()))
    assert torch.autograd.gradcheck(LAWS[name], (x[0].double().requires_grad_(), torch.tensor(0.7).double().requires_grad_()))


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.parametrize("a", [0.4, 0.7])
def test_all_are_normalized(name, a):
    """Their integrals are computed by the trapezoid rule on a grid that extends far beyond the mass."""
    axes = (torch.linspace(-9, 9, 901, dtype=torch.double), torch.linspace(-60, 60, 4001, dtype=torch.double))
    x = torch.cartesian_prod(*axes)
    assert LAWS[name](x, a).exp().sum() * 0.02 * 0.03 == pytest.approx(1, abs=1e-6)


def test_components_may_have_different_widths():
    """The log-density agrees with torch, also far out."""
    std = torch.tensor([0.3, 1.0, 2.5])
    x = torch.cat([Rng(0).normal("x", 10, 2), 1e3 * Rng(1).normal("x", 3, 2)]).double()
    terms = [MultivariateNormal(c.double(), s.double() ** 2 * torch.eye(2).double()).log_prob(x) for c, s in zip(CENTRE, std, strict=True)]
    exact = torch.logsumexp(torch.stack(terms, -1) + LOG_WEIGHT.double(), -1)
    torch.testing.assert_close(log_densities.mixture(x, CENTRE.double(), LOG_WEIGHT.double(), std), exact, rtol=1e-6, atol=1e-6)


def test_neals_funnel_at_the_origin():
    """The density is a product of ten normal densities at 0, the first of which is three times as wide."""
    assert log_densities.funnel(torch.zeros(10), 3.0).item() == pytest.approx(-5 * math.log(2 * math.pi) - math.log(3), abs=1e-5)
