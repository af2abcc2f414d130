"""The picture of the weights of an RBM: image j shows the weights of unit j, in the shape of the events."""

import numpy as np
import torch
from densities import option
from torch import nn

from ebm_cli.core.figure import Scene
from ebm_cli.core.rng import Rng
from ebm_cli.energies.rbm import RBM
from ebm_cli.figures import filters
from ebm_cli.figures.filters import Filters

DATA = option("bars_and_stripes", size=3)


def test_the_images_are_the_weights_on_one_scale():
    torch.manual_seed(0)
    energy = RBM(DATA.space, torch.full((3, 3), 0.5), n_hidden=5, std=1.0)
    scene = Scene.of(DATA, energy, DATA.draw(10, Rng(0)))
    assert Filters().lacking(scene) is None
    images = [axis.images[0] for axis in Filters().plot(scene).axes if axis.images]
    assert len(images) == 5
    for j, image in enumerate(images):
        np.testing.assert_allclose(image.get_array(), energy.weight[:, j].detach().view(3, 3))
        assert image.get_clim() == (-energy.weight.abs().max().item(), energy.weight.abs().max().item())


def test_of_many_units_the_first_are_shown_and_said(monkeypatch):
    monkeypatch.setattr(filters, "MOST", 2)
    scene = Scene.of(DATA, RBM(DATA.space, torch.full((3, 3), 0.5), n_hidden=5, std=1.0), DATA.draw(10, Rng(0)))
    drawing = Filters().plot(scene)
    assert sum(bool(axis.images) for axis in drawing.axes) == 2
    assert "weights of 2 of 5 hidden units" in drawing.get_suptitle()


def test_other_energies_and_events_have_no_such_picture():
    class Zero(nn.Module):
        def forward(self, x):
            return 0 * x.flatten(1).sum(1)

    assert Filters().lacking(Scene.of(DATA, Zero(), DATA.draw(10, Rng(0)))) == "the energy has no hidden units with weights"
    flat = option("rbm")
    energy = RBM(flat.space, torch.full(flat.space.shape, 0.5), n_hidden=2, std=1.0)
    assert Filters().lacking(Scene.of(flat, energy, flat.draw(10, Rng(0)))) == "the events are not images"
