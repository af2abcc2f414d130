"""The picture of the logarithm of the ratio of the densities."""

import numpy as np
from densities import option
from torch import nn

from ebm_cli.core.figure import Scene
from ebm_cli.figures.log_ratio import LogRatio


class Exact(nn.Module):
    """-log p of a dataset."""

    def __init__(self, dataset):
        super().__init__()
        self.dataset = dataset

    def forward(self, u):
        return -self.dataset.log_prob(u)


def test_the_ratio_is_the_error_of_log_z_where_the_energy_is_exact():
    data = option("moons")
    log_det = float(data.standardization.log_det)
    scene = Scene.of(data, Exact(data), log_z=log_det + 0.3)  # p_model = exp(-0.3) p_data
    true, model, ratio = LogRatio(0.01).plot(scene).axes[:3]
    values = ratio.collections[0].get_array()
    np.testing.assert_allclose(values.compressed(), -0.3, atol=1e-4)
    assert 0 < values.mask.mean() < 1
    assert ratio.collections[0].get_clim()[0] == -ratio.collections[0].get_clim()[1]
    ends = [axis.collections[0].get_clim() for axis in (true, model)]
    assert ends[0] == ends[1]  # one color scale for both densities


def test_it_needs_both_densities():
    figure, moons = LogRatio(0.01), option("moons")
    assert figure.lacking(Scene.of(moons)) is None
    assert figure.lacking(Scene.of(moons, Exact(moons))) == "the density of the model is unknown, because its log Z is"
    assert figure.lacking(Scene.of(option("rbm"))) == "the events are not points in the plane"
