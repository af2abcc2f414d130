"""The picture of events on a lattice: every site of every image is in its place."""

import numpy as np
import torch
from densities import option

from ebm_cli.core.figure import Scene
from ebm_cli.figures.lattices import Lattices, tiled
from ebm_cli.figures.marginals import Marginals
from ebm_cli.types import Space


def test_images_are_tiled_row_by_row_with_lines_between_them():
    points = np.arange(3)[:, None] * 10 + np.arange(6)
    image = tiled(points, (2, 3), 2)
    assert image.shape == (5, 7)
    for k, (top, left) in enumerate([(0, 0), (0, 4), (3, 0)]):
        assert image[top : top + 2, left : left + 3].tolist() == points[k].reshape(2, 3).tolist()
    assert image.mask[2].all()
    assert image.mask[:, 3].all()
    assert image.mask[3:, 4:].all()  # there are three points only
    assert image.count() == 18


def test_events_are_chosen_evenly():
    points = np.arange(9).reshape(9, 1) * np.ones((1, 4))
    assert tiled(points, (2, 2), 2)[[0, 0, 3, 3], [0, 3, 0, 3]].tolist() == [0, 2, 5, 8]


def test_samples_stand_beside_the_data():
    data, x = option("bars_and_stripes"), torch.zeros(4, 1, 4, 4)
    x[:, 0, 1, 2] = 1
    scene, figure = Scene.of(data, samples=x), Lattices(2)
    assert figure.lacking(scene) is None
    left, right = figure.plot(scene).axes
    np.testing.assert_array_equal(left.images[0].get_array(), tiled(scene.data, (4, 4), 2))
    np.testing.assert_array_equal(right.images[0].get_array(), tiled(x.flatten(1).numpy(), (4, 4), 2))
    assert right.images[0].get_clim() == (-0.5, 1.5)
    assert Marginals().lacking(scene) == "figure=lattices shows events on a lattice"


def test_it_needs_two_axes_and_discrete_events():
    assert Lattices(2).lacking(Scene.of(option("rbm"))) == "the events are not on a lattice with two axes"
    images = Scene.of(option("bars_and_stripes"))
    object.__setattr__(images, "kind", "real")
    assert Lattices(2).lacking(images) == "the events are not on a lattice with two axes"
    assert Marginals().lacking(images) is None


def test_categories_have_one_color_each():
    scene = Scene.of(option("bars_and_stripes"))
    scene.model.space = Space((1, 4, 4), "categorical", 3)
    assert Lattices(2)._colors(scene)["vmax"] == 2.5
    assert Lattices(2)._colors(scene)["cmap"].N == 3
