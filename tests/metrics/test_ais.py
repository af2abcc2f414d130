"""Annealed importance sampling between known laws: bounds, coverage, refusals. Seeded."""

import math
from dataclasses import dataclass
from unittest.mock import Mock

import pytest
import torch
from scipy.stats import binom
from torch import nn

from ebm_cli.config import schema
from ebm_cli.core.metric_context import MetricContext
from ebm_cli.core.model import Model, tensors
from ebm_cli.core.rng import Rng
from ebm_cli.core.standardize import Standardization
from ebm_cli.datasets.gaussian_mixture import GaussianMixture
from ebm_cli.energies import gaussian_mixture
from ebm_cli.energies.score_mlp import ScoreMLP
from ebm_cli.metrics import ais
from ebm_cli.metrics.ais import AnnealedImportanceSampling
from ebm_cli.runner import evaluate
from ebm_cli.samplers.hmc import HMC
from ebm_cli.samplers.langevin import Langevin
from ebm_cli.samplers.mala import MALA
from ebm_cli.samplers.tempering import Tempering

KERNELS = {"hmc": HMC(0.3, 3, 1.0, 0.1), "mala": MALA(0.3, None)}
LOG_Z = 1.3


class Shifted(nn.Module):
    """A mixture's energy less LOG_Z, so that log Z is that."""

    def __init__(self, energy):
        super().__init__()
        self.energy = energy

    def forward(self, x):
        return self.energy(x) - LOG_Z


def mixture_case(d, *, seed=0, std=0.6, n=100_000, stds=None, of_model=None, warn=None):
    """Three modes in d dimensions, samples of the model, and the energy of another width where `stds` are given."""
    centres = (1.2 * Rng(seed).normal("centres", 3, d)).tolist()
    data = GaussianMixture(None, centres, [1.0, 2.0, 3.0], std, 1.0)
    energy = Shifted(gaussian_mixture.GaussianMixture(centres=centres, stds=stds or [std] * 3, weights=[1.0, 2.0, 3.0]))
    samples = data.draw(n, Rng(99)).unsqueeze(1) if of_model is None else of_model
    return MetricContext(Model(energy, event_ndim=1, stacked=False), tensors(energy), data, Rng(seed), samples, warn=warn or pytest.fail)


