"""Annealed importance sampling between known distributions: bounds, coverage, reasons. Seeded."""

import math
from dataclasses import dataclass
from unittest.mock import Mock

import pytest
import torch
from contexts import context_of, reason
from scipy.stats import binom
from standard import gaussian
from torch import nn

from ebm_cli.config import option_files, schema
from ebm_cli.core import log_densities
from ebm_cli.core.contracts import Dataset
from ebm_cli.core.metric import Metric
from ebm_cli.core.rng import Rng
from ebm_cli.core.standardize import Standardization
from ebm_cli.datasets.gaussian_mixture import GaussianMixture
from ebm_cli.energies.score_mlp import ScoreMLP
from ebm_cli.metrics import ais
from ebm_cli.metrics.ais import AnnealedImportanceSampling
from ebm_cli.references.full_gaussian import FullGaussian
from ebm_cli.references.gaussian import Gaussian
from ebm_cli.references.mixture import Mixture
from ebm_cli.references.uniform import Uniform
from ebm_cli.runner import estimators
from ebm_cli.samplers.hmc import HMC
from ebm_cli.samplers.langevin import Langevin
from ebm_cli.samplers.mala import MALA
from ebm_cli.samplers.mh import MetropolisHastings
from ebm_cli.samplers.tempering import Tempering
from ebm_cli.types import Batch, Space

KERNELS = {"hmc": HMC(0.3, 3, 1.0, 0.1), "mala": MALA(0.3, None), "mh": MetropolisHastings(0.3)}
LOG_Z = 1.3


class Shifted(nn.Module):
    """-log p of the mixture minus LOG_Z, in single precision, so that log Z = LOG_Z."""

    def __init__(self, data):
        super().__init__()
        self.centre, self.weight = nn.Parameter(torch.tensor(data.centres)), nn.Parameter(torch.tensor(data.weights))
        self.std = data.std

    def forward(self, x):
        return -log_densities.mixture(x, self.centre, self.weight.log() - self.weight.sum().log(), self.std) - LOG_Z


def mixture_case(d, *, seed=0, std=0.6, n=100_000, of_model=None, warn=None, reference=None):
    """The context of a model that equals the data, three modes in d dimensions, up to log Z, with samples of the model."""
    centres = (1.2 * Rng(seed).normal("centres", 3, d)).tolist()
    data = GaussianMixture(None, centres, [1.0, 2.0, 3.0], std, 1.0)
    samples = data.draw(n, Rng(99)).unsqueeze(1) if of_model is None else of_model
    return context_of(Shifted(data), data, samples, seed=seed, warn=warn or pytest.fail, reference=reference)


