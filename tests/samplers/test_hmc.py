"""Hamiltonian Monte Carlo: invariants of the leapfrog integrator, acceptance, exactness. All draws are seeded."""

import math

import pytest
import torch
from exactness import FALSE_ALARM, TARGETS, Gaussian, Gumbel, TwoModes, moved, p_value, parts
from torch import nn

from ebm_cli.core import chain
from ebm_cli.core.model import Model
from ebm_cli.core.rng import Rng
from ebm_cli.errors import InputError
from ebm_cli.samplers.hmc import HMC

pytestmark = pytest.mark.usefixtures("double")

STEP_SIZE = {Gaussian: 0.5, Gumbel: 1.4, TwoModes: 0.55}  # coarse, so that a wrong acceptance is detected
MASS = torch.tensor([2.0, 0.5], dtype=torch.double)


class Quartic(nn.Module):
    """E(x) = a sum x^4 + x_0 x_1 + exp(x_0), which is neither even nor separable."""

    def __init__(self):
        super().__init__()
        self.a = nn.Parameter(torch.tensor(0.3))

    def forward(self, x):
        u = x.flatten(1)
        return self.a * u.pow(4).sum(-1) + u[:, 0] * u[:, 1] + u[:, 0].exp()


def trajectory(x, p, *, eps, n_leapfrog, event_ndim=1):
    """x, p and H at the end of a trajectory on the quartic with unequal masses."""
    model, params = parts(Quartic(), event_ndim=event_ndim)
    sampler = HMC(eps, n_leapfrog, MASS.tolist(), 0.0)
    x, p, energy, score = sampler.leapfrog(model, params, x, p, model.score(params, x), torch.tensor(eps), MASS.view(x.shape[1:]))
    torch.testing.assert_close(energy, model.energy(params, x))
    torch.testing.assert_close(score, model.score(params, x))
    return x, p, energy + 0.5 * (p.square() / MASS.view(x.shape[1:])).flatten(1).sum(-1)


def starts(n, *shape):
    return Rng(0).normal("x", n, *shape), MASS.view(shape).sqrt() * Rng(0).normal("p", n, *shape)


@pytest.mark.parametrize("shape", [(2,), (1, 2)])
def test_leapfrog_is_reversible(shape):
    x, p = starts(50, *shape)
    there, momentum, _ = trajectory(x, p, eps=0.2, n_leapfrog=7, event_ndim=len(shape))
    back, returned, _ = trajectory(there, -momentum, eps=0.2, n_leapfrog=7, event_ndim=len(shape))
    torch.testing.assert_close(back, x)
    torch.testing.assert_close(returned, -p)
    assert (there - x).abs().mean() > 0.3


def test_leapfrog_preserves_volume():
    """The Jacobian of (x, p) -> (x', p'), by central differences, has determinant 1."""
    point, h = torch.tensor([0.3, -0.7, 0.9, 0.4]), 1e-5
    x, p = (torch.cat([point + h * torch.eye(4), point - h * torch.eye(4)])).chunk(2, -1)
    end = torch.cat(trajectory(x, p, eps=0.3, n_leapfrog=5)[:2], -1)
    assert torch.linalg.det((end[:4] - end[4:]) / (2 * h)).item() == pytest.approx(1.0, abs=1e-7)


def test_energy_is_conserved_to_second_order():
    """Half the step over the same time gives a quarter of the error. With a wrong velocity, or one kick too many, the error remains."""
    x, p = starts(200, 2)
    before = trajectory(x, p, eps=1e-9, n_leapfrog=1)[2]
    coarse, fine = ((trajectory(x, p, eps=0.8 / n, n_leapfrog=n)[2] - before).abs().mean() for n in (32, 64))
    assert coarse < 3e-3
    assert coarse / fine == pytest.approx(4.0, rel=0.02)


