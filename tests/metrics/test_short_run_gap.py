"""The gap between short and long chains for a Gaussian, for which Langevin dynamics has a closed form. Draws are seeded."""

import math

import pytest
import torch
from contexts import Normal, context_of
from standard import gaussian

from ebm_cli.core.rng import Rng
from ebm_cli.core.wrappers import AtNoiseLevel
from ebm_cli.energies.gaussian import Gaussian
from ebm_cli.energies.score_mlp import ScoreMLP
from ebm_cli.metrics.short_run_gap import ShortRunGap
from ebm_cli.runs.catalog import find
from ebm_cli.samplers.annealed import AnnealedLangevin
from ebm_cli.samplers.langevin import Langevin
from ebm_cli.samplers.sgld import SGLD

EPS, B, V = 0.05, (1.0, -2.0), 0.6  # the model is N(B, V I)
DATA = Normal(None, (-0.5, 0.5), ((1.5, 0.0), (0.0, 1.5)))
N = 10_000
TINY = ("experiment=smoke", "trainer.n_steps=20", "energy=mlp", "energy.hidden=[8]", "dataset.noise=0.3", "device=cpu", "figure=[]")
TINY += ("draws.n_samples=200", "draws.n_chains=50", "draws.n_steps=20")


@pytest.fixture
def model(double):
    return Gaussian(mean=list(B), covariance=[[V, 0.0], [0.0, V]])


def long_run(*, n_chains=500, mean=B):
    """Exact draws from the model, (n_chains, n_draws, 2)."""
    return (torch.tensor(mean) + V**0.5 * Rng(7).normal("long", N, 2)).view(n_chains, -1, 2)


def measure(model, samples, sampler=None, *, n_steps=10, n_chains=N, seed=0):
    metric = ShortRunGap(sampler or Langevin(EPS, None), n_chains, n_steps, n_projections=300)
    return metric(context_of(model, DATA, samples, seed=seed))


def short_run_moments(n_steps, *, seed=0):
    """Mean (2,) and variances (2,) after `n_steps` from N(mean, scale^2) of the training points; each step has rho = 1 - eps / v."""
    x, rho = DATA.split("train", N, Rng(seed)).x, 1 - EPS / V
    shrunk = rho ** (2 * n_steps)
    return torch.tensor(B) + rho**n_steps * (x.mean(0) - torch.tensor(B)), shrunk * x.var(0) + 2 * EPS * (1 - shrunk) / (1 - rho**2)


@pytest.mark.parametrize("n_steps", [1, 10, 200])
def test_after_k_steps_of_langevin_dynamics(model, n_steps):
    """The energy agrees within 5 standard errors, (sum v_i^2 / 2 + v_i m_i^2)^1/2 / V per draw (one false alarm in 1.7e6), and the
    distance within 5 %."""
    found = measure(model, long_run(), n_steps=n_steps)
    mean, variance = short_run_moments(n_steps)
    shift = mean - torch.tensor(B)
    gap = (0.5 * (variance + shift.square()).sum() / V - 1).item()
    error = ((0.5 * variance.square() + variance * shift.square()).sum().item() / V**2 + 1) ** 0.5 / N**0.5
    assert abs(found["short_run_energy_gap"] - gap) < 5 * error
    apart = (0.5 * shift.square().sum() + (variance.mean().sqrt() - V**0.5).square()).sqrt().item()
    assert found["short_run_sliced_wasserstein"] == pytest.approx(apart, rel=0.05, abs=0.02)
    assert (n_steps < 200) == (gap > 0.1) == (apart > 0.1)


def test_all_chains_and_draws_of_the_long_run_are_used(model):
    """If half of each long chain is shifted so that its mean energy increases by (6 + 0) / 2V, the gap decreases by half of that."""
    moved = long_run(n_chains=10)
    before = measure(model, moved)
    moved[:, ::2] += torch.tensor([3.0, 0.0])
    after = measure(model, moved)
    assert before["short_run_energy_gap"] - after["short_run_energy_gap"] == pytest.approx(0.5 * 4.5 / V, rel=0.05)
    assert after["short_run_sliced_wasserstein"] != before["short_run_sliced_wasserstein"]


@pytest.mark.parametrize("temperature", [0.25, 3.0])
def test_a_sampler_with_a_temperature_follows_the_model(model, temperature):
    """sgld on T E is Langevin dynamics on E with step size eps T, up to rounding."""
    sgld = SGLD(step_size=EPS / temperature, noise_scale=(2 * EPS) ** 0.5, max_score_norm=None)
    assert sgld.temperature == pytest.approx(temperature)
    assert measure(model, long_run(), sgld, n_chains=100) == pytest.approx(measure(model, long_run(), n_chains=100), rel=1e-9)


def test_it_is_a_function_of_the_seed(model):
    first, again, other = (measure(model, long_run(), n_chains=50, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_a_reason_replaces_a_missing_number(model):
    hurt = long_run()
    hurt[0, 3, 0] = math.nan
    assert measure(model, hurt) == "the samples are not finite"
    assert measure(model, long_run(), Langevin(100.0, None), n_steps=300) == "the short chains are not finite"
    score = ScoreMLP((2,), torch.zeros(2), torch.ones(2), gaussian(torch.zeros(2), torch.ones(2)), hidden=[4], activation="tanh", tilt=1.0)
    found = measure(score, long_run(), n_chains=100)
    assert "no energy" in found["short_run_energy_gap"]
    assert found["short_run_sliced_wasserstein"] > 0
    context = context_of(model, DATA, long_run())
    object.__setattr__(context, "model", AtNoiseLevel(context.model, (1.0, 0.1)))
    assert "determines the length of its chains" in ShortRunGap(AnnealedLangevin(0.1, 5), 10, 10, 10)(context)


def test_the_sampler_can_be_chosen_and_does_not_change_the_identity_of_the_run(ebm):
    """The metric uses the sampler of the objective, is measured in training, is added by `ebm evaluate`, and uses another sampler."""
    numbers = []
    for words in ((), ("metric.short_run_gap.n_steps=3",)):
        assert ebm("train", *TINY, "objective=pcd", "objective.n_chains=512", "metric=[short_run_gap]", *words)[0] == 0
        run = find("last")
        numbers.append(run.read("summary.json")["short_run_energy_gap"])
        assert run.config()["metric"]["short_run_gap"]["sampler"]["_target_"].endswith("MALA")
    assert numbers[0] != numbers[1]
    plain = ("train", *TINY, "objective=nce", "metric=[]")
    assert ebm(*plain)[0] == 0
    run = find("last")
    assert "short_run_energy_gap" not in run.read("summary.json")
    assert ebm("evaluate", "last", "metric=[short_run_gap]")[0] == 0
    first = run.read("summary.json")["short_run_energy_gap"]
    assert ebm("evaluate", "last", "metric=[short_run_gap]", "sampler=langevin")[0] == 0
    second = run.read("summary.json")["short_run_energy_gap"]
    assert isinstance(first, float)
    assert isinstance(second, float)
    assert first != second
    assert ebm(*plain[:-1], "metric=[short_run_gap]")[0] == 0
    assert find("last") == run
