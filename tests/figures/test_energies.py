"""The histograms of energies, and the threshold of `ebm score`."""

import dataclasses
import math

import numpy as np
import torch
from densities import option
from targets import CoupledScore

from ebm_cli.core.figure import Scene
from ebm_cli.core.fitted_reference import FittedReference
from ebm_cli.core.model import Model
from ebm_cli.figures.energies import Energies
from ebm_cli.references.gaussian import Gaussian


def test_the_bars_are_the_shares_of_the_energies_and_the_line_is_the_conformal_threshold():
    """The energy is |u|^2 / 2 in the coordinates of the model, which are those of the data here."""
    scene = Scene.of(option("eight_gaussians"), samples=torch.tensor([[0.0, 0.0]] * 3 + [[1.0, 2.0]]))
    axis = Energies(0.05).plot(scene).axes[0]
    held_out = (0.5 * scene.dataset.split("test", 4000, scene.rng).x.double().square().sum(1)).sort().values
    (line,) = axis.lines
    assert math.isclose(line.get_xdata()[0], held_out[4000 - math.floor(4001 * 0.05)], rel_tol=1e-6)
    x, y = axis.patches[-1].get_xy().T  # the outline of the last set, the samples
    height = y.max()
    assert {*np.round(y / height, 6)} == {0, round(1 / 3, 6), 1}
    assert math.isclose(height * np.diff(np.unique(x)).mean(), 0.75)
    places = [x[y == value].mean() for value in (y.max(), y[(y > 0) & (y < y.max())].max())]
    np.testing.assert_allclose(places, [0, 2.5], atol=np.diff(np.unique(x)).mean())


def test_the_sets_are_named_and_energies_that_are_not_finite_are_left_out():
    scene = Scene.of(option("eight_gaussians"), samples=torch.tensor([[0.0, 0.0], [1.0, 2.0], [math.nan, 0.0]]))
    reference = FittedReference.fit(Gaussian(), scene.draws.flatten(0, 1)[:2], (2,), scene.rng)
    sets = Energies(0.05).sets(dataclasses.replace(scene, reference=reference))
    assert list(sets) == ["data", "held-out data", "samples", "reference"]
    np.testing.assert_allclose(sets["samples"], [0, 2.5], atol=1e-6)


def test_too_few_held_out_events_have_no_threshold():
    assert Energies(0.05).threshold({"held-out data": np.arange(18.0)}) is None
    assert Energies(0.05).threshold({"held-out data": np.arange(19.0)}) == 18.0  # k = ceil(20 * 0.95) = 19


def test_a_score_network_has_no_energies():
    scene = Scene.of(option("moons"))
    without = dataclasses.replace(scene, model=Model(CoupledScore(), event_ndim=1, stacked=False))
    assert Energies(0.05).lacking(without) == "the model gives no energy for an event: it outputs the score itself or takes a label"
