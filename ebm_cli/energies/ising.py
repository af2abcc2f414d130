"""The Ising model: a Boltzmann machine without hidden units. Ising 1925; Ackley, Hinton & Sejnowski 1985.

    E(x) = -beta (sum_<ij> J_ij s_i s_j + sum_i h_i s_i),    s_i = 2 x_i - 1,    x_i in {0, 1}

The sum runs over the bonds of a lattice, or over all pairs. J > 0 favors equal neighbors. `ebm train` learns J
and h. `ebm sample energy=ising energy.shape=[64,64]` samples the model of its config without a run.

    change of E when bit i is flipped    2 beta s_i (sum_j J_ij s_j + h_i)
    block Gibbs                          the sites of one color at once: no two neighbors have the same color

log Z is exact on lattices with a short side, with up to 20 sites, and with equal couplings and no field (core/ising.py).
"""

from collections.abc import Sequence
from copy import deepcopy
from math import prod
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from ebm_cli.core import ising, transfer_matrix
from ebm_cli.core.block_gibbs import BlockGibbs
from ebm_cli.core.contracts import Energy
from ebm_cli.core.transfer_matrix import Rows
from ebm_cli.energies.target import DiscreteTarget, lattice_of
from ebm_cli.errors import bad
from ebm_cli.types import Count, Positive, Space


class Ising(DiscreteTarget, nn.Module, Energy, BlockGibbs):
    """x (B, *d) -> E(x) (B,). `shape` is that of the lattice; in training it is by default that of the events.

    `coupling` and `field` are J and h of all bonds and sites: of the target without a run (null: J = 1), or at the start of training
    (null: J = 0).
    """

    requires: ClassVar[frozenset[str]] = frozenset({"binary"})

    def __init__(
        self,
        space: Space | None,
        *,
        shape: Sequence[Count] | None,
        graph: Literal["lattice", "full"],
        periodic: bool | Sequence[bool],
        coupling: float | None,
        field: float,
        beta: Positive,
    ) -> None:
        super().__init__()
        self.space, self.beta, self.graph = space_of(space, shape), beta, graph
        self.lattice = lattice_of(shape or self.space.shape, periodic)
        start = (0.0 if space is not None else 1.0) if coupling is None else coupling
        n = self.lattice.n_sites
        exists = (self.lattice.bonds if graph == "lattice" else torch.ones(n, n).triu(1)).to(torch.get_default_dtype())
        self.coupling, self.field = nn.Parameter(start * exists), nn.Parameter(torch.full(self.lattice.shape, field))
        color = self.lattice.colors if graph == "lattice" else torch.arange(n).view(self.lattice.shape)  # in a full graph one site each
        self.register_buffer("exists", exists)  # 1 for every bond
        self.register_buffer("color", color.to(exists))
        self.n_colors, self.n_uniforms = int(color.max()) + 1, n

    def forward(self, x: Tensor) -> Tensor:
        s = self.spins(x)
        return -self.beta * (s * (0.5 * self.neighbor_sum(s) + self.field)).flatten(1).sum(1)

    def spins(self, x: Tensor) -> Tensor:
        """s in the shape of the lattice, (B, *d) -> (B, *shape)."""
        return (2 * x - 1).view(-1, *self.lattice.shape)

    def neighbor_sum(self, s: Tensor) -> Tensor:
        """sum_j J_ij s_j, (B, *shape) -> (B, *shape)."""
        coupling = self.coupling * self.exists
        if self.graph == "lattice":
            return self.lattice.neighbor_sum(coupling, s)
        return (s.flatten(1) @ (coupling + coupling.mT)).view_as(s)

    def flip_differences(self, x: Tensor) -> Tensor:
        """E(x with bit i flipped) - E(x) for every i, (B, *d) -> (B, D)."""
        s = self.spins(x)
        return 2 * self.beta * (s * (self.neighbor_sum(s) + self.field)).flatten(1)

    def sweep(self, x: Tensor, u: Tensor, beta: Tensor, bias: Tensor) -> Tensor:
        s, u = self.spins(x), u.view(-1, *self.lattice.shape)
        beta = beta.view(-1, *[1] * len(self.lattice.shape))
        own = 2 * beta * self.beta * self.field + (1 - beta) * bias.view(self.lattice.shape)
        for k in range(self.n_colors):
            drawn = 2 * (u < torch.sigmoid(2 * beta * self.beta * self.neighbor_sum(s) + own)).to(s) - 1
            s = torch.where(self.color == k, drawn, s)
        return (0.5 * (s + 1)).view_as(x)

    def annealed_energy(self, x: Tensor, beta: Tensor, bias: Tensor) -> Tensor:
        return beta * self(x) - (1 - beta) * (x.flatten(1) @ bias.flatten())

    def bond_couplings(self) -> Tensor:
        """beta J of the bonds of the lattice, (k, *shape)."""
        return self.beta * self.coupling * self.exists

    def site_fields(self) -> Tensor:
        """beta h, (*shape)."""
        return self.beta * self.field

    @property
    def has_log_partition(self) -> bool:
        """Whether the lattice has a transfer matrix."""
        return self.graph == "lattice" and transfer_matrix.applies(self.lattice.shape, self.lattice.periodic)

    def log_partition(self) -> Tensor:
        """log Z in nats, a scalar in double precision, by the transfer matrix. It is differentiable."""
        rows = Rows.of(self.bond_couplings(), self.site_fields(), self.lattice.periodic)
        return transfer_matrix.log_z(rows)

    @property
    def log_z(self) -> float | None:
        single = deepcopy(self).double()
        if self.graph == "lattice":
            model = ising.Ising(self.lattice, single.bond_couplings().detach(), single.site_fields().detach())
            return model.log_z().item() if model.method else None
        if self.lattice.n_sites > ising.MOST_SITES:
            return None
        energies = [single((0.5 * (s + 1)).view(-1, *self.space.shape)).detach() for s in ising.states(self.lattice)]
        return torch.stack([(-energy).logsumexp(0) for energy in energies]).logsumexp(0).item()


def space_of(space: Space | None, shape: Sequence[int] | None) -> Space:
    """The space of the events: in training that of the data, and without a run that of `shape`."""
    if space is not None:
        if shape is not None and prod(shape) != prod(space.shape):
            raise bad(
                f"energy.shape: {list(shape)} has {prod(shape)} sites, but events have the shape {list(space.shape)}", "energy.shape=null"
            )
        return space
    if shape is None:
        raise bad("energy.shape: without a run the shape of the lattice is needed", "energy.shape=[16,16]")
    return Space(tuple(shape), "binary")