@pytest.mark.parametrize("shape", [(2,), (1, 2)])
def test_acceptance_probability_is_that_of_the_textbook(shape):
    """H(x, p) - H(x', p'), p = sqrt(M) z, at the step of each chain: accepted for a uniform slightly below, rejected slightly above."""
    model, params = parts(Quartic(), event_ndim=len(shape))
    hmc, n = HMC(0.2, 3, MASS.tolist(), 0.4), 30
    x, p = starts(n, *shape)
    u = Rng(0).uniform("u", n)
    steps = (0.2 * (0.6 + 0.8 * u)).tolist()
    ends = [trajectory(x[i : i + 1], p[i : i + 1], eps=steps[i], n_leapfrog=3, event_ndim=len(shape)) for i in range(n)]
    x_new, _, after = (torch.cat(part) for part in zip(*ends, strict=True))
    before = model.energy(params, x) + 0.5 * (p.square() / MASS.view(shape)).flatten(1).sum(-1)
    state, z = hmc.init(model, params, x), p / MASS.view(shape).sqrt()
    for hair, accepted in ((-1e-9, True), (1e-9, False)):
        moved_on, info = hmc.step(model, params, state, (z, before - after + hair, u))
        assert (info["acceptance_rate"] == accepted).all()
        torch.testing.assert_close(moved_on.x, x_new if accepted else x)
        energy, score = model.energy_and_score(params, moved_on.x)
        torch.testing.assert_close(moved_on.energy, energy)
        torch.testing.assert_close(moved_on.score, score)
        assert not info["divergence"].any()


@pytest.mark.parametrize("target", TARGETS)
def test_exact(target):
    """Chains that start at exact draws remain exact draws: F(x) is uniform after 10 moves. One false alarm in 1e6.

    Masses are not 1 and steps are coarse: without the acceptance step, or with a wrong variance of momenta, this test fails.
    """
    module = target()
    mass = MASS.tolist() if target is Gaussian else 1.7
    sampler = HMC(STEP_SIZE[target], 3, mass, 0.2)
    x, info = moved(sampler, module, n_steps=10)
    assert 0.4 < info["acceptance_rate"].double().mean() < 0.97
    assert p_value(module, x) > FALSE_ALARM


def test_a_divergent_trajectory_is_rejected_and_counted():
    """The energy error exceeds 1000 nats or is not a number."""
    model, params = parts(Gumbel())
    hmc, x = HMC(1.0, 1, 1.0, 0.0), torch.full((4, 1), 2.0)
    state = hmc.init(model, params, x)
    noise = torch.tensor([[-9.4], [-1e4], [math.nan], [0.3]]), torch.full((4,), -1e3), torch.full((4,), 0.5)
    after, info = hmc.step(model, params, state, noise)
    assert info["acceptance_rate"].tolist() == [False, False, False, True]
    assert info["divergence"].tolist() == [True, True, True, False]
    torch.testing.assert_close(after.x[:3], x[:3])
    assert after.energy.isfinite().all()


def test_masses_are_shared_or_given_per_coordinate():
    model, params = parts(Quartic())
    x = torch.zeros(5, 2)
    assert HMC(0.1, 1, 3.0, 0.0).init(model, params, x).mass.tolist() == [3.0, 3.0]
    assert HMC(0.1, 1, [3.0, 0.5], 0.0).init(model, params, x).mass.tolist() == [3.0, 0.5]
    with pytest.raises(InputError, match="3 masses for 2 coordinates"):
        HMC(0.1, 1, [3.0, 0.5, 1.0], 0.0).init(model, params, x)


def test_each_model_of_a_stack_moves_as_the_single_model():
    hmc, factors = HMC(0.3, 3, MASS.tolist(), 0.2), torch.stack([torch.eye(2), torch.tensor([[2.0, 0.0], [1.0, 0.5]])])
    stacked, x = Model(Gaussian(), event_ndim=1, stacked=True), Rng((3, 4)).normal("x", 30, 2)
    together, _ = chain.run(hmc, stacked, {"factor": factors}, x, Rng((3, 4)), n_steps=5)
    for m, seed in enumerate((3, 4)):
        alone, _ = chain.run(hmc, stacked.alone(), {"factor": factors[m]}, x[m], Rng(seed), n_steps=5)
        torch.testing.assert_close(together[m], alone)
