"""MMD between Gaussians in closed form. Seeded; tests at 5 standard errors have one false alarm in 1.7e6 for each number."""

import math
from pathlib import Path

import pytest
import torch
from contexts import Normal
from tables import table
from targets import assert_mean

from ebm_cli.core.metric import MetricContext
from ebm_cli.core.rng import Rng
from ebm_cli.metrics.mmd import MaximumMeanDiscrepancy, kernel, median_distance, null_variance

pytestmark = pytest.mark.usefixtures("double")

P, Q = ((0.5, -0.3), ((0.5, 0.1), (0.1, 0.3))), ((0.0, 0.4), ((1.7, -0.9), (-0.9, 1.1)))  # mean, covariance
KEYS = ["mmd2", "mmd2_null_std", "mmd2_bandwidth"]


def measure(samples, dataset, *, n_points=100, bandwidth=0.8, seed=0):
    found = MaximumMeanDiscrepancy(n_points, bandwidth)(MetricContext(None, {}, dataset, Rng(seed), samples))
    assert list(found) == KEYS
    return found


def repeats(p, q, n, *, m=40, n_points=60, h=0.8):
    """MMD^2 of m draws from N(q) and n_points draws from N(p), and its null standard deviation, (n, 2)."""
    samples, dataset = Normal(None, *q), Normal(None, *p)
    found = (measure(samples.draw(m, Rng(seed)).unsqueeze(1), dataset, n_points=n_points, bandwidth=h, seed=seed) for seed in range(n))
    return torch.tensor([[numbers["mmd2"], numbers["mmd2_null_std"]] for numbers in found])


def mean_kernel(p, q, h):
    """E k(x, y) for two Gaussians: (det(I + C / h^2))^-1/2 exp(-m'(C + h^2 I)^-1 m / 2), with m and C the moments of x - y."""
    m, c = torch.tensor(p[0]) - torch.tensor(q[0]), torch.tensor(p[1]) + torch.tensor(q[1])
    wide = c + h**2 * torch.eye(len(m))
    return (h ** len(m) / wide.det().sqrt() * (-0.5 * m @ torch.linalg.solve(wide, m)).exp()).item()


@pytest.mark.parametrize("h", [0.4, 1.3])
@pytest.mark.parametrize(("p", "q"), [(P, Q), (Q, P), (P, P), (((1.0,), ((0.4,),)), ((-0.5,), ((1.3,),)))])
def test_the_mean_over_repeats_is_the_closed_form(p, q, h):
    """The estimate is unbiased, also for unequal numbers of points. For equal distributions its mean is zero, and it is often negative."""
    found = repeats(p, q, 600, h=h)[:, 0]
    assert_mean(found, mean_kernel(p, p, h) + mean_kernel(q, q, h) - 2 * mean_kernel(p, q, h))
    if p == q:
        assert 200 < (found < 0).sum() < 450


@pytest.mark.parametrize(("m", "n"), [(60, 60), (200, 25), (25, 200)])
def test_the_null_standard_deviation_is_the_spread_over_repeats(m, n):
    """The kurtosis of the null distribution is at most that of a chi-square with one degree of freedom, 15: 2,000 repeats determine its
    standard deviation within sqrt(14 / 4 / 2000) = 4 %."""
    found, null = repeats(P, P, 2000, m=m, n_points=n).unbind(-1)
    assert found.std().item() == pytest.approx(null.square().mean().sqrt().item(), rel=0.2)


def test_the_null_variance_is_unbiased():
    """E c^2 = E k^2 - 2 E (E k(y, .))^2 + (E k)^2 has a closed form for N(0, v), with three Gaussian integrals. The test uses 2,000 sets
    of 8 points."""
    h, v = 0.9, 1.7
    k2 = (1 + 4 * v / h**2) ** -0.5
    of_one = h**2 / (v + h**2) * (1 + 2 * v / (v + h**2)) ** -0.5  # the square of h (v + h^2)^-1/2 exp(-y^2 / 2 (v + h^2)), in the mean
    k = (1 + 2 * v / h**2) ** -0.5
    y = v**0.5 * Rng(0).normal("y", 2000, 8, 1)
    found = torch.tensor([null_variance(kernel(points, points, h), 5) for points in y])
    assert_mean(found, (2 / 20 + 2 / 56 + 4 / 40) * (k2 - 2 * of_one + k**2))


def test_by_explicit_loops():
    """MMD^2 of all draws of all chains, and as many held-out points."""
    x, y, h = Rng(0).normal("x", 3, 2, 2), Normal(None, *P).split("test", 6, Rng(0)).x, 0.8

    def mean(a, b):
        pairs = [(first, second) for first in a for second in b if first is not second]
        return sum(math.exp(-(first - second).square().sum().item() / (2 * h**2)) for first, second in pairs) / len(pairs)

    points, data = list(x.flatten(0, 1)), list(y)
    expected = mean(points, points) + mean(data, data) - 2 * mean(points, data)
    assert measure(x, Normal(None, *P), n_points=6)["mmd2"] == pytest.approx(expected, rel=1e-12)


def test_bandwidth_is_the_median_distance_of_the_held_out_points():
    dataset = Normal(None, *P)
    y = dataset.split("test", 31, Rng(0)).x
    distances = sorted((y[i] - y[j]).norm().item() for i in range(31) for j in range(i))
    found = measure(dataset.draw(500, Rng(1)).unsqueeze(1), dataset, n_points=31, bandwidth=None)
    assert found["mmd2_bandwidth"] == pytest.approx(distances[len(distances) // 2])
    assert found == pytest.approx(measure(dataset.draw(500, Rng(1)).unsqueeze(1), dataset, n_points=31, bandwidth=found["mmd2_bandwidth"]))


def test_points_far_from_the_origin():
    x, y = Rng(0).normal("x", 50, 2), Rng(0).normal("y", 40, 2)
    torch.testing.assert_close(kernel(x + 1000, y + 1000, 0.7), kernel(x, y, 0.7), atol=1e-8, rtol=1e-8)
    assert median_distance(x + 1000) == pytest.approx(median_distance(x))


def test_a_reason_replaces_a_missing_number():
    dataset = Normal(None, *P)
    hurt = dataset.draw(100, Rng(1)).unsqueeze(1)
    metric = MaximumMeanDiscrepancy(100, None)
    few, hurt[3] = hurt[:3], math.nan
    Path("ties.csv").write_text("a,b\n" + "".join(f"{i % 17 == 0:d},{i % 19 == 0:d}\n" for i in range(400)))
    ties = table("ties.csv", equal_rows="apart", dequantize=False)
    for samples, data, words in ((hurt, dataset, "not finite"), (few, dataset, "3 samples"), (hurt[10:], ties, "coincide")):
        assert words in metric(MetricContext(None, {}, data, Rng(0), samples))
