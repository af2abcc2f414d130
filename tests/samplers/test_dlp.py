"""The discrete Langevin proposal: its formula, its own stationary distribution, and the acceptance of dmala. All draws are seeded."""

import pytest
import torch
from finite import FALSE_ALARM, N, Target, p_value
from torch.nn.functional import logsigmoid

from ebm_cli.core import chain
from ebm_cli.core.rng import Rng
from ebm_cli.core.states import number
from ebm_cli.samplers.dlp import DMALA, DiscreteLangevin

pytestmark = pytest.mark.usefixtures("double")


def log_proposal(target, alpha):
    """log q(x' | x) for all pairs of states, (S, S), written with a loop over the bits."""
    x = target.states.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(target.model.energy(target.params, x).sum(), x)
    x, d = x.detach().flatten(1), ((2 * x.detach() - 1) * gradient).flatten(1)
    total = torch.zeros(len(x), len(x))
    for i in range(x.shape[1]):
        log_odds = (0.5 * d[:, i] - 0.5 / alpha).unsqueeze(1)
        total += torch.where(x[:, i].unsqueeze(1) != x[:, i], logsigmoid(log_odds), logsigmoid(-log_odds))
    return total


def test_dlp_has_the_stationary_distribution_of_its_transition_matrix_and_not_that_of_the_model():
    """The matrix has 1,024 states. Chains keep its stationary vector in a chi-square test, and leave the distribution of the model."""
    target, alpha = Target("perceptron"), 0.5
    matrix = log_proposal(target, alpha).exp()
    torch.testing.assert_close(matrix.sum(1), torch.ones(1024))
    model, stationary = target.p, matrix.matrix_power(1 << 12)[0]
    target.p = stationary
    x, _ = target.moved(DiscreteLangevin(alpha), 20)
    assert target.p_value(x) > FALSE_ALARM
    assert p_value(number(x, target.space), model) < FALSE_ALARM


def test_dmala_accepts_with_the_probability_of_metropolis_and_hastings():
    """log alpha = E(x) - E(x') + log q(x | x') - log q(x' | x): accepted for a uniform slightly below, rejected slightly above."""
    target, alpha = Target("perceptron"), 0.7
    log_q, kernel = log_proposal(target, alpha), DMALA(alpha)
    x = target.draw(200)
    state = kernel.init(target.model, target.params, x)
    u = Rng(5).uniform("u", 200, 10)
    proposal, _, _ = kernel._propose(state, u)
    before, after = number(x, target.space), number(proposal, target.space)
    energy = target.model.energy(target.params, target.states).detach()
    log_alpha = energy[before] - energy[after] + log_q[after, before] - log_q[before, after]
    assert (before != after).double().mean() > 0.5
    for hair, accepted in ((-1e-9, True), (1e-9, False)):
        moved, info = kernel.step(target.model, target.params, state, (u, log_alpha + hair))
        assert (info["acceptance_rate"] == accepted).all()
        assert torch.equal(moved.x, proposal if accepted else x)


@pytest.mark.parametrize("target", ["ising_critical", "rbm"])
def test_the_error_of_dlp_vanishes_with_the_step_size(target):
    """The mean energy of 4,000 chains: within five standard errors for a small alpha, and not for a large one."""
    target = Target(target)
    energy = target.model.energy(target.params, target.states).detach()
    exact = (target.p * energy).sum()
    off = []
    for alpha, n_steps in ((0.1, 400), (1.0, 20)):
        x, _ = chain.run(DiscreteLangevin(alpha), target.model, target.params, target.draw(), Rng(3), n_steps=n_steps)
        found = target.model.energy(target.params, x).detach()
        off.append(((found.mean() - exact) / (found.std() / N**0.5)).abs().item())
    assert off[0] < 5 < off[1]
