"""Lattices of sites: their bonds, the sum over the neighbors of every site, and colors of sites such that no two neighbors share one.

A lattice has the shape of an event, (L_1, ..., L_k). Site i has a bond with the next site along each axis; at the end of a periodic axis
the next site is the first one. An axis of two periodic sites has two bonds between them, as in Kaufman's formula, and an axis of one site
has none. Couplings are tensors (k, L_1, ..., L_k): entry (a, i) is that of the bond of site i along axis a.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

import torch
from torch import Tensor


@dataclass(frozen=True)
class Lattice:
    """`periodic` has an entry for each axis."""

    shape: tuple[int, ...]
    periodic: tuple[bool, ...]

    @classmethod
    def of(cls, shape: Sequence[int], periodic: bool | Sequence[bool]) -> "Lattice":
        return cls(tuple(shape), (periodic,) * len(shape) if isinstance(periodic, bool) else tuple(periodic))

    @property
    def n_sites(self) -> int:
        return prod(self.shape)

    @cached_property
    def bonds(self) -> Tensor:
        """Whether site i has a bond along axis a, (k, *shape)."""
        found = torch.ones(len(self.shape), *self.shape, dtype=torch.bool)
        for axis, (side, closed) in enumerate(zip(self.shape, self.periodic, strict=True)):
            if side == 1 or not closed:
                found[axis].select(axis, side - 1).fill_(False)
        return found

    @cached_property
    def edges(self) -> Tensor:
        """The two sites of every bond, (n_bonds, 2), in the order of the couplings of `bonds`."""
        site = torch.arange(self.n_sites).view(self.shape)
        pairs = [torch.stack([site, site.roll(-1, axis)], -1)[self.bonds[axis]] for axis in range(len(self.shape))]
        return torch.cat(pairs)

    @cached_property
    def colors(self) -> Tensor:
        """The color of every site, (*shape)."""
        return torch.tensor(greedy_colors(self.n_sites, self.edges.tolist())).view(self.shape)

    def neighbor_sum(self, coupling: Tensor, s: Tensor) -> Tensor:
        """sum_j J_ij s_j over the neighbors j of every site i: J (k, *shape), s (B, *shape) -> (B, *shape)."""
        total = torch.zeros_like(s)
        for axis in range(len(self.shape)):
            along = axis - len(self.shape)
            total = total + coupling[axis] * s.roll(-1, along) + (coupling[axis] * s).roll(1, along)
        return total


def greedy_colors(n_sites: int, edges: Iterable[Sequence[int]]) -> list[int]:
    """A color for each site, the smallest that no earlier neighbor has. Sites of one color are not neighbors.

    A periodic lattice of even sides has two colors, one with an odd side at least three.
    """
    neighbors: list[list[int]] = [[] for _ in range(n_sites)]
    for a, b in edges:
        neighbors[max(a, b)].append(min(a, b))
    colors: list[int] = []
    for earlier in neighbors:
        taken = {colors[site] for site in earlier}
        colors.append(next(color for color in range(len(taken) + 1) if color not in taken))
    return colors
