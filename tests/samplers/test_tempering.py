"""Parallel tempering: textbook moves and swaps, exactness, and modes between which mala does not move. All draws are seeded."""

import pytest
import torch
from exactness import FALSE_ALARM, TARGETS, Gaussian, Gumbel, N, TwoModes, p_value, parts
from scipy.stats import binomtest, ks_2samp

from ebm_cli.core import chain
from ebm_cli.core.model import Model
from ebm_cli.core.rng import Rng
from ebm_cli.core.wrappers import Tempered
from ebm_cli.samplers.mala import MALA
from ebm_cli.samplers.tempering import Tempering

pytestmark = pytest.mark.usefixtures("double")

STEP_SIZE = {Gaussian: 0.25, Gumbel: 1.0, TwoModes: 0.15}


def placed(sampler, model, params, replicas):
    """The state with the given replicas, (K, B, *d)."""
    state = sampler.init(model, params, replicas[0])
    energy, score = model.energy_and_score(params, replicas.flatten(0, 1))
    return state._replace(replicas=replicas, energy=energy.view(state.energy.shape), score=score.view(replicas.shape))


def test_temperatures_are_geometric_and_replicas_start_at_x():
    model, params = parts(Gumbel())
    x = Rng(0).normal("x", 6, 1)
    state = Tempering(0.1, 4, 8.0).init(model, params, x)
    torch.testing.assert_close(1 / state.beta, torch.tensor([1.0, 2.0, 4.0, 8.0]))
    assert torch.equal(state.replicas, x.expand(4, 6, 1))
    assert torch.equal(state.x, x)


@pytest.mark.parametrize("shape", [(1,), (1, 1)])
def test_each_replica_moves_as_mala_at_its_temperature_with_the_step_scaled_by_it(shape):
    model, params = parts(Gumbel(), event_ndim=len(shape))
    sampler, replicas, rng = Tempering(0.6, 3, 9.0), 2 * Rng(1).normal("x", 3, 40, *shape), Rng(0)
    state = placed(sampler, model, params, replicas)
    z, log_uniform, _ = (part[0] for part in sampler.noise(rng, state, 1))
    never = torch.full((2, 40), torch.inf)
    after, info = sampler.step(model, params, state, (z, log_uniform, never))
    rates = []
    for k, temperature in enumerate((1.0, 3.0, 9.0)):
        mala, tempered = MALA(0.6 * temperature, None), Tempered(model, temperature)
        alone, alone_info = mala.step(tempered, params, mala.init(tempered, params, replicas[k]), (z[k], log_uniform[k]))
        torch.testing.assert_close(after.replicas[k], alone.x)
        torch.testing.assert_close(after.energy[k], alone.energy * temperature)
        torch.testing.assert_close(after.score[k], alone.score * temperature)
        rates.append(alone_info["acceptance_rate"].double())
    assert 0.1 < torch.stack(rates).mean() < 0.9
    torch.testing.assert_close(info["acceptance_rate"], torch.stack(rates).mean(0))
    assert not info["swap_rate"].any()


def test_swaps_are_those_of_the_textbook_and_may_pass_through_all_temperatures():
    """(beta_i - beta_j) (E_i - E_j), the hottest pair first: swapped for a uniform slightly below, not slightly above."""
    model, params = parts(Gumbel())
    sampler, replicas = Tempering(0.3, 3, 9.0), torch.tensor([0.8, 1.9, 3.5]).view(3, 1, 1).repeat(1, 4, 1)
    state = placed(sampler, model, params, replicas)
    e0, e1, e2 = (model.energy(params, replica[:1]).item() for replica in replicas)
    hot, cold = (1 / 3 - 1 / 9) * (e1 - e2), (1 - 1 / 3) * (e0 - e2)  # cold: after the swap of the hot pair
    cold_only = (1 - 1 / 3) * (e0 - e1)
    below, above = -1e-9, 1e-9
    cold_pair = [cold + below, cold + above, cold_only + below, cold_only + above]
    log_swap = torch.tensor([cold_pair, [hot + below, hot + below, hot + above, hot + above]])
    noise = torch.zeros(3, 4, 1), torch.full((3, 4), torch.inf), log_swap  # all moves are rejected
    after, info = sampler.step(model, params, state, noise)
    expected = [[3.5, 0.8, 1.9], [0.8, 3.5, 1.9], [1.9, 0.8, 3.5], [0.8, 1.9, 3.5]]
    assert after.replicas[..., 0].T.tolist() == expected
    assert info["swap_rate"].tolist() == [1.0, 0.5, 0.5, 0.0]
    energy, score = model.energy_and_score(params, after.replicas.flatten(0, 1))
    torch.testing.assert_close(after.energy.flatten(), energy)
    torch.testing.assert_close(after.score.flatten(0, 1), score)
    assert torch.equal(after.x, after.replicas[0])


