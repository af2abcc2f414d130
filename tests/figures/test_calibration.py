"""The calibration of the conformal threshold."""

import numpy as np
from densities import option

from ebm_cli.core.figure import Scene
from ebm_cli.figures.calibration import Calibration, beta_binomial, interval, rates


def test_the_beta_binomial_distribution():
    """a = b = 1 is uniform on 0 ... m; the mean is m a / (a + b)."""
    np.testing.assert_allclose(beta_binomial(4, 1, 1), 1 / 5)
    mass = beta_binomial(30, 2, 5)
    assert abs(mass.sum() - 1) < 1e-12
    assert abs(mass @ np.arange(31) - 30 * 2 / 7) < 1e-10


def test_the_rates_are_shares_above_the_thresholds():
    """The thresholds of 1 ... 9 at q = 0.1, 0.5 and 0.9 are 9, 5 and 1."""
    first, second = np.arange(1.0, 10), np.array([0.5, 4.0, 5.5, 8.5, 9.5, 10.0, 2.0, 2.0])
    assert rates(first, second, np.array([0.1, 0.5, 0.9])).tolist() == [2 / 8, 4 / 8, 7 / 8]


def test_the_band_has_its_coverage_by_simulation():
    """2,000 repetitions of n = 30, m = 40 and q = 9/31. The coverage is at least 0.95; the false-alarm rate of the bound is below 1e-4."""
    rng, (low, high) = np.random.default_rng(0), interval(30, 40, 9 / 31)
    first, second = rng.standard_normal((2000, 30)), rng.standard_normal((2000, 40))
    above = (second > np.sort(first)[:, [30 - 9]]).sum(1)
    exact = beta_binomial(40, 9, 22)[low : high + 1].sum()
    assert exact >= 0.95
    assert abs(((low <= above) & (above <= high)).mean() - exact) < 4 * (exact * (1 - exact) / 2000) ** 0.5


def test_the_picture_has_the_rates_of_one_half_of_the_held_out_events():
    scene = Scene.of(option("moons"))
    axis = Calibration(n_points=400, fewest=40).plot(scene).axes[0]
    energies = scene.energies(scene.dataset.split("test", 400, scene.rng).x)
    order = scene.rng.at("figure").permutation("calibration", 400).numpy()
    exact, held_out, _ = axis.lines
    np.testing.assert_allclose(held_out.get_ydata(), rates(energies[order[:200]], energies[order[200:]], held_out.get_xdata()))
    assert exact.get_xdata().tolist() == exact.get_ydata().tolist()


def test_few_held_out_events_have_no_calibration():
    scene = Scene.of(option("moons"))
    assert Calibration(n_points=30, fewest=40).lacking(scene) == "there are 30 held-out events, and at least 40 are needed"
