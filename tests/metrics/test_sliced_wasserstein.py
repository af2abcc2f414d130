"""The sliced Wasserstein distance in closed form. Draws are seeded."""

import math
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from ebm_cli.core.densities import Density
from ebm_cli.core.metric import MetricContext
from ebm_cli.core.rng import Rng
from ebm_cli.metrics.sliced_wasserstein import SlicedWasserstein, distance


@dataclass(frozen=True)
class Standard(Density):
    """N(0, I) in three dimensions."""

    shape: ClassVar[tuple[int, ...]] = (3,)
    box: ClassVar[list] = [(-7.0, 7.0)] * 3
    length_scale: ClassVar[float] = 1.0

    def draw(self, n, rng):
        return rng.normal("z", n, 3)

    def log_prob(self, x):
        return -0.5 * x.double().square().sum(-1) - 1.5 * math.log(2 * math.pi)


def measure(samples, *, n_points=4000, n_projections=128):
    return SlicedWasserstein(n_points, n_projections)(MetricContext(None, {}, Standard(None), Rng(0), samples))


LINE = torch.ones(1, 1)
X = Rng(1).normal("x", 501, 1)


@pytest.mark.parametrize(
    ("y", "expected"), [(X + 3, 3.0), (X - 0.4, 0.4), (2.5 * X, 1.5 * X.square().mean().sqrt().item()), (X.flip(0), 0.0)]
)
def test_on_a_line_quantiles_are_compared(y, expected):
    """The cases are a shift, a scale ((c - 1) times the root mean square), and another order."""
    assert distance(X, y, LINE) == pytest.approx(expected, abs=1e-6)
    assert distance(y, X, LINE) == pytest.approx(expected, abs=1e-6)


def test_root_of_the_mean_square_over_directions():
    """A shift (3, 4) along two axes: sqrt((9 + 16) / 2)."""
    x = Rng(1).normal("x", 100, 2)
    assert distance(x, x + torch.tensor([3.0, 4.0]), torch.eye(2)) == pytest.approx(math.sqrt(12.5), abs=1e-5)


@pytest.mark.parametrize("repeats", [2, 3, 7])
def test_repeated_points_do_not_change_the_distance(repeats):
    assert distance(X, X.repeat(repeats, 1), LINE) == 0
    assert distance(X.repeat(repeats, 1), X + 2, LINE) == pytest.approx(2.0, abs=1e-6)


def test_sizes_that_do_not_divide_each_other():
    """The quantile functions at 1/6, 1/2, 5/6 are (0, 9, 9) for {0, 9} and (0, 1, 2) for {0, 1, 2}."""
    x, y = torch.tensor([[9.0], [0.0]]), torch.tensor([[2.0], [0.0], [1.0]])
    assert distance(x, y, LINE) == pytest.approx(math.sqrt((64 + 49) / 3))


@pytest.mark.parametrize("shift", [(2.0, 0.0, 0.0), (1.0, -2.0, 2.0)])
def test_the_distance_of_shifted_gaussians_is_the_shift_over_sqrt_d(shift):
    """The mean over directions of (w'shift)^2 is |shift|^2 / d. The tolerance of 10 % is 4 standard errors of 2,000 points and 600
    directions."""
    shift = torch.tensor(shift)
    samples = (Rng(5).normal("samples", 2000, 3) + shift).unsqueeze(1)
    found = measure(samples, n_points=2000, n_projections=600)["sliced_wasserstein"]
    assert found == pytest.approx(shift.norm().item() / math.sqrt(3), rel=0.1)


def test_the_distance_of_a_wider_gaussian_is_the_difference_of_standard_deviations():
    """int (2 q(t) - q(t))^2 dt = 1 in every direction; 4,000 points determine it within 5 %."""
    samples = 2 * Rng(5).normal("samples", 4000, 3).unsqueeze(1)
    assert measure(samples)["sliced_wasserstein"] == pytest.approx(1.0, rel=0.05)


def test_equal_distributions_are_at_the_floor_and_all_chains_and_draws_are_used():
    samples = Rng(5).normal("samples", 40, 100, 3)
    found = measure(samples)
    assert 0.5 < found["sliced_wasserstein"] / found["sliced_wasserstein_floor"] < 2
    assert found["sliced_wasserstein_floor"] < 0.05
    samples[:, 50:] += 1.0  # half of each chain
    assert measure(samples)["sliced_wasserstein"] > 5 * found["sliced_wasserstein"]


def test_the_floor_depends_on_the_sizes_of_the_samples_and_the_test_set():
    """With 250 samples of the true distribution and 4,000 points, the distance is near the floor."""
    found = measure(Rng(5).normal("samples", 250, 1, 3))
    assert 0.5 < found["sliced_wasserstein"] / found["sliced_wasserstein_floor"] < 2


def test_samples_that_are_not_finite_give_the_reason():
    samples = Rng(5).normal("samples", 40, 100, 3)
    samples[0, 0, 0] = math.nan
    found = measure(samples)
    assert found["sliced_wasserstein"] == "the samples are not finite"
    assert isinstance(found["sliced_wasserstein_floor"], float)
