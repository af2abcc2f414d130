"""The pseudo-likelihood of held-out events against conditionals by hand, also in parts."""

import math

import pytest
import torch
from contexts import context_of
from discrete import SPACES, Table
from torch import nn

from ebm_cli.core.contracts import Dataset
from ebm_cli.core.states import levels, states
from ebm_cli.metrics import pseudo_likelihood
from ebm_cli.metrics.pseudo_likelihood import PseudoLikelihood
from ebm_cli.types import Batch

pytestmark = pytest.mark.usefixtures("double")


class Held(Dataset):
    """The first 11 states of a space are the test events."""

    n_train = 5

    def __init__(self, kind):
        self.space = SPACES[kind]
        self.provides = frozenset({self.space.kind})

    def split(self, name, n, rng):
        return Batch(states(self.space)[: min(11, n) if name == "test" else 5])


class Factors(nn.Module):
    """Independent bits with the log odds a."""

    def __init__(self):
        super().__init__()
        self.a = nn.Parameter(torch.tensor([0.4, -1.0, 2.0, 0.3]))

    def forward(self, x):
        return -x.flatten(1) @ self.a


@pytest.mark.parametrize("at_once", [1 << 22, 40])
@pytest.mark.parametrize("kind", SPACES)
def test_the_mean_over_events_of_the_sum_of_conditionals(kind, at_once, monkeypatch):
    monkeypatch.setattr(pseudo_likelihood, "AT_ONCE", at_once)
    module, space = Table(SPACES[kind]), SPACES[kind]
    joint = (-module.value.detach()).view(levels(space, math.prod(space.shape)))
    log_p = sum((joint - joint.logsumexp(i, keepdim=True)).flatten() for i in range(joint.ndim))
    found = PseudoLikelihood(n_points=100)(context_of(module, Held(kind)))
    assert found == {"pseudo_nll": pytest.approx(-log_p[:11].mean().item())}


def test_for_independent_bits_it_is_the_nll():
    """E + log Z with log Z = sum_i log(1 + e^a_i)."""
    module, held = Factors(), Held("bits")
    nll = module(states(held.space)[:7]) + torch.nn.functional.softplus(module.a).sum()
    assert PseudoLikelihood(n_points=7)(context_of(module, held))["pseudo_nll"] == pytest.approx(nll.mean().item())
