"""Importance sampling from the reference between Gaussians, in closed form. Draws are seeded."""

import math
from dataclasses import replace

import pytest
import torch
from contexts import Normal, context_of, reason
from scipy.stats import binom
from standard import gaussian
from torch import nn

from ebm_cli.core.rng import Rng
from ebm_cli.energies.score_mlp import ScoreMLP
from ebm_cli.metrics.importance import ImportanceSampling
from ebm_cli.references.full_gaussian import FullGaussian

LOG_Z = 1.3
PLANE = ((1.0, 0.0), (0.0, 1.0))


class Isotropic(nn.Module):
    """E(x) = |x|^2 / (2 variance) + constant, whose log Z is LOG_Z."""

    def __init__(self, d, variance):
        super().__init__()
        self.precision = nn.Parameter(torch.tensor(1 / variance))
        self.constant = d / 2 * math.log(2 * math.pi * variance) - LOG_Z

    def forward(self, x):
        return 0.5 * self.precision * x.square().sum(-1) + self.constant


def case(d, variance):
    """The data are standard normal, the reference is a Gaussian fitted to 10,000 of them, and the model is N(0, variance)."""
    eye = tuple(tuple(float(i == j) for j in range(d)) for i in range(d))
    return context_of(Isotropic(d, variance), Normal(None, (0.0,) * d, eye), reference=FullGaussian())


def test_the_reference_itself_has_nearly_equal_weights():
    found = ImportanceSampling(2000)(case(3, 1.0))
    assert found["importance_log_z"] == pytest.approx(LOG_Z, abs=0.01)
    assert found["importance_ess"] > 0.99


@pytest.mark.parametrize(("d", "variance"), [(2, 0.7), (2, 1.3), (20, 0.8)])
def test_the_effective_sample_size_in_closed_form(d, variance):
    """E_q[w]^2 / E_q[w^2] = (variance sqrt(2 / variance - 1))^d for w = N(0, variance) / N(0, 1), variance < 2."""
    found = ImportanceSampling(100_000)(case(d, variance))
    assert found["importance_ess"] == pytest.approx((variance * math.sqrt(2 / variance - 1)) ** d, rel=0.06)
    assert found["importance_log_z"] == pytest.approx(LOG_Z, abs=3 * found["importance_log_z_error"])


def test_the_interval_covers_log_z():
    """In 95 % of 300 repeats (one false alarm in 1e6 on each side)."""
    metric, context = ImportanceSampling(2000), case(8, 0.8)
    found = [metric(replace(context, rng=Rng(seed))) for seed in range(300)]
    inside = sum(abs(one["importance_log_z"] - LOG_Z) <= one["importance_log_z_error"] for one in found)
    assert binom.ppf(1e-6, 300, 0.95) <= inside <= binom.ppf(1 - 1e-6, 300, 0.95)


def test_the_nll_contains_both_errors():
    """NLL = E[|x|^2] / (2 variance) + d/2 log(2 pi variance) for data from N(0, 1)."""
    d, variance = 20, 0.8  # both errors matter: 0.08 and 0.04
    context = case(d, variance)
    found = ImportanceSampling(1000)(context)
    exact = d / (2 * variance) + d / 2 * math.log(2 * math.pi * variance) + context.dataset.standardization.log_det
    assert found["importance_nll"] == pytest.approx(exact, abs=2 * found["importance_nll_error"])
    n = len(context.held_out(10_000))
    of_mean = 1.96 * math.sqrt(d / 2) / variance / math.sqrt(n)
    assert found["importance_nll_error"] == pytest.approx(math.hypot(of_mean, found["importance_log_z_error"]), rel=0.05)


def test_numbers_are_in_data_units():
    """y = 3 u adds d log 3 to log Z and to the NLL."""
    cases = (context_of(Isotropic(2, 0.9), Normal(None, (0.0, 0.0), PLANE, scale), reference=FullGaussian()) for scale in (1.0, 3.0))
    a, b = map(ImportanceSampling(2000), cases)
    for key in ("importance_log_z", "importance_nll"):
        assert b[key] - a[key] == pytest.approx(2 * math.log(3), abs=1e-6)
    assert a["importance_log_z_error"] == b["importance_log_z_error"]


def test_a_heavy_tail_is_refused():
    """The variance of the model is ten times that of its reference: k = 1 - 1/10."""
    found = ImportanceSampling(100_000)(case(1, 10.0))
    assert "heavy tail" in found["importance_log_z"]
    assert found["importance_log_z"] == found["importance_nll"]
    assert found["importance_k_hat"] == pytest.approx(0.9, abs=0.15)


def test_an_energy_that_is_not_finite_is_refused():
    context = case(2, 1.0)
    context.params["precision"] = torch.tensor(math.nan)
    assert "not finite" in ImportanceSampling(1000)(context)


def test_the_draws_are_taken_in_blocks_without_repetition(monkeypatch):
    monkeypatch.setattr("ebm_cli.metrics.importance.BLOCK", 600)
    weight = ImportanceSampling(1500).log_weights(case(2, 0.5))
    assert len(weight) == len(weight.unique()) == 1500


def test_a_score_network_has_a_reason():
    start = gaussian(torch.zeros(2), torch.ones(2))
    module = ScoreMLP((2,), torch.zeros(2), torch.ones(2), start, hidden=[4], activation="silu", tilt=1.0)
    assert reason(ImportanceSampling(1000), context_of(module, Normal(None, (0.0, 0.0), PLANE)))
