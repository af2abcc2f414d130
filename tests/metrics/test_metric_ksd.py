"""The kernel Stein discrepancy between points and a model. Seeded; statistical checks state their false-alarm rate."""

import math
from pathlib import Path

import pytest
import torch
from contexts import Normal, context_of
from scipy.stats import binom
from tables import table
from targets import CoupledScore, assert_mean, normal_nodes
from torch import nn

from ebm_cli.core import stein_kernel
from ebm_cli.core.rng import Rng
from ebm_cli.energies.gaussian import Gaussian
from ebm_cli.metrics.ksd import KernelSteinDiscrepancy, null_values

pytestmark = pytest.mark.usefixtures("double")

SLANTED = ((0.5, -0.3), ((1.7, -0.9), (-0.9, 1.1)))  # mean, covariance


def measure(module, dataset, *, n_points=200, bandwidth=None, n_bootstrap=300, **kind):
    return KernelSteinDiscrepancy(n_points, bandwidth, n_bootstrap)(context_of(module, dataset, **kind))


def repeats(module, dataset, n, **how):
    """KSD^2 and p-values, (2, n)."""
    found = [[*measure(module, dataset, seed=seed, **how).values()] for seed in range(n)]
    return torch.tensor(found).T


@pytest.mark.parametrize("h", [0.5, 1.4])
def test_the_mean_over_repeats_is_the_double_integral(h):
    """The data are N(0.4, 0.8^2) and the model is N(0, 1); the integral is by quadrature. 5 standard errors: one false alarm in 1.7e6."""
    z, weight = normal_nodes(80)
    x = (0.4 + 0.8 * z).unsqueeze(-1)
    expected = weight @ stein_kernel.operator(x, -x, stein_kernel.inverse_multiquadric, h) @ weight
    dataset = Normal(None, (0.4,), ((0.64,),))
    found, _ = repeats(Gaussian(mean=[0.0], covariance=[[1.0]]), dataset, 400, n_points=50, bandwidth=h, n_bootstrap=1)
    assert_mean(found, expected)
    assert found.mean() > 5 * found.std() / 20


def test_the_true_model_has_mean_zero_and_the_test_keeps_its_level():
    """The numbers of 1,000 repeats that are rejected at 5 % and at 20 % are within binomial quantiles: 1e-6 on either side."""
    found, p_value = repeats(Gaussian(mean=SLANTED[0], covariance=SLANTED[1]), Normal(None, *SLANTED), 1000)
    assert_mean(found, 0.0)
    for level in (0.05, 0.2):
        low, high = binom.ppf([1e-6, 1 - 1e-6], 1000, level)
        assert low <= (p_value <= level).sum() <= high
    assert p_value.min() >= 1 / 301


def test_other_distributions_are_rejected():
    """A shift by half a standard deviation, and half the variance, are rejected nearly always, with 200 points at 5 %."""
    for mean, variance in ((0.5, 1.0), (0.0, 0.5)):
        dataset = Normal(None, (mean, 0.0), ((variance, 0.0), (0.0, variance)))
        _, p_value = repeats(Gaussian(mean=[0.0, 0.0], covariance=[[1.0, 0.0], [0.0, 1.0]]), dataset, 50)
        assert (p_value < 0.05).sum() >= 48


def test_the_bootstrap_by_hand():
    """sum over i != j of (w_i - 1/n)(w_j - 1/n) u_ij, with counted weights."""
    u = Rng(0).normal("u", 6, 6)
    u = (u + u.T).fill_diagonal_(0)
    chosen = Rng(3).integers("points", 6, 4, 6)
    for rows, value in zip(chosen.tolist(), null_values(u, 4, Rng(3)).tolist(), strict=True):
        weight = [rows.count(i) / 6 - 1 / 6 for i in range(6)]
        assert value == pytest.approx(sum(weight[i] * weight[j] * u[i, j].item() for i in range(6) for j in range(6)))


def test_the_bandwidth_is_the_median_distance_and_points_are_held_out():
    """The U-statistic is computed by a loop, also for a score network."""
    dataset = Normal(None, *SLANTED)
    for final in (True, False):
        x = dataset.split("test" if final else "validation", 12, Rng(0)).x
        h = torch.pdist(x).median().item()
        u = stein_kernel.operator(x, CoupledScore()(x).detach(), stein_kernel.inverse_multiquadric, h)
        expected = sum(u[i, j].item() for i in range(12) for j in range(12) if i != j) / 132
        found = measure(CoupledScore(), dataset, n_points=12, final=final)
        assert found["ksd2"] == pytest.approx(expected)
        assert found == measure(CoupledScore(), dataset, n_points=12, final=final)
        assert found["ksd2"] == pytest.approx(measure(CoupledScore(), dataset, n_points=12, bandwidth=h, final=final)["ksd2"])


class Cliff(nn.Module):
    """A constant score."""

    outputs_score = True

    def __init__(self, score):
        super().__init__()
        self.score = nn.Parameter(torch.tensor(score))

    def forward(self, x):
        return self.score.expand_as(x)


def test_a_reason_replaces_a_missing_number():
    Path("ties.csv").write_text("a,b\n" + "".join(f"{i % 17 == 0:d},{i % 19 == 0:d}\n" for i in range(400)))
    module = Gaussian(mean=[0.0, 0.0], covariance=[[1.0, 0.0], [0.0, 1.0]])
    assert "coincide" in measure(module, table("ties.csv", equal_rows="apart", dequantize=False))
    Path("few.csv").write_text("0.0,1.0\n1.0,2.0\n2.0,1.0\n3.0,0.0\n1.0,0.0\n4.0,4.0\n")
    for bandwidth in (None, 1.0):
        assert "1 held-out points" in measure(module, table("few.csv", validation=0.2), bandwidth=bandwidth)
        assert "3 held-out points" in measure(module, table("few.csv", validation=0.2, test=0.5), bandwidth=bandwidth)
    assert "not finite at" in measure(Cliff(math.inf), Normal(None, *SLANTED))
    assert "products are not finite" in measure(Cliff(1e200), Normal(None, *SLANTED))
