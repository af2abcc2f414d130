"""Pseudo-likelihood and ratio matching against sums over all states of a few bits or categories."""

import math

import pytest
import torch
from discrete import SPACES, Table, gradient_of
from torch.nn.functional import softplus

from ebm_cli.core.model import Model
from ebm_cli.core.rng import Rng
from ebm_cli.core.states import levels, n_states, states
from ebm_cli.objectives.pseudo_likelihood import PseudoLikelihood
from ebm_cli.objectives.ratio_matching import RatioMatching

pytestmark = pytest.mark.usefixtures("double")

OBJECTIVES = {"pseudo_likelihood": PseudoLikelihood(), "ratio_matching": RatioMatching()}
CASES = [(space, name) for space in SPACES for name in OBJECTIVES if space == "bits" or name == "pseudo_likelihood"]


def conditionals(value, space):
    """log p(x_i | the other coordinates) at every state, (N, D), by sums over tables."""
    joint = (-value).log_softmax(0).view(levels(space, math.prod(space.shape)))
    return torch.stack([(joint - joint.logsumexp(i, keepdim=True)).flatten() for i in range(joint.ndim)], -1)


@pytest.mark.parametrize("space", SPACES)
def test_the_loss_is_minus_the_sum_of_the_conditionals(space):
    space = SPACES[space]
    module = Table(space)
    model, x = Model(module, event_ndim=len(space.shape), stacked=False, space=space), states(space)
    aux, _, _ = OBJECTIVES["pseudo_likelihood"].prepare(model, {}, {}, x, Rng(0))
    loss, info = OBJECTIVES["pseudo_likelihood"].loss(model, {"value": module.value}, x, aux)
    torch.testing.assert_close(loss, -conditionals(module.value, space).sum(-1))
    torch.testing.assert_close(info["energy"], module.value)


def test_the_loss_of_ratio_matching():
    """sum_i (1 - p(x_i | the other bits))^2 = sum_i g(p(x) / p(x^i))^2 with g(r) = 1 / (1 + r)."""
    space = SPACES["bits"]
    module = Table(space)
    model, x = Model(module, event_ndim=2, stacked=False, space=space), states(space)
    aux, _, _ = OBJECTIVES["ratio_matching"].prepare(model, {}, {}, x, Rng(0))
    loss, _ = OBJECTIVES["ratio_matching"].loss(model, {"value": module.value}, x, aux)
    torch.testing.assert_close(loss, (1 - conditionals(module.value, space).exp()).square().sum(-1))


@pytest.mark.parametrize(("space", "name"), CASES)
def test_the_loss_is_minimal_at_the_truth(space, name):
    """For data with any distribution p, the gradient vanishes at E = -log p, and the loss grows on both sides of every state's energy."""
    space, objective = SPACES[space], OBJECTIVES[name]
    truth = Table(space, seed=1).value.detach()
    p = (-truth).softmax(0)
    loss, gradient = gradient_of(objective, space, truth, p)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), atol=1e-12, rtol=0)
    for k in range(0, n_states(space), 3):
        for step in (-0.3, 0.3):
            moved = truth.clone()
            moved[k] += step
            above, slope = gradient_of(objective, space, moved, p)
            assert above > loss
            assert slope[k] * step > 0


def test_bits_by_hand():
    """Independent bits of log odds a: softplus(-a) for a one and softplus(a) for a zero, whatever the others are."""
    a = torch.tensor([0.4, -1.1, 2.0])

    class Odds(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.a = torch.nn.Parameter(a)

        def forward(self, x):
            return -x @ self.a

    model, x = Model(Odds(), event_ndim=1, stacked=False), torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    for name, of_bit in (("pseudo_likelihood", softplus), ("ratio_matching", lambda t: torch.sigmoid(t).square())):
        aux, _, _ = OBJECTIVES[name].prepare(model, {}, {}, x, Rng(0))
        loss, _ = OBJECTIVES[name].loss(model, {"a": a}, x, aux)
        torch.testing.assert_close(loss, of_bit(a * (1 - 2 * x)).sum(-1))
