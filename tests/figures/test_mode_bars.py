"""The bars of the weights of modes."""

import numpy as np
import torch
from densities import option
from test_log_ratio import Exact

from ebm_cli.core.figure import Scene
from ebm_cli.figures.mode_weights import ModeWeights, of_density, of_samples


def one_of(data, mode):
    """An event of the data in this mode, in data units."""
    x = data.split("train", 500, Scene.of(data).rng).x
    return data.standardization.to_data(x[data.mode(x) == mode][:1])


def test_the_bars_are_the_shares_of_the_samples_in_each_mode():
    data = option("eight_gaussians")
    scene = Scene.of(data, samples=torch.cat([one_of(data, 2)] * 3 + [one_of(data, 5)]))
    axis = ModeWeights().plot(scene).axes[0]
    true, samples = (np.array([bar.get_height() for bar in bars]) for bars in axis.containers[:3:2])
    np.testing.assert_allclose(true, 1 / 8)
    assert samples.tolist() == [0, 0, 0.75, 0, 0, 0.25, 0, 0]
    assert axis.get_title().endswith("0.750")  # 1/2 (6/8 + 5/8 + 1/8)


def test_the_interval_is_that_of_wilson():
    """For 3 of 4: (3/4 + z^2/8 -+ z sqrt(3/16/4 + z^2/64)) / (1 + z^2/4) = 0.3006, 0.9544 (Brown, Cai & DasGupta 2001)."""
    data = option("eight_gaussians")
    _, ends = of_samples(Scene.of(data, samples=torch.cat([one_of(data, 2)] * 3 + [one_of(data, 5)])))
    np.testing.assert_allclose(ends[:, 2], [0.3006, 0.9544], atol=5e-5)


def test_the_exact_density_has_the_true_weights():
    data = option("eight_gaussians")
    np.testing.assert_allclose(of_density(Scene.of(data, Exact(data))), 1 / 8, atol=1e-3)


def test_data_without_known_modes_have_no_bars():
    assert ModeWeights().lacking(Scene.of(option("swissroll"))) == "this dataset has no known modes"
