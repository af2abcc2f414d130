"""Lattices: bonds, sums over neighbors, and colors."""

import pytest
import torch

from ebm_cli.core.lattice import Lattice, greedy_colors

SHAPES = [
    ((4, 4), True),
    ((3, 5), True),
    ((4, 4), False),
    ((6,), True),
    ((5,), True),
    ((2, 3), True),
    ((3, 4), (True, False)),
    ((3, 3, 2), True),
]


@pytest.mark.parametrize(("shape", "periodic"), SHAPES)
def test_the_sum_over_neighbors_is_the_sum_over_the_bonds(shape, periodic):
    lattice = Lattice.of(shape, periodic)
    torch.manual_seed(0)
    coupling, s = torch.randn(len(shape), *shape) * lattice.bonds, torch.randn(7, *shape)
    dense = torch.zeros(lattice.n_sites, lattice.n_sites)
    for (a, b), value in zip(lattice.edges.tolist(), coupling[lattice.bonds].tolist(), strict=True):
        dense[a, b] += value
        dense[b, a] += value
    torch.testing.assert_close(lattice.neighbor_sum(coupling, s).flatten(1), s.flatten(1) @ dense)


@pytest.mark.parametrize(("shape", "periodic"), SHAPES)
def test_no_two_neighbors_have_the_same_color(shape, periodic):
    lattice = Lattice.of(shape, periodic)
    color = lattice.colors.flatten()
    assert (color[lattice.edges[:, 0]] != color[lattice.edges[:, 1]]).all()
    odd = any(side % 2 and side > 1 and closed for side, closed in zip(shape, lattice.periodic, strict=True))
    assert (int(color.max()) + 1 == 2) != odd


def test_numbers_of_bonds():
    assert len(Lattice.of((4, 5), True).edges) == 40
    assert len(Lattice.of((4, 5), False).edges) == 4 * 4 + 3 * 5
    assert len(Lattice.of((2, 2), True).edges) == 8  # two bonds between the sites of a periodic axis of two
    assert len(Lattice.of((1, 5), True).edges) == 5  # none along an axis of one site
    assert Lattice.of((2, 3), False).edges.tolist() == [[0, 3], [1, 4], [2, 5], [0, 1], [1, 2], [3, 4], [4, 5]]


def test_colors_of_a_graph_are_the_smallest_that_no_earlier_neighbor_has():
    assert greedy_colors(5, [(0, 1), (0, 2), (1, 2), (3, 2)]) == [0, 1, 2, 0, 0]
