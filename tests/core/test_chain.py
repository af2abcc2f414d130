"""The loop over transitions: which draws are kept, the adaptation of the step size, the random numbers."""

import math
from dataclasses import dataclass, field

import pytest
import torch
from targets import Quadratic

from ebm_cli.core import chain
from ebm_cli.core.chain import BLOCK, Draws
from ebm_cli.core.contracts import Sampler
from ebm_cli.core.fitted_reference import FittedReference
from ebm_cli.core.model import Model
from ebm_cli.core.rng import Rng
from ebm_cli.references.gaussian import Gaussian
from ebm_cli.samplers.hmc import HMC
from ebm_cli.samplers.langevin import Langevin, State
from ebm_cli.samplers.mala import MALA
from ebm_cli.samplers.mh import MetropolisHastings
from ebm_cli.samplers.sgld import SGLD
from ebm_cli.samplers.tempering import Tempering

pytestmark = pytest.mark.usefixtures("double")


@dataclass(frozen=True)
class Clock(Sampler):
    """A sampler whose x and info are the number of transitions so far."""

    def init(self, model, params, x):
        return State(x, x.new_ones(model.model_shape(params)))

    def noise(self, rng, state, n_steps):
        return (rng.normal("clock", n_steps, *state.x.shape[state.step_size.ndim :]),)

    def step(self, model, params, state, noise):
        x = state.x + 1
        return state._replace(x=x), {"time": x.flatten(state.step_size.ndim + 1)[..., 0]}


@dataclass(frozen=True)
class Recorded(MALA):
    """MALA that records the step size and the acceptance of every transition."""

    seen: list = field(default_factory=list)

    def step(self, model, params, state, noise):
        after, info = super().step(model, params, state, noise)
        self.seen.append((state.step_size.clone(), info["acceptance_rate"].double().mean(-1)))
        return after, info


def model_of(*, stacked=False, event_ndim=1):
    return Model(Quadratic(), event_ndim=event_ndim, stacked=stacked)


@pytest.mark.parametrize("m", [(), (3,)])
@pytest.mark.parametrize("shape", [(2,), (1, 2)])
def test_shapes_of_draws(m, shape):
    model, seeds = model_of(stacked=bool(m), event_ndim=len(shape)), (0, 1, 2) if m else 0
    params, x = {"a": torch.ones(m)}, torch.zeros(*m, 4, *shape)
    samples, info = chain.draw(MALA(0.5, None), model, params, x, Rng(seeds), Draws(n_samples=10, n_chains=4, n_steps=20))
    assert samples.shape == (*m, 4, 3, *shape)  # 12 draws, of which 10 are needed
    assert info["acceptance_rate"].shape == info["step_size"].shape == m


def test_draws_are_spread_evenly_over_the_second_half_up_to_its_end():
    samples, info = chain.draw(Clock(), model_of(), {"a": torch.ones(())}, torch.zeros(2, 1), Rng(0), Draws(10, 2, 40))
    assert samples[..., 0].tolist() == [[24.0, 28.0, 32.0, 36.0, 40.0]] * 2
    assert info["time"] == sum(range(21, 41)) / 20


def test_chains_are_extended_if_more_draws_are_needed_than_transitions_remain():
    samples, _ = chain.draw(Clock(), model_of(), {"a": torch.ones(())}, torch.zeros(2, 1), Rng(0), Draws(14, 2, 6))
    assert samples[..., 0].tolist() == [[4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0]] * 2


ADAPTIVE = {
    "mh": MetropolisHastings,
    "mala": lambda length: MALA(length**2, None),
    "hmc": lambda length: HMC(length, 3, 2.0, 0.1),
    "tempering": lambda length: Tempering(length**2, 3, 4.0),
}


@pytest.mark.parametrize("start", [0.03, 5.0])
@pytest.mark.parametrize("name", ADAPTIVE)
def test_a_poor_step_size_is_adapted_to_the_target_acceptance(name, start):
    """This holds for each model of a stack, with precisions 3 and 300.

    The 200 x 200 decisions after the warm-up have a Monte Carlo error below 0.003; the rest of the tolerance is for the adaptation. Seeded.
    """
    sampler, draws = ADAPTIVE[name](start), Draws(n_samples=200, n_chains=200, n_steps=400)
    params, x = {"a": torch.tensor([3.0, 300.0])}, torch.zeros(2, 200, 4)
    _, info = chain.draw(sampler, model_of(stacked=True), params, x, Rng((0, 1)), draws)
    assert (info["acceptance_rate"] - sampler.target_acceptance).abs().max() < 0.03
    ratio = 10.0 if name in ("mh", "hmc") else 100.0  # the step size is a length, or a length squared
    assert info["step_size"][0] / info["step_size"][1] == pytest.approx(ratio, rel=0.25)


