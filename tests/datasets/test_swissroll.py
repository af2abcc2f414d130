"""The Swiss roll: the quadrature along the curve, compared with scipy. Statistical checks are seeded."""

import itertools

import densities
import numpy as np
import pytest
import torch
from scipy.integrate import quad
from sklearn.datasets import make_swiss_roll

from ebm_cli.core.rng import Rng

FIRST, LAST = 1.5 * np.pi, 4.5 * np.pi


def test_mass_entropy_and_box():
    dataset = densities.option("swissroll")
    densities.check_mass_and_entropy(dataset, 2.6696)
    densities.check_mean_log_prob(dataset, 2.6696)
    densities.check_box(dataset)
    assert dataset.length_scale == 0.2


@pytest.mark.parametrize("changes", [{}, {"noise": 0.5, "scale": 0.3}])
def test_draws(changes):
    dataset = densities.option("swissroll", **changes)
    densities.check_draws(dataset)
    densities.check_streams(dataset)


def test_curve_is_that_of_scikit_learn_without_its_width():
    """Without noise every draw lies on scikit-learn's curve, and t is uniform: half of the draws have t < 3 pi (5 standard errors)."""
    draws = densities.option("swissroll", noise=1e-7, scale=2.0).draw(4000, Rng(0)).double()
    rows, t = make_swiss_roll(4000, random_state=0)
    curve = torch.from_numpy(2 * rows[:, [0, 2]])
    distance, nearest = torch.cdist(draws, curve).min(1)
    assert distance.max() < 2 * LAST * 3 * np.pi / 400  # a bound of the gaps between scikit-learn's draws
    assert abs((t[nearest] < 3 * np.pi).mean() - 0.5) < 5 * 0.5 / 4000**0.5


@pytest.mark.parametrize("noise", [0.2, 0.06])
def test_log_prob_is_the_gaussian_integrated_along_the_curve(noise):
    dataset = densities.option("swissroll", noise=noise)
    on_curve = 0.2 * 8.0 * np.array([np.cos(8.0), np.sin(8.0)])
    for x in (on_curve, on_curve + np.array([0.1, 0.3]), 0.2 * LAST * np.array([0.0, 1.02]), [0.0, -1.0]):

        def along(t, x=x):
            squared = (x[0] - 0.2 * t * np.cos(t)) ** 2 + (x[1] - 0.2 * t * np.sin(t)) ** 2
            return np.exp(-squared / (2 * noise**2)) / (2 * np.pi * noise**2)

        pieces = np.linspace(FIRST, LAST, 200)
        p = sum(quad(along, a, b, epsabs=1e-18)[0] for a, b in itertools.pairwise(pieces)) / (LAST - FIRST)
        if p > 1e-12:
            assert dataset.log_prob(torch.tensor(x)).item() == pytest.approx(np.log(p), abs=1e-7)


def test_gradient():
    densities.check_gradient(densities.option("swissroll"), [[0.1, -1.0], [1.0, 0.2], [-2.0, 2.0], [3.0, 4.0]])
