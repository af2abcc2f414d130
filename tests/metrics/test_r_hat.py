"""R-hat, compared with a direct calculation, for chains that have converged and chains that have not. Draws are seeded."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import chi2, norm, rankdata

from ebm_cli.core.metric import MetricContext
from ebm_cli.core.rng import Rng
from ebm_cli.metrics.r_hat import RHat, median, of_ranks, r_hat

pytestmark = pytest.mark.usefixtures("double")

N = 1000


def normal(n_chains=4, n=N, *, seed=0):
    return Rng(seed).normal("x", n_chains, n)


def measure(samples):
    return RHat()(MetricContext(None, {}, None, Rng(0), samples))


def plain(x):
    """R-hat by the formulas of the paper, chain by chain."""
    n = x.shape[1] // 2
    halves = np.array([half for chain in x.tolist() for half in (chain[:n], chain[len(chain) - n :])])
    found = []
    for values in (halves, np.abs(halves - np.median(halves))):
        z = norm.ppf((rankdata(values).reshape(values.shape) - 3 / 8) / (values.size + 1 / 4))
        between = n / (len(z) - 1) * sum((chain.mean() - z.mean()) ** 2 for chain in z)
        within = np.mean([sum((chain - chain.mean()) ** 2) / (n - 1) for chain in z])
        found.append((((n - 1) / n * within + between / n) / within) ** 0.5)
    return max(found)


@pytest.mark.parametrize(("n_chains", "n"), [(1, 40), (2, 4), (3, 7), (5, 100), (40, 9)])
@pytest.mark.parametrize("digits", [12, 0])
def test_it_agrees_with_the_direct_calculation(n_chains, n, digits):
    """Draws that are rounded to integers have ties. Chains have trends, different centres, or different widths."""
    x, k = normal(n_chains, n, seed=n), torch.arange(float(n_chains)).unsqueeze(-1)
    for chains in (x, x + 3 * torch.arange(n) / n, x + 0.3 * k, x * (1 + k)):
        rounded = (2 * chains).round(decimals=digits)
        assert r_hat(rounded) == pytest.approx(plain(rounded), rel=1e-12)


@pytest.mark.parametrize("n", [3, 4, 2**24 + 2])
def test_the_median_of_any_number_of_draws(n):
    assert median(torch.arange(n).double().flip(0).view(-1, 2 - n % 2)).item() == (n - 1) / 2


def test_r_hat_is_one_for_chains_with_the_same_distribution():
    """For 8 halves of 500 independent draws, 500 (R^2 - 1) + 1 is chi^2_7 / 7 within 10 %. 50 maxima of two: one false alarm in 1e6."""
    bound = (1 + (chi2.isf(1e-8, 7) / 7 * 1.1 - 1) / 500) ** 0.5
    found = [r_hat(normal(seed=seed)) for seed in range(50)]
    assert max(found) < bound < 1.008
    assert min(found) > (1 - 1 / 500) ** 0.5


def test_different_centres_are_detected():
    """Two chains are far from the other two. The z of each pair are half of a normal distribution, with mean +-(2 / pi)^1/2 and variance
    1 - 2 / pi. The variance of the means of the 8 halves is (8 / 7) (2 / pi)."""
    found = [r_hat(normal() + d * torch.tensor([0.0, 0.0, 1.0, 1.0]).unsqueeze(-1)) for d in (0.0, 0.5, 1.0, 20.0)]
    assert found == sorted(found)
    assert found[1] > 1.02
    assert found[3] == pytest.approx((1 + 8 / 7 * (2 / math.pi) / (1 - 2 / math.pi)) ** 0.5, rel=0.01)


def test_different_widths_are_detected():
    """Only the folded draws detect them, because all centres are equal."""
    x = normal() * torch.tensor([1.0, 1.0, 1.0, 4.0]).unsqueeze(-1)
    assert of_ranks(x) < 1.01
    assert r_hat(x) > 1.1


def test_a_common_trend_is_detected():
    """The halves of the chains differ, although the chains do not."""
    x = normal() + 2 * torch.arange(N) / N
    assert r_hat(x) > 1.1


def test_ranks_do_not_depend_on_units():
    """R-hat of the ranks is invariant under monotone maps, and the reported R-hat under affine maps."""
    x = normal(n=101) + 0.2 * torch.arange(4.0).unsqueeze(-1)
    for map in (torch.exp, lambda x: x**3, lambda x: torch.tan(torch.atan(x) * 0.99)):
        assert of_ranks(map(x)) == pytest.approx(of_ranks(x), rel=1e-12)
    for scale in (1e-6, -3.0, 1e9):
        assert r_hat(5 + scale * x) == pytest.approx(r_hat(x), rel=1e-6)


def test_a_distribution_without_a_mean_has_an_r_hat():
    x = torch.tan(math.pi * (Rng(0).uniform("x", 4, N) - 0.5))
    assert r_hat(x) < 1.01
    assert r_hat(x * torch.tensor([1.0, 1.0, 1.0, 5.0]).unsqueeze(-1)) > 1.1


def test_the_largest_value_over_coordinates_is_reported_for_any_shape():
    x = torch.stack([normal(), normal(seed=1), normal(seed=2) + torch.arange(4.0).unsqueeze(-1), normal(seed=3)], -1)
    assert measure(x.view(4, N, 2, 2))["r_hat"] == pytest.approx(plain(x[..., 2]))


def test_a_reason_replaces_a_missing_number():
    x = Rng(0).normal("x", 10, 50, 2)
    short, still, hurt = x[:, :3], x.clone(), x.clone()
    still[..., 1] = still[:, :1, 1]
    hurt[0, 3, 0] = math.nan
    for samples, words in ((short, "chains of 3 draws"), (still, "do not move"), (hurt, "not finite")):
        assert words in measure(samples)
    assert isinstance(measure(x[:, :4])["r_hat"], float)
