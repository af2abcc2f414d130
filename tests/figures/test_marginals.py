"""Histograms of each column: bars of discrete values, and columns that do not vary."""

import warnings

import numpy as np
import torch
from densities import option

from ebm_cli.core.figure import Scene
from ebm_cli.figures.marginals import Marginals, bins_of


def test_one_bar_for_each_value_of_bits_and_categories():
    assert bins_of(np.array([0.0, 2.0, 1.0]), discrete=True).tolist() == [-0.5, 0.5, 1.5, 2.5]


def test_a_column_that_does_not_vary_has_a_picture():
    edges = bins_of(np.full(9, 3.0), discrete=False)
    assert (edges[0], edges[-1], len(edges)) == (2.5, 3.5, 31)


def test_the_bars_of_bits_are_their_frequencies():
    data = option("rbm", n_visible=5, n_hidden=3)
    x = torch.zeros(100, 5)
    x[:25, 1] = 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        axes = Marginals().plot(Scene.of(data, samples=x)).axes
    samples = axes[1].patches[0].get_xy()
    assert samples[:, 1].max() == 0.75
    assert axes[0].patches[0].get_xy()[:, 1].max() == 1
