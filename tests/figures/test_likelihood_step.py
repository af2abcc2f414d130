"""The map of one step of maximum likelihood."""

import numpy as np
import torch
from densities import option
from test_log_ratio import Exact
from torch import nn

from ebm_cli.core.figure import Scene
from ebm_cli.figures.likelihood_step import LikelihoodStep

FIGURE = LikelihoodStep(n_points=300)


class Linear(nn.Module):
    """E(x) = theta . (x_0, x_1^2)."""

    def __init__(self):
        super().__init__()
        self.theta = nn.Parameter(torch.tensor([0.3, 0.7]))

    def forward(self, x):
        return features(x) @ self.theta


def features(x):
    return torch.stack([x[:, 0], x[:, 1].square()], -1)


def test_the_change_of_a_linear_energy_is_exact():
    """g = mean phi(data) - mean phi(samples), and -d log p(x) = -g . (phi(x) - mean phi(samples))."""
    scene = Scene.of(option("moons"), Linear(), torch.randn(200, 2, generator=torch.Generator().manual_seed(0)))
    data, samples = FIGURE.points(scene)
    at = scene.standardization.from_data(scene.grid()[2])
    g = features(data).mean(0) - features(samples).mean(0)
    expected = -(features(at) - features(samples).mean(0)) @ g
    mesh = FIGURE.plot(scene).axes[0].collections[0]
    np.testing.assert_allclose(mesh.get_array().ravel(), expected, rtol=1e-6, atol=1e-8)
    assert -mesh.get_clim()[0] == mesh.get_clim()[1]


def test_a_step_makes_the_data_more_likely():
    """The mean of -d log p over the data is -|g|^2."""
    scene = Scene.of(option("moons"), Linear(), torch.zeros(5, 2))
    data, samples = FIGURE.points(scene)
    g = features(data).mean(0) - features(samples).mean(0)
    np.testing.assert_allclose(FIGURE.change(scene, data, samples, data).mean(), -g.square().sum(), rtol=1e-6)


def test_a_model_at_the_maximum_has_no_step():
    scene = Scene.of(option("moons"), Linear())
    data, _ = FIGURE.points(scene)
    assert not FIGURE.change(scene, data, data, data).any()


def test_an_energy_without_parameters_has_no_step():
    moons = option("moons")
    assert FIGURE.lacking(Scene.of(moons, Exact(moons))) == "the energy has no parameters to learn"
    assert FIGURE.lacking(Scene.of(option("rbm"))) == "the events are not points in the plane"
