"""Two spirals: the density, compared with an average over position and width. Statistical checks are seeded."""

import math

import densities
import numpy as np
import pytest
import torch
from scipy.stats import norm

from ebm_cli.core.rng import Rng
from ebm_cli.datasets.two_spirals import smoothed_box


def test_mass_entropy_and_box():
    dataset = densities.option("two_spirals")
    densities.check_mass_and_entropy(dataset, 2.6455, n=130)
    densities.check_mean_log_prob(dataset, 2.6455, n_draws=5000)
    densities.check_box(dataset, n=120)
    assert dataset.length_scale == 0.1


@pytest.mark.parametrize(("noise", "n"), [(0.1, 144), (0.4, 72)])
def test_draws(noise, n):
    dataset = densities.option("two_spirals", noise=noise)
    densities.check_draws(dataset, n=n)
    densities.check_streams(dataset)


def test_construction():
    """Without Gaussian noise, +-x - u / 6 lies on the arm, n^2 is uniform, and each arm has half of the draws (5 standard errors)."""
    x = densities.option("two_spirals", noise=1e-9).draw(2000, Rng(0)).double().numpy()
    n = np.linspace(0, 3 * np.pi, 2001)
    arm = np.stack([-n * np.cos(n), n * np.sin(n)], -1) / 3
    away = np.stack([(sign * x)[:, None] - arm for sign in (1, -1)])
    inside = ((away > -4e-3) & (away < 1 / 6 + 4e-3)).all(-1)
    assert inside.any((0, 2)).all()
    turn = np.array([n[near.any(0)].mean() for near in inside.transpose(1, 0, 2)])
    assert abs((turn < 3 * np.pi / 2).mean() - 0.25) < 5 * 0.45 / 2000**0.5 + 0.01


def brute(x, noise):
    """The mean of the Gaussian density over a fine grid of n, with density 2 n / (3 pi)^2, and of both uniform widths."""
    n, u = 3 * np.pi * (np.arange(8000) + 0.5) / 8000, (np.arange(200) + 0.5) / 200
    p = 0.0
    for sign in (1, -1):
        f = [
            norm.pdf(sign * x[i] - centre[:, None] / 3 - u / 6, scale=noise).mean(1)
            for i, centre in enumerate((-n * np.cos(n), n * np.sin(n)))
        ]
        p += (2 * n / (3 * np.pi) * f[0] * f[1]).mean() / 2
    return np.log(p)


@pytest.mark.parametrize("noise", [0.1, 0.25])
def test_log_prob_is_the_mean_over_the_construction(noise):
    dataset = densities.option("two_spirals", noise=noise)
    for x in ([0.0, 0.0], [-1.5, 1.0], [2.0, 0.3], [3.2, -0.4], [0.3, -3.4]):
        assert dataset.log_prob(torch.tensor(x, dtype=torch.double)).item() == pytest.approx(brute(x, noise), abs=2e-3)


@pytest.mark.parametrize("std", [0.1, 0.03])
def test_the_smoothed_box_is_a_difference_of_normal_cdfs_however_small(std):
    """The test extends from the middle into the tails, with the logs of survival functions."""
    width = 1 / 6
    y = np.array([0.05, width / 2, -0.1, 0.4, -0.9, 2.0, -1.9, 5.0, -40.0])
    above, below = norm.logsf((np.abs(y - width / 2) - width / 2) / std), norm.logsf((np.abs(y - width / 2) + width / 2) / std)
    exact = above + np.log1p(-np.exp(below - above)) - math.log(width)
    f, c = smoothed_box(torch.from_numpy(y), width, std)
    np.testing.assert_allclose((f.log() - c).numpy(), exact, rtol=1e-9, atol=1e-7)


def test_gradient():
    densities.check_gradient(densities.option("two_spirals"), [[0.1, -0.1], [-1.5, 1.0], [-2.0, 2.0], [3.0, 7.0]])


def test_modes_are_the_arms():
    dataset = densities.option("two_spirals")
    n = torch.linspace(4.0, 3 * math.pi, 50)
    arm = torch.stack([-n * n.cos() + 0.25, n * n.sin() + 0.25], -1) / 3
    assert (dataset.mode(arm) == 0).all()
    assert (dataset.mode(-arm) == 1).all()
    densities.check_modes(dataset, n_draws=5000)