@pytest.mark.parametrize(("d", "kernel", "n_temperatures"), [(2, "mala", 40), (6, "hmc", 40), (20, "hmc", 60)])
def test_the_bounds_cover_log_z(d, kernel, n_temperatures, monkeypatch):
    """Their means are bounds, and of what the user is told, log Z and its error from 2, 3 or 10 of 1,000 repeats, 95 % cover it (fewer by
    chance in 1e6)."""
    sampler, context = AnnealedImportanceSampling(KERNELS[kernel], 20, n_temperatures, 1000), mixture_case(d, warn=lambda line: None)
    lower, upper, _ = found = sampler.estimates(context)
    for n in (2, 3, 10):
        parts = list(zip(*(values.split(n) for values in found), strict=True))[: 1000 // n]
        monkeypatch.setattr(AnnealedImportanceSampling, "estimates", Mock(side_effect=parts))
        told = [evaluate.log_z(sampler(context), 0) for _ in parts]
        covered = sum(error is not None and abs(log_z - LOG_Z) <= error for log_z, error, _ in told)
        assert covered >= binom.ppf(1e-6, len(parts), 0.95)
    for values, sign in ((lower, 1), (upper, -1)):  # in expectation, up to 4 standard errors; and not by much
        error = values.std().item() / 1000**0.5
        assert sign * (values.mean().item() - LOG_Z) < 4 * error
        assert abs(values.mean().item() - LOG_Z) < 0.5


@pytest.mark.parametrize(("n_repeats", "n_points"), [(2, 5), (3, 3), (10, 3), (10, 1000)])
def test_an_error_is_half_of_a_95_percent_interval(n_repeats, n_points):
    """Of normal repeats about log Z = 2, by 10,000 of them, 95 % cover it; those of the NLL with a mean energy of 5 no fewer. Binomial
    numbers: 1e-6 on either side."""
    repeats, energies = 2 + Rng(0).normal("repeats", 10_000, n_repeats), 5 + Rng(0).normal("energy", 10_000, n_points)
    bounds = [ais.mean_and_error(one) for one in repeats]
    low, high = binom.ppf([1e-6, 1 - 1e-6], 10_000, 0.95)
    assert low <= sum(abs(mean - 2) <= error for mean, error in bounds) <= high
    nll = [ais.nll(energy, bound, bound) for energy, bound in zip(energies, bounds, strict=True)]
    assert low <= sum(one["ais_nll_lower"] <= 7 <= one["ais_nll_upper"] for one in nll)


@pytest.mark.parametrize("scale", [1.0, 2.5])
def test_a_gaussian_is_found_exactly_however_few_the_temperatures(scale):
    """Where the model is the Gaussian of the data's moments every weight is log Z; data units add sum log scale."""
    module = Wide()
    data = Normal(scale)
    context = MetricContext(Model(module, event_ndim=1, stacked=False), tensors(module), data, Rng(0), data.draw(50, Rng(1)).unsqueeze(1))
    found = AnnealedImportanceSampling(KERNELS["mala"], 30, 2, 3)(context)
    mean, std = (getattr(data.split("train", 10_000, context.rng), name)(0) for name in ("mean", "std"))
    exact = 1.5 * math.log(2 * math.pi) + 3 * math.log(2.0) + 3 * math.log(scale)
    close = 0.05  # the moments are those of 10,000 draws
    assert found["ais_log_z_lower"] == pytest.approx(exact, abs=close)
    assert found["ais_log_z_upper"] == pytest.approx(exact, abs=close)
    assert found["ais_ess"] > 0.99
    assert (mean - 1).abs().max() < 0.1
    assert (std - 2).abs().max() < 0.1
    nll = exact + 1.5  # the mean energy of the data's own law is d/2, known to 1.96 sqrt(d/2 / 10000)
    assert found["ais_nll_lower"] == pytest.approx(nll - 1.96 * (1.5 / 1e4) ** 0.5, abs=close)
    assert found["ais_nll_upper"] == pytest.approx(nll + 1.96 * (1.5 / 1e4) ** 0.5, abs=close)


class Wide(nn.Module):
    """N(1, 2^2 I), log Z that of its Gaussian."""

    def __init__(self):
        super().__init__()
        self.centre = nn.Parameter(torch.ones(3))

    def forward(self, x):
        return (x - self.centre).square().sum(-1) / 8


@dataclass
class Normal:
    """Draws of it, in units that differ from the data's own by `scale`."""

    scale: float
    shape = (3,)

    @property
    def standardization(self):
        return Standardization(torch.zeros(3).double(), torch.full((3,), self.scale).double())

    def draw(self, n, rng):
        return 1 + 2 * rng.normal("z", n, 3)

    def split(self, name, n, rng):
        return self.draw(n, rng.at(name))


def test_weights_are_taken_before_the_move():
    """With two temperatures and a kernel that goes nowhere, w = E_0(u_0) - E(u_0): the estimate is plain importance sampling."""
    context, n = mixture_case(2, n=5000), 4000
    sampler = AnnealedImportanceSampling(Frozen(0.1, None), n, 3, 1)
    lower, _, _ = sampler.estimates(context)
    x = context.dataset.split("train", ais.N_DATA, context.rng)
    mean, scale = x.mean(0), x.std(0)
    u = context.rng.at("ais").normal("start", n, 2)
    w = 0.5 * u.square().sum(-1) - context.model.energy(context.params, mean + scale * u)
    expected = torch.logsumexp(w.double(), 0) - math.log(n) + math.log(2 * math.pi) + scale.log().sum()
    assert lower.item() == pytest.approx(expected.item(), abs=1e-4)


class Frozen(MALA):
    """Refuses every proposal."""

    def step(self, model, params, state, noise):
        return state, {"acceptance_rate": torch.zeros(len(state.x))}


def test_samples_of_another_law_make_the_bounds_cross_and_it_is_said():
    """The upper bound holds for draws of the model only: from a point where the model is thinner than the Gaussian it falls."""
    told, far = [], torch.full((1, 1, 3), 4.0)
    found = AnnealedImportanceSampling(Frozen(0.1, None), 2000, 3, 4)(mixture_case(3, of_model=far, warn=told.append))
    assert found["ais_log_z_upper"] < LOG_Z - 1
    assert abs(found["ais_log_z_lower"] - LOG_Z) < 0.5
    assert "cross" in told[0]


def test_weights_that_degenerate_are_said():
    told = []
    context = mixture_case(20, std=0.1, warn=told.append)
    found = AnnealedImportanceSampling(KERNELS["mala"], 400, 2, 5)(context)
    assert found["ais_ess"] < 0.02
    assert any("of the weights count" in line for line in told)


def test_schedule_by_hand():
    betas = ais.schedule(4)
    sigmoid = [1 / (1 + math.exp(-x)) for x in (-4, -2, 0, 2, 4)]
    assert betas.tolist() == pytest.approx([(one - sigmoid[0]) / (sigmoid[-1] - sigmoid[0]) for one in sigmoid], abs=1e-12)


def test_the_mean_is_that_of_the_weights_and_not_of_their_logarithms():
    assert ais.log_mean_exp(torch.tensor([[0.0, math.log(3.0)]])).item() == pytest.approx(math.log(2.0))


def test_step_sizes_of_the_pilot_lead_to_the_acceptance_that_is_aimed_at():
    context = mixture_case(3)
    sampler = AnnealedImportanceSampling(MALA(3.0, None), 200, 80, 5)
    bridge, params = ais.AnnealingPath(context.model), context.params | sampler._ends(context)
    betas = ais.schedule(80).float()
    steps = sampler._pilot(bridge, params, betas, Rng(0))
    u = sampler._of_model(context, params)
    _, acceptance = sampler._move(bridge, params, betas[-1], steps[-1], u, Rng(1))
    assert abs(acceptance - 0.574) < 0.1


def test_what_it_does_not_apply_to():
    context = mixture_case(2)
    begun_anew = Tempering(0.05, 3, 10.0)  # at each temperature, with its replicas in one place
    for sampler in (Langevin(0.1, None), begun_anew):
        assert "leave each law as it is" in AnnealedImportanceSampling(sampler, 2, 2, 2)(context)
    score = ScoreMLP((2,), torch.zeros(2), torch.ones(2), hidden=[4], activation="tanh", confinement=1.0)
    one = MetricContext(Model(score, event_ndim=1, stacked=False), tensors(score), context.dataset, Rng(0), context.samples)
    assert "no energy" in AnnealedImportanceSampling(KERNELS["mala"], 2, 2, 2)(one)


def test_where_there_is_no_number_there_is_a_sentence(monkeypatch):
    """One held-out point has a mean and no error; a point where p = 0 has no finite energy."""
    sampler, context, bound = AnnealedImportanceSampling(KERNELS["mala"], 2, 2, 2), mixture_case(2), (0.0, 0.1)
    for energy, words in (([1.0], "1 held-out points"), ([1.0, math.inf], "not finite")):
        assert all(words in reason for reason in ais.nll(torch.tensor(energy), bound, bound).values())
    found = torch.ones(2), torch.tensor([1.0, math.inf]), torch.ones(2)
    monkeypatch.setattr(AnnealedImportanceSampling, "estimates", Mock(return_value=found))
    assert "not finite" in sampler(context)


def test_the_option_is_built():
    import yaml

    from ebm_cli import types
    from ebm_cli.config import compose

    node = yaml.safe_load(compose.groups()["metric"]["ais"].path.read_text())["ais"]
    assert isinstance(schema.build(schema.check_node(node, "metric.ais", types.Metric, [])), AnnealedImportanceSampling)
