"""The picture of the noise levels."""

import dataclasses

import numpy as np
import torch
from densities import option
from matplotlib.quiver import Quiver
from torch import nn

from ebm_cli.core.figure import Scene
from ebm_cli.core.fitted_reference import FittedReference
from ebm_cli.core.model import Model
from ebm_cli.core.wrappers import AtNoiseLevel
from ebm_cli.figures.noise_ladder import NoiseLadder
from ebm_cli.references.gaussian import Gaussian

FIGURE = NoiseLadder(n_levels=2, n_samples=400, n_steps_per_level=30, step_size=0.2)


class Smoothed(nn.Module):
    """The energy of N(0, (1 + sigma^2) I)."""

    takes_noise_level = True

    def forward(self, x, noise_level):
        return 0.5 * x.square().sum(-1) / (1 + noise_level.square())


def scene():
    plain = Scene.of(option("moons"))
    model = AtNoiseLevel(Model(Smoothed(), event_ndim=1, stacked=False), (3.0, 1.0, 0.1))
    reference = FittedReference.fit(Gaussian(), plain.draws.flatten(0, 1), (2,), plain.rng)
    return dataclasses.replace(plain, model=model, params={}, reference=reference)


def test_the_arrows_are_the_score_at_each_level():
    """s(x) = -x / (1 + sigma^2), drawn with the length log(1 + |s|)."""
    for axis, sigma in zip(FIGURE.plot(scene()).axes[:2], (3.0, 0.1), strict=True):
        (field,) = (artist for artist in axis.collections if isinstance(artist, Quiver))
        score = -np.stack([field.X, field.Y], 1) / (1 + sigma**2)
        length = np.linalg.norm(score, axis=1, keepdims=True)
        expected = np.where(length > 0, score / np.where(length > 0, length, 1) * np.log1p(length), 0)
        np.testing.assert_allclose(np.stack([field.U, field.V], 1), expected, rtol=1e-4, atol=1e-5)


def test_the_states_are_those_at_the_end_of_each_level():
    """At sigma = 3 the variance of a Langevin step a = 0.2 sigma^2 = 1.8 is 10 / (1 - 1.8 / 20). 800 values: 5 standard deviations of the
    variance are 25 %, a false-alarm rate below 1e-6."""
    first, last = FIGURE.run(scene(), np.array([0, 2]))
    assert abs(first.var().item() / (10 / (1 - 0.09)) - 1) < 0.25
    assert not torch.equal(first, last)
    assert len(first) == 400


def test_a_model_without_noise_levels_has_no_ladder():
    assert FIGURE.lacking(Scene.of(option("moons"))).startswith("the model takes no noise level")
    assert FIGURE.lacking(scene()) is None
