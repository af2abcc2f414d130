"""Couplings on a graph: sums over neighbors, blocks of sites without edges between them, and exactness of block Gibbs."""

import numpy as np
import pytest
import torch

from ebm_cli.core.graph import Graph
from ebm_cli.core.quantize import quantized

RING = np.array([[i, (i + 1) % 5] for i in range(5)])


def random_graph(n=9, p=0.4, seed=0):
    chosen = np.random.default_rng(seed).uniform(size=(n, n)) < p
    return Graph(n, np.argwhere(np.triu(chosen, 1)))


def dense(graph, coupling):
    found = torch.zeros(graph.n_sites, graph.n_sites, dtype=coupling.dtype)
    first, second = graph.first, graph.second
    return found.index_put((first, second), coupling) + found.index_put((second, first), coupling)


@pytest.mark.parametrize("graph", [random_graph(), Graph(5, RING), Graph(4, np.empty((0, 2), dtype=int)), Graph(3, np.array([[0, 2]]))])
def test_sums_over_neighbors_are_products_with_the_matrix_of_the_couplings(graph):
    torch.manual_seed(0)
    coupling, s = torch.randn(len(graph.edges)).double(), torch.randn(graph.n_sites, 6).double()
    expected = dense(graph, coupling) @ s
    torch.testing.assert_close(graph.neighbor_sum(coupling, s), expected)
    sites = []
    for block in graph.blocks:
        torch.testing.assert_close(graph.sum_at(block, coupling, s), expected[block.sites])
        sites += block.sites.tolist()
    assert sorted(sites) == list(range(graph.n_sites))


@pytest.mark.parametrize("graph", [random_graph(seed=seed) for seed in range(3)] + [Graph(5, RING)])
def test_no_two_sites_of_a_block_are_neighbors(graph):
    matrix = dense(graph, torch.ones(len(graph.edges)))
    for block in graph.blocks:
        assert not matrix[block.sites][:, block.sites].any()


def test_a_ring_of_odd_length_has_three_colors_and_one_of_even_length_two():
    assert len(Graph(5, RING).blocks) == 3
    assert len(Graph(6, np.array([[i, (i + 1) % 6] for i in range(6)])).blocks) == 2


def test_quantized_values_are_multiples_of_one_step_within_half_of_it():
    values = torch.tensor([-1.0, -0.3, 0.0, 0.24, 0.26, 0.9])
    assert quantized(values, 2).tolist() == [-1.0, 0.0, 0.0, 0.0, 0.0, 1.0]
    assert quantized(values, 3).tolist() == pytest.approx([-1.0, -1 / 3, 0.0, 1 / 3, 1 / 3, 1.0])
    for n_bits in (4, 8, 16):
        step = 1 / (2 ** (n_bits - 1) - 1)
        found = quantized(values, n_bits)
        assert (found - values).abs().max() <= step / 2 + 1e-6
        torch.testing.assert_close(found / step, (found / step).round(), atol=1e-2, rtol=0)
    assert quantized(values, None) is values
    assert not quantized(torch.zeros(3), 4).any()


def test_the_gradient_of_quantized_values_is_that_of_the_values():
    values = torch.tensor([-1.0, 0.3, 0.8], requires_grad=True)
    quantized(values, 3).square().sum().backward()
    torch.testing.assert_close(values.grad, 2 * quantized(values, 3).detach())


def test_sites_with_many_neighbors_have_the_same_sums():
    """A star, whose center has more neighbors than are added one after the other."""
    graph = Graph(30, np.array([[0, j] for j in range(1, 30)]))
    torch.manual_seed(0)
    coupling, s = torch.randn(29).double(), torch.randn(30, 5).double()
    expected = dense(graph, coupling) @ s
    for block in graph.blocks:
        torch.testing.assert_close(graph.sum_at(block, coupling, s), expected[block.sites])