def test_step_size_follows_robbins_and_monro_and_is_frozen_after_the_warm_up():
    sampler, x = Recorded(2.0, None), torch.zeros(2, 50, 2)
    params = {"a": torch.tensor([1.0, 9.0])}
    _, info = chain.draw(sampler, model_of(stacked=True), params, x, Rng((0, 1)), Draws(50, 50, 80))
    sizes, rates = (torch.stack(part) for part in zip(*sampler.seen, strict=True))
    assert (sizes[0] == 2.0).all()
    n = torch.arange(1, 41).unsqueeze(-1)
    torch.testing.assert_close(sizes[1:41], sizes[:40] * ((rates[:40] - 0.574) / n.sqrt()).exp())
    assert torch.equal(sizes[40:], info["step_size"].expand(40, 2))
    assert sizes[-1, 0] > 2 * sizes[-1, 1]  # each model has its own
    torch.testing.assert_close(info["acceptance_rate"], rates[40:].mean(0))


def test_a_sampler_without_a_target_keeps_its_step_size():
    _, info = chain.draw(Langevin(0.3, None), model_of(), {"a": torch.ones(())}, torch.zeros(5, 2), Rng(0), Draws(5, 5, 20))
    assert info["step_size"] == 0.3


def test_draws_follow_the_model():
    """The draws from N(0, 1/a) agree within 5 standard errors of independent draws, because chains are independent: one false alarm in
    2e6. Seeded."""
    params, n = {"a": torch.tensor(4.0)}, 4000
    samples, _ = chain.draw(MALA(0.01, None), model_of(), params, torch.zeros(n, 2), Rng(0), Draws(n, n, 100))
    assert (samples.mean((0, 1)).abs() < 5 * (0.25 / n) ** 0.5).all()
    assert ((samples.var((0, 1)) - 0.25).abs() < 5 * 0.25 * (2 / n) ** 0.5).all()


@pytest.mark.parametrize("n_steps", [4, 80])
def test_a_sampler_that_determines_its_length_yields_one_sample_per_chain(n_steps):
    class Walk(Clock):
        def length(self, model):
            return 25

    draws = Draws(6, 2, n_steps)
    assert draws.starts(Walk(), model_of()) == 6
    assert draws.starts(Clock(), model_of()) == 2
    assert Draws(6, 9, n_steps).starts(Clock(), model_of()) == 6
    x, _ = chain.draw(Walk(), model_of(), {"a": torch.ones(())}, torch.zeros(6, 1), Rng(0), draws)
    assert x[..., 0].tolist() == [[25.0]] * 6


@pytest.mark.parametrize("shape", [(1,), (2, 2)])
def test_pick_uses_the_given_points_equally_often(shape):
    points = torch.arange(14.0).view(2, 7, *(1 for _ in shape)).expand(2, 7, *shape)
    x = chain.pick(points, 21, Rng((3, 4)))
    assert x.shape == (2, 21, *shape)
    for m, seed in enumerate((3, 4)):
        assert sorted(x[m].flatten(1)[:, 0].tolist()) == sorted(points[m].flatten(1)[:, 0].tolist() * 3)
        assert torch.equal(x[m], chain.pick(points[m], 21, Rng(seed)))
    few = chain.pick(points, 4, Rng((3, 4))).flatten(2)[..., 0]
    assert all(len(set(chosen.tolist())) == 4 for chosen in few)
    assert few[0].tolist() != points[0, :4].flatten(1)[:, 0].tolist()  # in a random order


def test_run_takes_n_steps_and_returns_the_mean_info():
    x, info = chain.run(Clock(), model_of(), {"a": torch.ones(())}, torch.zeros(3, 1), Rng(0), n_steps=BLOCK + 5)
    assert (x == BLOCK + 5).all()
    assert info["time"].tolist() == [(BLOCK + 6) / 2] * 3


@pytest.mark.parametrize("n_steps", [1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 3])
def test_every_transition_has_its_own_noise(n_steps):
    state = State(torch.zeros(2, 50, 3), torch.ones(2))
    items = torch.stack([item for (item,) in chain.noises(Clock(), state, Rng((0, 1)), n_steps)])
    assert items.shape == (n_steps, 2, 50, 3)
    correlation = torch.corrcoef(items.reshape(2 * n_steps, -1)) - torch.eye(2 * n_steps)
    assert correlation.abs().max() < 6 / math.sqrt(150)  # for 9,000 pairs: one false alarm in 5e4; seeded


def test_the_noise_of_a_transition_does_not_depend_on_the_number_of_later_blocks():
    state = State(torch.zeros(50, 3), torch.ones(()))
    short, long = (list(chain.noises(Clock(), state, Rng(0), n)) for n in (BLOCK, 3 * BLOCK))
    assert all(torch.equal(a, b) for (a,), (b,) in zip(short, long[:BLOCK], strict=True))


