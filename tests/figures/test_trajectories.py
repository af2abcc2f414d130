"""The picture of chains: their states, energies, autocorrelation and acceptance."""

import dataclasses

import numpy as np
import torch
from densities import option

from ebm_cli.core.figure import Scene
from ebm_cli.core.fitted_reference import FittedReference
from ebm_cli.figures.trajectories import Trajectories, autocorrelation, moving_mean
from ebm_cli.references.gaussian import Gaussian
from ebm_cli.samplers.annealed import AnnealedLangevin
from ebm_cli.samplers.mala import MALA

FIGURE = Trajectories(n_chains=3, n_steps=40)


def scene(sampler=None):
    plain = Scene.of(option("moons"))
    reference = FittedReference.fit(Gaussian(), plain.draws.flatten(0, 1), (2,), plain.rng)
    return dataclasses.replace(plain, sampler=sampler or MALA(step_size=0.1, max_score_norm=None), reference=reference)


def test_the_autocorrelation_of_an_alternating_series_alternates():
    np.testing.assert_allclose(autocorrelation(np.array([[1.0, -1.0] * 4, [-1.0, 1.0] * 4])), [1, -1] * 4)
    assert autocorrelation(np.ones((2, 5))).tolist() == [1] * 5


def test_chains_that_stay_apart_do_not_decorrelate():
    """The mean is that of all chains: alternating series around 0 and 10 have rho_t = (25 + (-1)^t) / 26."""
    alternating = np.array([1.0, -1.0] * 4)
    np.testing.assert_allclose(autocorrelation(np.stack([alternating, 10 + alternating])), [1, 24 / 26] * 4)


def test_moving_means():
    assert moving_mean(np.array([1.0, 2, 6, 4]), 2).tolist() == [1.5, 4, 5]


def test_the_traces_are_the_energies_of_the_paths():
    """The energy is |x|^2 / 2: the units of moons are those of the model."""
    shown = scene()
    paths, trace, correlation, acceptance = FIGURE.plot(shown).axes
    lines = [line for line in paths.lines if len(line.get_xdata()) > 1]
    assert len(lines) == len(trace.lines) == 3
    for path, energy in zip(lines, trace.lines, strict=True):
        np.testing.assert_allclose(energy.get_ydata(), 0.5 * np.square(path.get_xydata()).sum(1), rtol=1e-5, atol=1e-6)
    assert correlation.lines[0].get_ydata()[0] == 1
    _, infos = FIGURE.run(shown)
    np.testing.assert_allclose(acceptance.lines[0].get_ydata(), moving_mean(infos["acceptance_rate"].mean(0), 25))


def test_a_path_begins_at_the_reference_and_the_picture_is_the_same_each_time():
    shown = scene()
    start = shown.reference.draw(3, shown.rng.at("figure"), "trajectories")
    first, again = FIGURE.run(shown)[0], FIGURE.run(shown)[0]
    np.testing.assert_allclose(first[:, 0], start.numpy(), rtol=1e-6)
    np.testing.assert_array_equal(first, again)
    assert first.shape == (3, 41, 2)


def test_what_has_no_chains_to_show():
    assert FIGURE.lacking(Scene.of(option("moons"))) == "the sampler of these samples is unknown"
    ladder = scene(AnnealedLangevin(0.1, 5))
    ladder.model.levels = (1.0, 0.1)
    assert "ladder of noise levels" in FIGURE.lacking(ladder)
    assert FIGURE.lacking(scene()) is None


def test_other_events_have_traces_only():
    plain = Scene.of(option("swissroll"), samples=torch.zeros(4, 2))
    shown = dataclasses.replace(plain, sampler=MALA(step_size=0.1, max_score_norm=None), reference=scene().reference, kind="binary")
    assert [axis.get_ylabel() for axis in FIGURE.plot(shown).axes] == ["energy, nats", "autocorrelation", "acceptance"]
