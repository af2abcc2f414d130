"""Random-walk Metropolis: the textbook acceptance probability, and exactness. All draws are seeded."""

import math

import pytest
import torch
from exactness import FALSE_ALARM, TARGETS, Gaussian, Gumbel, TwoModes, moved, p_value, parts

from ebm_cli.core.rng import Rng
from ebm_cli.samplers.mh import MetropolisHastings

pytestmark = pytest.mark.usefixtures("double")

STEP_SIZE = {Gaussian: 0.8, Gumbel: 2.0, TwoModes: 0.8}


@pytest.mark.parametrize("shape", [(1,), (1, 1)])
def test_step_formula_on_a_skewed_target(shape):
    """x' = x + tau z; log alpha = E(x) - E(x'): accepted for a uniform slightly below, rejected slightly above."""
    model, params = parts(Gumbel(), event_ndim=len(shape))
    mh, x, z = MetropolisHastings(0.7), Rng(0).normal("x", 50, *shape), Rng(0).normal("z", 50, *shape)
    proposal = x + 0.7 * z
    log_alpha = model.energy(params, x) - model.energy(params, proposal)
    state = mh.init(model, params, x)
    for hair, accepted in ((-1e-9, True), (1e-9, False)):
        after, info = mh.step(model, params, state, (z, log_alpha + hair))
        assert (info["acceptance_rate"] == accepted).all()
        torch.testing.assert_close(after.x, proposal if accepted else x)
        torch.testing.assert_close(after.energy, model.energy(params, after.x))


@pytest.mark.parametrize("target", TARGETS)
def test_exact(target):
    """Chains that start at exact draws remain exact draws: F(x) is uniform after 20 moves. One false alarm in 1e6."""
    module = target()
    x, info = moved(MetropolisHastings(STEP_SIZE[target]), module, n_steps=20)
    assert 0.2 < info["acceptance_rate"].double().mean() < 0.8
    assert p_value(module, x) > FALSE_ALARM


def test_a_proposal_without_a_finite_energy_is_rejected_and_counted():
    model, params = parts(Gumbel())
    mh, x = MetropolisHastings(1.0), torch.tensor([[0.5], [0.5], [0.5]])
    state = mh.init(model, params, x)
    after, info = mh.step(model, params, state, (torch.tensor([[-1e4], [math.nan], [0.1]]), torch.full((3,), -1e300)))
    assert info["acceptance_rate"].tolist() == [False, False, True]
    assert info["divergence"].tolist() == [True, True, False]
    torch.testing.assert_close(after.x, torch.tensor([[0.5], [0.5], [0.6]]))
    assert after.energy.isfinite().all()