def test_draws_are_reproducible_and_warm_up_noise_is_not_reused():
    draws, args = Draws(10, 5, 20), (model_of(), {"a": torch.ones(())}, torch.zeros(5, 2))
    first, again, other = (chain.draw(MALA(0.5, None), *args, rng, draws)[0] for rng in (Rng(0), Rng(0), Rng(1)))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    paths = []

    class Watched(Clock):
        def noise(self, rng, state, n_steps):
            paths.append(rng.path)
            return super().noise(rng, state, n_steps)

    chain.draw(Watched(), *args, Rng(0), draws)
    assert len(set(paths)) == len(paths) == 2


def test_the_draws_of_a_stack_are_those_of_single_models():
    a, draws = torch.tensor([1.0, 4.0]), Draws(20, 5, 50)
    x = Rng((3, 4)).normal("x", 5, 2)
    together, info = chain.draw(MALA(0.1, None), model_of(stacked=True), {"a": a}, x, Rng((3, 4)), draws)
    for m, seed in enumerate((3, 4)):
        alone, info_alone = chain.draw(MALA(0.1, None), model_of(), {"a": a[m]}, x[m], Rng(seed), draws)
        torch.testing.assert_close(together[m], alone)
        torch.testing.assert_close(info["step_size"][m], info_alone["step_size"])


class TwoWells(torch.nn.Module):
    """Two Gaussians of standard deviation 0.5 at -5 and 5, with the probabilities 0.2 and 0.8: E(x) = -log p(x), x (B, 1)."""

    def __init__(self):
        super().__init__()
        self.shift = torch.nn.Parameter(torch.zeros(()))

    def forward(self, x):
        wells = [math.log(w) - 0.5 * ((x[..., 0] - self.shift - c) / 0.5).square() for w, c in ((0.2, -5.0), (0.8, 5.0))]
        return -torch.logsumexp(torch.stack(wells), 0)


def share_of_the_right_well(sampler, draws, *, stacked=False):
    """The share of the draws above 0, (*m,), of chains that start at a reference that is wide and not centred."""
    m = (2,) if stacked else ()
    model, params = Model(TwoWells(), event_ndim=1, stacked=stacked), {"shift": torch.zeros(m)}
    reference = FittedReference(Gaussian(), {"mean": torch.full((*m, 1), -1.0), "scale": torch.full((*m, 1), 5.0)}, (1,))
    rng = Rng((0, 1) if stacked else 0)
    samples, info = chain.draw(sampler, model, params, reference.draw(2000, rng), rng, draws, reference)
    return (samples > 0).double().mean((-3, -2, -1)), info


@pytest.mark.parametrize("sampler", [MALA(0.05, None), MetropolisHastings(0.5), Langevin(0.01, None)])
def test_proposals_from_the_reference_give_the_modes_their_weights(sampler):
    """0.8 within 4 standard errors of 2000 chains. Without proposals the wells keep the shares of the starts, 0.42 to the right."""
    stuck, _ = share_of_the_right_well(sampler, Draws(2000, 2000, 200))
    assert 0.3 < stuck < 0.55
    right, info = share_of_the_right_well(sampler, Draws(2000, 2000, 200, reference_every=2))
    assert abs(right - 0.8) < 4 * (0.8 * 0.2 / 2000) ** 0.5
    assert 0.05 < info["reference_acceptance_rate"] < 0.5
    if "step_size" in info and sampler.target_acceptance:  # a proposal does not reset the adapted step size
        assert info["step_size"] != sampler.step_size


def test_proposals_are_accepted_at_the_temperature_of_the_chains():
    """At T = 2 the wells have the probabilities 0.8^(1/2) and 0.2^(1/2), normalized: 2/3 is to the right. 4 standard errors."""
    eps = 0.01
    sampler = SGLD(step_size=eps, noise_scale=(2 * 2 * eps) ** 0.5, max_score_norm=None)
    right, _ = share_of_the_right_well(sampler, Draws(2000, 2000, 200, reference_every=2))
    assert abs(right - 2 / 3) < 4 * (2 / 9 / 2000) ** 0.5


def test_proposals_in_a_stack_are_those_of_single_models():
    draws = Draws(2000, 2000, 100, reference_every=5)
    together, _ = share_of_the_right_well(MALA(0.05, None), draws, stacked=True)
    assert together[0] == share_of_the_right_well(MALA(0.05, None), draws)[0]


def test_chains_with_a_memory_are_not_moved():
    """Replicas of parallel tempering have a state beyond x. The draws are the same with and without the setting."""
    sampler = Tempering(0.05, 3, 10.0)
    with_, without = (share_of_the_right_well(sampler, Draws(2000, 2000, 20, every)) for every in (2, None))
    assert with_[0] == without[0]
    assert "reference_acceptance_rate" not in with_[1]