@pytest.mark.parametrize(("d", "kernel", "n_temperatures"), [(2, "mala", 40), (6, "hmc", 40), (20, "hmc", 60)])
def test_the_bounds_cover_log_z(d, kernel, n_temperatures, monkeypatch):
    """The means are bounds in expectation. Reported intervals, from 2, 3 or 10 of 1,000 repeats, contain log Z in 95 % of the cases (one
    false alarm in 1e6)."""
    sampler, context = AnnealedImportanceSampling(KERNELS[kernel], 20, n_temperatures, 1000), mixture_case(d, warn=lambda line: None)
    lower, upper, _ = found = sampler.estimates(context)
    for n in (2, 3, 10):
        parts = list(zip(*(values.split(n) for values in found), strict=True))[: 1000 // n]
        monkeypatch.setattr(AnnealedImportanceSampling, "estimates", Mock(side_effect=parts))
        told = [estimators.adopt(sampler(context)) for _ in parts]
        covered = sum(by == "ais" and abs(row["log_z"] - LOG_Z) <= row["log_z_error"] for row, by in told)
        assert covered >= binom.ppf(1e-6, len(parts), 0.95)
    for values, sign in ((lower, 1), (upper, -1)):  # bounds in expectation, up to 4 standard errors, and tight
        error = values.std().item() / 1000**0.5
        assert sign * (values.mean().item() - LOG_Z) < 4 * error
        assert abs(values.mean().item() - LOG_Z) < 0.5


REFERENCES = {"gaussian": Gaussian(), "full_gaussian": FullGaussian(), "mixture": Mixture(3, 0.0, None)}


@pytest.mark.parametrize(("d", "kernel", "n_temperatures"), [(2, "mala", 20), (6, "hmc", 20)])
@pytest.mark.parametrize("name", ["full_gaussian", "mixture"])
def test_the_bounds_cover_log_z_from_every_reference(name, d, kernel, n_temperatures, monkeypatch):
    """95 % of 40 intervals from 10 repeats contain log Z (one false alarm in 1e6). The closer the reference is to the model, the larger is
    the effective sample size; for a mixture of the same three Gaussians it is nearly 1."""
    sampler, shares = AnnealedImportanceSampling(KERNELS[kernel], 20, n_temperatures, 400), {}
    for reference in ("gaussian", name):
        context = mixture_case(d, n=20_000, warn=lambda line: None, reference=REFERENCES[reference])
        found = sampler.estimates(context)
        shares[reference] = found[2].mean().item()
    assert shares[name] > shares["gaussian"]
    if name == "mixture":
        assert shares[name] > 0.98
    for values, sign in zip(found[:2], (1, -1), strict=True):  # bounds in expectation, up to 4 standard errors
        error = values.std().item() / 400**0.5
        assert sign * (values.mean().item() - LOG_Z) < 4 * error
        assert abs(values.mean().item() - LOG_Z) < (0.01 if name == "mixture" else 0.3)
    parts = list(zip(*(values.split(10) for values in found), strict=True))
    monkeypatch.setattr(AnnealedImportanceSampling, "estimates", Mock(side_effect=parts))
    told = [estimators.adopt(sampler(context)) for _ in parts]
    covered = sum(by == "ais" and abs(row["log_z"] - LOG_Z) <= row["log_z_error"] for row, by in told)
    assert covered >= binom.ppf(1e-6, len(parts), 0.95)


@pytest.mark.parametrize("kernel", ["mala", "mh"])
def test_a_uniform_reference_is_possible(kernel):
    """The box contains the modes, and no chain leaves it: 4 standard errors of 400 repeats."""
    sampler = AnnealedImportanceSampling(KERNELS[kernel], 20, 40, 400)
    lower, upper, _ = sampler.estimates(mixture_case(2, n=20_000, warn=lambda line: None, reference=Uniform(0.2)))
    for values, sign in ((lower, 1), (upper, -1)):
        assert sign * (values.mean().item() - LOG_Z) < 4 * values.std().item() / 400**0.5
        assert abs(values.mean().item() - LOG_Z) < 0.5


@pytest.mark.parametrize(("n_repeats", "n_points"), [(2, 5), (3, 3), (10, 3), (10, 1000)])
def test_an_error_is_half_of_a_95_percent_interval(n_repeats, n_points):
    """For normal repeats with the mean log Z = 2, 95 % of 10,000 intervals contain it, and at least as many of the NLL with a mean energy
    of 5. The bounds are binomial quantiles: 1e-6 on either side."""
    repeats, energies = 2 + Rng(0).normal("repeats", 10_000, n_repeats), 5 + Rng(0).normal("energy", 10_000, n_points)
    bounds = [ais.mean_and_error(values) for values in repeats]
    low, high = binom.ppf([1e-6, 1 - 1e-6], 10_000, 0.95)
    assert low <= sum(abs(mean - 2) <= error for mean, error in bounds) <= high
    nll = [ais.nll(energy, bound, bound) for energy, bound in zip(energies, bounds, strict=True)]
    assert low <= sum(found["ais_nll_lower"] <= 7 <= found["ais_nll_upper"] for found in nll)


@pytest.mark.parametrize("scale", [1.0, 2.5])
def test_log_z_of_a_gaussian_is_exact_for_any_number_of_temperatures(scale):
    """If the model is the Gaussian with the moments of the data, every log weight is log Z. Data units add sum log scale."""
    data = Normal(scale)
    context = context_of(Wide(), data, data.draw(50, Rng(1)).unsqueeze(1))
    found = AnnealedImportanceSampling(KERNELS["mala"], 30, 2, 3)(context)
    mean, std = (getattr(data.split("train", 10_000, context.rng).x, name)(0) for name in ("mean", "std"))
    exact = 1.5 * math.log(2 * math.pi) + 3 * math.log(2.0) + 3 * math.log(scale)
    close = 0.05  # the moments are those of 10,000 draws
    assert found["ais_log_z_lower"] == pytest.approx(exact, abs=close)
    assert found["ais_log_z_upper"] == pytest.approx(exact, abs=close)
    assert found["ais_ess"] > 0.99
    assert (mean - 1).abs().max() < 0.1
    assert (std - 2).abs().max() < 0.1
    nll = exact + 1.5  # the mean energy of the data is d/2, with an error of 1.96 sqrt(d/2 / 10000)
    assert found["ais_nll_lower"] == pytest.approx(nll - 1.96 * (1.5 / 1e4) ** 0.5, abs=close)
    assert found["ais_nll_upper"] == pytest.approx(nll + 1.96 * (1.5 / 1e4) ** 0.5, abs=close)


class Wide(nn.Module):
    """The energy of N(1, 2^2 I), with log Z of this Gaussian."""

    def __init__(self):
        super().__init__()
        self.centre = nn.Parameter(torch.ones(3))

    def forward(self, x):
        return (x - self.centre).square().sum(-1) / 8


@dataclass
class Normal(Dataset):
    """Draws from this Gaussian; the data units differ from the model's units by `scale`."""

    scale: float
    space = Space((3,))

    @property
    def standardization(self):
        return Standardization(torch.zeros(3).double(), torch.full((3,), self.scale).double())

    def draw(self, n, rng):
        return 1 + 2 * rng.normal("z", n, 3)

    def split(self, name, n, rng):
        return Batch(self.draw(n, rng.at(name)))


def test_weights_are_taken_before_the_move():
    """With a kernel that never moves, w = E_0(u_0) - E(u_0), and the estimate is plain importance sampling."""
    context, n = mixture_case(2, n=5000), 4000
    sampler = AnnealedImportanceSampling(Frozen(0.1, None), n, 3, 1)
    lower, _, _ = sampler.estimates(context)
    x = context.dataset.split("train", ais.N_DATA, context.rng).x
    mean, scale = x.mean(0), x.std(0)
    u = context.rng.at("ais").normal("start", n, 2)
    w = 0.5 * u.square().sum(-1) - context.model.energy(context.params, mean + scale * u)
    expected = torch.logsumexp(w.double(), 0) - math.log(n) + math.log(2 * math.pi) + scale.log().sum()
    assert lower.item() == pytest.approx(expected.item(), abs=1e-4)


class Frozen(MALA):
    """A kernel that rejects every proposal."""

    def step(self, model, params, state, noise):
        return state, {"acceptance_rate": torch.zeros(len(state.x))}


def test_samples_of_another_distribution_make_the_bounds_cross_with_a_warning():
    """The upper bound holds only for draws from the model; it is too low from a point where the model density is below the Gaussian."""
    told, far = [], torch.full((1, 1, 3), 4.0)
    found = AnnealedImportanceSampling(Frozen(0.1, None), 2000, 3, 4)(mixture_case(3, of_model=far, warn=told.append))
    assert found["ais_log_z_upper"] < LOG_Z - 1
    assert abs(found["ais_log_z_lower"] - LOG_Z) < 0.5
    assert "cross" in told[0]


def test_bounds_of_the_nll_contain_the_intervals_of_both_bounds_if_these_cross():
    found = ais.nll(torch.tensor([5.0, 5.0]), (2.0, 0.1), (1.5, 0.2))
    assert found == {"ais_nll_lower": pytest.approx(6.3), "ais_nll_upper": pytest.approx(7.1)}


def test_degenerate_weights_give_a_warning():
    told = []
    context = mixture_case(20, std=0.1, warn=told.append)
    found = AnnealedImportanceSampling(KERNELS["mala"], 400, 2, 5)(context)
    assert found["ais_ess"] < 0.02
    assert any("effective sample size is only" in line for line in told)


def test_schedule_by_hand():
    betas = ais.schedule(4)
    sigmoid = [1 / (1 + math.exp(-x)) for x in (-4, -2, 0, 2, 4)]
    assert betas.tolist() == pytest.approx([(value - sigmoid[0]) / (sigmoid[-1] - sigmoid[0]) for value in sigmoid], abs=1e-12)


def test_the_mean_is_of_the_weights_and_not_of_their_logarithms():
    assert ais.log_mean_exp(torch.tensor([[0.0, math.log(3.0)]])).item() == pytest.approx(math.log(2.0))


def test_step_sizes_of_the_pilot_run_lead_to_the_target_acceptance():
    context = mixture_case(3)
    sampler = AnnealedImportanceSampling(MALA(3.0, None), 200, 80, 5)
    path = ais.AnnealingPath(context.model, context.reference.reference)
    params = context.params | context.reference.named | sampler._coordinates(context)
    betas, starts = ais.schedule(80).float(), ais.in_coordinates(params, context.reference.draw(1000, Rng(0)))
    steps = sampler._pilot(path, params, starts, betas, Rng(0))
    u = sampler._of_model(context, params)
    _, acceptance = sampler._move(path, params, betas[-1], steps[-1], u, Rng(1))
    assert abs(acceptance - 0.574) < 0.1


def test_the_reasons_why_it_does_not_apply():
    context = mixture_case(2)
    begun_anew = Tempering(0.05, 3, 10.0)  # restarted at each temperature, with all replicas in one place
    for sampler in (Langevin(0.1, None), begun_anew):
        assert "leaves each distribution invariant" in AnnealedImportanceSampling(sampler, 2, 2, 2)(context)
    score = ScoreMLP((2,), torch.zeros(2), torch.ones(2), gaussian(torch.zeros(2), torch.ones(2)), hidden=[4], activation="tanh", tilt=1.0)
    assert "no energy" in reason(AnnealedImportanceSampling(KERNELS["mala"], 2, 2, 2), context_of(score, context.dataset))


def test_a_reason_replaces_a_missing_number(monkeypatch):
    """A single held-out point has no error of the mean, and a point with p = 0 has no finite energy."""
    sampler, context, bound = AnnealedImportanceSampling(KERNELS["mala"], 2, 2, 2), mixture_case(2), (0.0, 0.1)
    for energy, words in (([1.0], "1 held-out points"), ([1.0, math.inf], "not finite")):
        assert all(words in reason for reason in ais.nll(torch.tensor(energy), bound, bound).values())
    found = torch.ones(2), torch.tensor([1.0, math.inf]), torch.ones(2)
    monkeypatch.setattr(AnnealedImportanceSampling, "estimates", Mock(return_value=found))
    assert "not finite" in sampler(context)


def test_the_option_is_built():
    import yaml

    node = yaml.safe_load(option_files.groups()["metric"]["ais"].path.read_text())["ais"]
    assert isinstance(schema.build(schema.check_node(node, "metric.ais", Metric, [])), AnnealedImportanceSampling)
