"""Chains that start where p = 0 reach the support, and samples follow the distribution. Seeded; chi-squared tests at 1e-6."""

import pytest
import torch
from scipy.stats import chisquare
from torch import nn

from ebm_cli.core import chain
from ebm_cli.core.chain import Draws
from ebm_cli.core.model import Model
from ebm_cli.core.rng import Rng
from ebm_cli.samplers.hmc import HMC
from ebm_cli.samplers.mala import MALA
from ebm_cli.samplers.mh import MetropolisHastings
from ebm_cli.samplers.tempering import Tempering

SAMPLERS = [MetropolisHastings(0.5), MALA(0.1, None), HMC(0.3, 3, 1.0, 0.1), Tempering(0.05, 3, 10.0)]


class Interval(nn.Module):
    """Uniform on [0, 1]."""

    def __init__(self):
        super().__init__()
        self.height = nn.Parameter(torch.zeros(()))

    def forward(self, x):
        inside = ((x >= 0) & (x <= 1)).all(-1)
        return self.height * x.sum(-1) + torch.where(inside, 0.0, torch.inf)


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda sampler: type(sampler).__name__)
def test_chains_that_start_outside_the_support(sampler):
    model, n = Model(Interval(), event_ndim=1, stacked=False), 2000
    x = torch.linspace(-1.5, 2.5, n).unsqueeze(-1)
    samples, _ = chain.draw(sampler, model, {"height": torch.zeros(())}, x, Rng(0), Draws(n, n, 400))
    inside = samples[(samples >= 0) & (samples <= 1)]
    assert len(inside) > 0.8 * n  # a quarter starts inside; outside there is no drift, and a few chains move away
    assert chisquare(torch.histc(inside, 10, 0, 1).numpy()).pvalue > 1e-6


def test_a_proposal_with_a_nan_energy_is_never_accepted():
    class Broken(Interval):
        def forward(self, x):
            return self.height * x.sum(-1) + torch.where(x.sum(-1) > 5, torch.inf, torch.nan)

    model, x = Model(Broken(), event_ndim=1, stacked=False), torch.full((50, 1), 5.01)
    state = MetropolisHastings(3.0).init(model, {"height": torch.zeros(())}, x)
    for noise in chain.noises(MetropolisHastings(3.0), state, Rng(0), 20):
        state, _ = MetropolisHastings(3.0).step(model, {"height": torch.zeros(())}, state, noise)
    assert (state.energy == torch.inf).all()
