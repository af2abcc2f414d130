"""A graph of sites with a coupling on every edge: sums over the neighbors of every site, and colors for block Gibbs.

The state of all sites is s (n, B): a site is a row, so that the rows of the neighbors are read in one piece. Couplings are J (m,), one for
each edge. Sites of one color have no edge between them and are drawn at once (core/lattice.py colors them).
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ebm_cli.core.lattice import greedy_colors

FEW = 8  # neighbors that are added one after the other, up to which this was measured to be faster than a product of matrices


class Block(NamedTuple):
    """Sites without edges between them, (k,); their neighbors and the edges to them, (k, g). A missing neighbor has the edge m."""

    sites: Tensor
    neighbors: Tensor
    edges: Tensor


class Graph:
    """`edges` are the pairs of sites, (m, 2). The tensors are on one device: a compiled step reads them, and does not make them."""

    def __init__(self, n_sites: int, edges: np.ndarray) -> None:
        self.n_sites, self.edges = n_sites, edges
        self.colors = np.array(greedy_colors(n_sites, edges.tolist()))  # of every site, (n,)
        self.first, self.second = (torch.from_numpy(side.copy()) for side in edges.T)  # the two sites of every edge, (m,)
        self.blocks = [Block(*map(torch.from_numpy, block)) for block in self._blocks()]  # the sites of each color

    def to(self, device: torch.device) -> None:
        """Move the tensors."""
        self.first, self.second = self.first.to(device), self.second.to(device)
        self.blocks = [Block(*(part.to(device) for part in block)) for block in self.blocks]

    def neighbor_sum(self, coupling: Tensor, s: Tensor) -> Tensor:
        """sum_j J_ij s_j of every site, (n, B)."""
        found, value = torch.zeros_like(s), coupling.unsqueeze(-1)
        return found.index_add(0, self.first, value * s[self.second]).index_add(0, self.second, value * s[self.first])

    def sum_at(self, block: Block, coupling: Tensor, s: Tensor) -> Tensor:
        """sum_j J_ij s_j of the sites of a block, (k, B)."""
        padded = torch.cat([coupling, coupling.new_zeros(1)])[block.edges]
        if padded.shape[1] > FEW:
            return torch.bmm(padded.unsqueeze(1), s[block.neighbors]).squeeze(1)
        found = s.new_zeros(len(block.sites), s.shape[1])
        for weight, neighbor in zip(padded.unbind(1), block.neighbors.unbind(1), strict=True):
            found = torch.addcmul(found, weight.unsqueeze(-1), s[neighbor])
        return found

    def _blocks(self) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """The parts of each block as arrays."""
        ends = np.concatenate([self.edges, self.edges[:, ::-1]])
        order = np.argsort(ends[:, 0], kind="stable")
        ends, edge = ends[order], np.tile(np.arange(len(self.edges)), 2)[order]
        start = np.searchsorted(ends[:, 0], np.arange(self.n_sites + 1))
        found = []
        for color in range(int(self.colors.max()) + 1):
            sites = np.flatnonzero(self.colors == color)
            degree = start[sites + 1] - start[sites]
            place = start[sites][:, None] + np.arange(degree.max(initial=0))
            exists = np.arange(degree.max(initial=0)) < degree[:, None]
            place = np.where(exists, place, 0)
            neighbors, edges = (values[place] if len(ends) else place for values in (ends[:, 1], edge))
            found.append((sites, np.where(exists, neighbors, 0), np.where(exists, edges, len(self.edges))))
        return found
