"""The effective sample size of chains whose autocorrelation is known. Draws are seeded."""

import math

import pytest
import torch

from ebm_cli.core.metric import MetricContext
from ebm_cli.core.rng import Rng
from ebm_cli.metrics.effective_sample_size import EffectiveSampleSize, effective_sample_size, variogram

pytestmark = pytest.mark.usefixtures("double")


def chains(phi, n_chains, n, *, seed=0, dim=1):
    """Stationary AR(1) chains, x' = phi x + sqrt(1 - phi^2) z, with tau = (1 + phi) / (1 - phi)."""
    z = Rng(seed).normal("z", n, n_chains, dim)
    x = [z[0]]
    for noise in z[1:]:
        x.append(phi * x[-1] + (1 - phi**2) ** 0.5 * noise)
    return torch.stack(x, 1)


def measure(samples):
    return EffectiveSampleSize(16)(MetricContext(None, {}, None, Rng(0), samples))


@pytest.mark.parametrize("phi", [-0.3, 0.0, 0.5, 0.9])
@pytest.mark.parametrize(("n_chains", "n"), [(1, 20_000), (10, 2000), (100, 401)])
def test_of_autoregressive_chains(phi, n_chains, n):
    """The mean over eight coordinates is n (1 - phi) / (1 + phi) within 10 %, about four standard errors at phi = 0.9. Seeded."""
    ess = effective_sample_size(chains(phi, n_chains, n, dim=8)).mean().item()
    assert ess == pytest.approx(n_chains * n * (1 - phi) / (1 + phi), rel=0.1)


def test_it_predicts_the_variance_of_the_mean():
    """The variance of the mean over 2,000 groups of chains is v / ESS, within 5 standard errors of sqrt(2 / 2000)."""
    x = chains(0.7, 2000 * 4, 100).view(2000, 4, 100)
    variance = x.mean((1, 2)).var().item()
    truth = x.var().item() / variance
    ess = torch.stack([effective_sample_size(group.unsqueeze(-1)) for group in x[:300]]).median().item()
    assert ess == pytest.approx(truth, rel=5 * (2 / 2000) ** 0.5)


def test_the_smallest_value_over_coordinates_is_reported_for_any_shape_and_units():
    x = torch.cat([chains(0.0, 20, 500), chains(0.8, 20, 500, seed=1), chains(-0.5, 20, 500, seed=2), chains(0.3, 20, 500, seed=3)], -1)
    found = measure((1e3 + 5 * x).view(20, 500, 2, 2))
    assert found["ess"] == pytest.approx(10_000 / 9, rel=0.15)
    assert found["ess_per_draw"] == pytest.approx(found["ess"] / 10_000, rel=1e-12)
    assert found["ess"] == pytest.approx(effective_sample_size(x[..., 1:2]).item(), rel=1e-9)


def test_chains_in_different_places_have_a_small_effective_sample_size():
    """Four chains of independent draws around centres 10 apart have an ESS of about 4, not 4,000."""
    x = chains(0.0, 4, 1000) + 10 * torch.arange(4.0).view(4, 1, 1)
    assert effective_sample_size(chains(0.0, 4, 1000)).item() > 3000
    assert effective_sample_size(x).item() < 8


@pytest.mark.parametrize("n", [7, 8])
def test_variogram_by_hand(n):
    x = Rng(0).normal("x", 3, n, 2)
    for t in range(n):
        expected = (x[:, t:] - x[:, : n - t]).square().mean((0, 1))
        torch.testing.assert_close(variogram(x)[t], expected, atol=1e-12, rtol=1e-12)


def test_the_sum_ends_before_the_first_nonpositive_pair_and_its_terms_never_increase():
    """The expected value is from a loop over pairs, for short chains with noisy tails."""
    for seed in range(20):
        x = chains(0.6, 2, 60, seed=seed)
        between, within = x.mean(1).var(0), x.var(1).mean(0)
        rho = (1 - variogram(x) / (2 * (within * 59 / 60 + between)))[:, 0].tolist()
        total, last = 0.0, math.inf
        for k in range(30):
            pair = rho[2 * k] + rho[2 * k + 1]
            if pair <= 0:
                break
            last = min(last, pair)
            total += last
        assert effective_sample_size(x).item() == pytest.approx(120 / max(2 * total - 1, 1 / math.log10(120)), rel=1e-9)


def test_a_reason_replaces_a_missing_number():
    x = chains(0.5, 10, 50, dim=2)
    short, still, hurt = x[:, :3], x.clone(), x.clone()
    still[..., 1] = still[:, :1, 1]
    hurt[0, 3, 0] = math.nan
    for samples, words in ((short, "chains of 3 draws"), (still, "do not move"), (hurt, "not finite")):
        assert words in measure(samples)