@pytest.mark.parametrize("target", TARGETS)
def test_exact_at_every_temperature(target):
    """Replicas that start at exact draws remain exact: F(x) is uniform at temperature 1, and hot replicas agree with new draws.

    The temperatures are close, so that many swaps are accepted. One false alarm in 1e6 each.
    """
    module, sampler = target(), Tempering(STEP_SIZE[target], 3, 4.0)
    model, params = parts(module)
    state = placed(sampler, model, params, torch.stack([module.draw(N, 2.0**k, seed=k) for k in range(3)]))
    acceptance, swaps = torch.zeros(N), torch.zeros(N)
    for noise in chain.noises(sampler, state, Rng(2), 12):
        state, info = sampler.step(model, params, state, noise)
        acceptance, swaps = acceptance + info["acceptance_rate"] / 12, swaps + info["swap_rate"] / 12
    assert 0.2 < acceptance.mean() < 0.9
    assert 0.3 < swaps.mean() < 0.95
    assert p_value(module, state.x) > FALSE_ALARM
    for k in (1, 2):
        fresh = module.draw(N, 2.0**k, seed=10 + k)
        for w in module.projections:
            assert ks_2samp((state.replicas[k] @ torch.tensor(w)).numpy(), (fresh @ torch.tensor(w)).numpy()).pvalue > FALSE_ALARM


def test_it_crosses_between_modes_and_mala_does_not():
    """All chains start in one of two modes, 20 standard deviations apart; the other mode has weight 0.3. One false alarm in 1e6."""
    model, params = parts(TwoModes(4.0))
    x, n = torch.full((400, 1), -4.0), 400
    stuck, _ = chain.run(MALA(0.15, None), model, params, x, Rng(0), n_steps=800)
    crossed, info = chain.run(Tempering(0.15, 5, 30.0), model, params, x, Rng(0), n_steps=800)
    assert not (stuck > 0).any()
    assert binomtest((crossed > 0).sum().item(), n, 0.3).pvalue > FALSE_ALARM
    assert info["swap_rate"].mean() > 0.2


def test_a_proposal_without_a_finite_energy_is_rejected_and_counted():
    model, params = parts(Gumbel())
    sampler, x = Tempering(0.5, 2, 4.0), torch.full((2, 1), 0.5)
    z = torch.tensor([[[-1e4], [0.1]], [[0.2], [0.1]]])
    after, info = sampler.step(
        model, params, sampler.init(model, params, x), (z, torch.full((2, 2), -1e300), torch.full((1, 2), torch.inf))
    )
    assert info["divergence"].tolist() == [0.5, 0.0]
    assert info["acceptance_rate"].tolist() == [0.5, 1.0]
    assert after.energy.isfinite().all()
    assert after.x[0] == 0.5


def test_each_model_of_a_stack_moves_as_the_single_model():
    sampler, factors = Tempering(0.3, 3, 4.0), torch.stack([torch.eye(2), torch.tensor([[2.0, 0.0], [1.0, 0.5]])])
    stacked, x = Model(Gaussian(), event_ndim=1, stacked=True), Rng((3, 4)).normal("x", 30, 2)
    together, info = chain.run(sampler, stacked, {"factor": factors}, x, Rng((3, 4)), n_steps=8)
    for m, seed in enumerate((3, 4)):
        alone, info_alone = chain.run(sampler, stacked.alone(), {"factor": factors[m]}, x[m], Rng(seed), n_steps=8)
        torch.testing.assert_close(together[m], alone)
        torch.testing.assert_close(info["swap_rate"][m], info_alone["swap_rate"])
