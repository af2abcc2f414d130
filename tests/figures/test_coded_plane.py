"""The picture of bits that are cells of the plane: every value is in its place."""

import numpy as np
import torch
from densities import option
from torch import nn

from ebm_cli.core.figure import Scene
from ebm_cli.core.rng import Rng
from ebm_cli.figures.coded_plane import CodedPlane

DATA = option("binary_moons", n_bits=5)


class Sloped(nn.Module):
    """The energy of a distribution whose mass grows from left to right."""

    def forward(self, x):
        return -3 * DATA.to_plane(x)[..., 0].float()


def test_the_axes_show_counts_and_probabilities():
    scene = Scene.of(DATA, Sloped(), DATA.draw(3000, Rng(1)))
    assert CodedPlane().lacking(scene) is None
    data, samples, true, model = (np.asarray(axis.images[0].get_array()) for axis in CodedPlane().plot(scene).axes[:4])
    assert data.shape == true.shape == (32, 32)
    np.testing.assert_allclose([image.sum() for image in (data, samples, true, model)], 1)
    middle = DATA.to_plane(DATA.coded(torch.arange(1024)).float()).view(32, 32, 2)  # (column, row)
    plane = DATA.plane.log_prob(middle).flatten().softmax(0).view(32, 32).numpy()
    np.testing.assert_allclose(true, plane.T, rtol=1e-9)
    sloped = (3 * middle[..., 0]).flatten().softmax(0).view(32, 32).numpy()
    np.testing.assert_allclose(model, sloped.T, rtol=1e-4)
    assert abs(data - true).sum() < 0.3  # half the sum of deviations of 4000 events in about 400 cells is near 0.1


def test_other_events_have_no_such_picture():
    assert CodedPlane().lacking(Scene.of(option("bars_and_stripes"))) == "the events are not codes of cells of the plane"
