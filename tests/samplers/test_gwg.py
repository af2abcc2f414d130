"""Gibbs with gradients: its proposal and its acceptance, against explicit formulas. Exactness is tested in test_exact_on_states.py."""

import pytest
import torch
from finite import Target

from ebm_cli.core.rng import Rng
from ebm_cli.samplers.gwg import GibbsWithGradients
from ebm_cli.samplers.transitions import gain

pytestmark = pytest.mark.usefixtures("double")


def test_the_gain_of_an_energy_that_is_linear_in_each_bit_is_the_decrease_of_the_energy():
    """d_i = E(x) - E(x with bit i flipped)."""
    target = Target("ising_critical")
    x = target.draw(50)
    _, score = target.model.energy_and_score(target.params, x)
    differences = target.model.call(target.params, "flip_differences", x).detach()
    torch.testing.assert_close(gain(x, score).flatten(1), -differences, atol=1e-6, rtol=0)


def proposals(target, x):
    """log q(i | x) = log softmax(d / 2)_i, with d from finite gradients, (B, D)."""
    x = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(-target.model.energy(target.params, x).sum(), x)
    return (-(2 * x.detach() - 1) * gradient / 2).flatten(1).log_softmax(1)


def test_the_flipped_bit_and_its_acceptance():
    target, kernel = Target("perceptron"), GibbsWithGradients(1)
    x, u = target.draw(300), Rng(0).uniform("u", 300, 1)
    log_q, state = proposals(target, x), kernel.init(target.model, target.params, x)
    site = torch.searchsorted(log_q.exp().cumsum(1), u, right=True)
    proposal = x.clone().scatter(1, site, 1 - x.gather(1, site))
    energy = [target.model.energy(target.params, points).detach() for points in (x, proposal)]
    back = proposals(target, proposal).gather(1, site).squeeze(1) - log_q.gather(1, site).squeeze(1)
    log_alpha = energy[0] - energy[1] + back
    for hair, accepted in ((-1e-9, True), (1e-9, False)):
        after, info = kernel.step(target.model, target.params, state, (u, (log_alpha + hair).unsqueeze(1)))
        assert (info["flip_rate"] == float(accepted)).all()
        assert torch.equal(after.x, proposal if accepted else x)
        torch.testing.assert_close(after.energy, energy[int(accepted)])


def test_gradients_make_proposals_that_are_accepted():
    """On a lattice at high temperature most proposals are accepted, as in the limit of equal q; flips at random bits are not."""
    target = Target("ising_hot")
    _, info = target.moved(GibbsWithGradients(5), 3)
    assert info["flip_rate"].mean() > 0.8
