"""Samples beside their nearest training images."""

import numpy as np
import torch
from densities import option

from ebm_cli.core.figure import Scene
from ebm_cli.figures.nearest_images import NearestImages, image_sides, nearest

FIGURE = NearestImages(n_samples=4, n_columns=2, n_train=200)


def test_the_nearest_image_and_its_distance():
    place, distance = nearest(np.array([[0.0, 0.0], [3.0, 4.0]]), np.array([[5.0, 4.0], [0.0, 0.0], [0.0, 4.0]]))
    assert place.tolist() == [1, 0]
    assert distance.tolist() == [0, 2]


def test_a_sample_that_repeats_a_training_image_has_the_distance_zero_and_stands_above_it():
    data = option("bars_and_stripes")
    plain = Scene.of(data)
    train = FIGURE.split(plain, "train", 200)
    samples = torch.from_numpy(train[:4].copy()).reshape(4, *data.shape)
    samples[3].flatten()[0] = 1 - samples[3].flatten()[0]
    axes = np.array(FIGURE.plot(Scene.of(data, samples=samples)).axes).reshape(4, 2)
    for i in range(3):
        upper, lower = axes[2 * (i // 2), i % 2], axes[2 * (i // 2) + 1, i % 2]
        np.testing.assert_array_equal(upper.images[0].get_array(), lower.images[0].get_array())
        assert lower.get_title() == "0"
    assert axes[3, 1].get_title() == "1"


def test_only_images_of_one_channel_are_shown():
    assert [image_sides(shape) for shape in ((4, 3), (1, 4, 3), (3, 4, 3), (12,), (1, 4))] == [(4, 3), (4, 3), None, None, None]
    assert FIGURE.lacking(Scene.of(option("moons"))) == "the events are not images with one channel"
