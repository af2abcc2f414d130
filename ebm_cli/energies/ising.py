"""The Ising model: a Boltzmann machine without hidden units. Ising 1925; Ackley, Hinton & Sejnowski 1985.

    E(x) = -beta (sum_<ij> J_ij s_i s_j + sum_i h_i s_i),    s_i = 2 x_i - 1,    x_i in {0, 1}

The sum runs over the bonds of a lattice, over all pairs, or over the pairs of a file (io/coupling_files.py), which may also hold J and h.
J > 0 favors equal neighbors. `ebm train` learns J and h. `ebm sample energy=ising energy.shape=[64,64]` samples the model of its config
without a run, and `ebm sample energy=ising energy.couplings=FILE` that of a file.

    change of E when bit i is flipped    2 beta s_i (sum_j J_ij s_j + h_i)
    block Gibbs                          the sites of one color at once: no two neighbors have the same color

log Z is exact on lattices with a short side, with up to 20 sites, and with equal couplings and no field (core/ising.py).
"""

from collections.abc import Callable, Sequence
from copy import deepcopy
from math import prod
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from ebm_cli.core import ising, transfer_matrix
from ebm_cli.core.block_gibbs import BlockGibbs
from ebm_cli.core.contracts import Energy
from ebm_cli.core.graph import Graph
from ebm_cli.core.quadratic import Quadratic
from ebm_cli.core.quantize import quantized
from ebm_cli.core.transfer_matrix import Rows
from ebm_cli.energies.target import DiscreteTarget, lattice_of
from ebm_cli.errors import bad
from ebm_cli.io import coupling_files
from ebm_cli.io.coupling_files import Couplings
from ebm_cli.types import Bits, Count, Positive, Space


class Ising(DiscreteTarget, nn.Module, Energy, BlockGibbs):
    """x (B, *d) -> E(x) (B,). `shape` is that of the lattice; in training it is by default that of the events, and with a file its sites.

    `coupling` and `field` are J and h of all bonds and sites: of the target without a run (null: J = 1), or at the start of training
    (null: J = 0). `couplings` is a file with the pairs, in whose place `graph` and `periodic` do not matter, and with J and h if it has
    values. J and h are rounded to `bits` bits (core/quantize.py), in training as well.
    """

    requires: ClassVar[frozenset[str]] = frozenset({"binary"})
    files: ClassVar[Sequence[str]] = ("couplings",)

    def __init__(
        self,
        space: Space | None,
        *,
        shape: Sequence[Count] | None,
        graph: Literal["lattice", "full"],
        periodic: bool | Sequence[bool],
        couplings: str | None,
        convention: Literal["ising", "dimod", "qubo"] | None,
        coupling: float | None,
        field: float,
        bits: Bits | None,
        beta: Positive,
    ) -> None:
        super().__init__()
        given = None if couplings is None else coupling_files.read(couplings, "energy.couplings", convention, "energy.convention")
        if given is not None:
            check(given, graph, coupling, field)
        self.space = space_of(space, shape, given)
        self.beta, self.n_bits, self.graph, self.notes = beta, bits, graph if given is None else "file", given.notes if given else ()
        self.lattice = lattice_of(shape or self.space.shape, periodic if given is None else False)
        n, start = self.lattice.n_sites, (0.0 if space is not None else 1.0) if coupling is None else coupling
        dtype = torch.get_default_dtype()
        exists = self.lattice.bonds if self.graph == "lattice" else torch.ones(n, n).triu(1) if self.graph == "full" else torch.ones(0)
        coupling_of, field_of = start * exists.to(dtype), torch.full(self.lattice.shape, field)
        color = (
            self.lattice.colors if self.graph == "lattice" else torch.arange(n).view(self.lattice.shape)
        )  # in a full graph one site each
        if given is not None:
            self.pairs = Graph(n, given.edges)
            color = torch.from_numpy(self.pairs.colors).view(self.lattice.shape)
            coupling_of = torch.full((len(given.edges),), start)
            if given.couplings is not None:
                coupling_of = torch.from_numpy(given.couplings).to(dtype)
                field_of = torch.from_numpy(np.pad(given.fields, (0, n - given.n_sites))).to(dtype).view(self.lattice.shape)
        self.coupling, self.field = nn.Parameter(coupling_of), nn.Parameter(field_of)
        self.register_buffer("exists", exists.to(dtype))  # 1 for every bond of a lattice or full graph
        self.register_buffer("color", color.to(dtype))
        self.n_colors, self.n_uniforms, self.first_uniform = int(color.max()) + 1, n, 0

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Ising":
        moved = super()._apply(fn, recurse)
        if self.graph == "file":
            self.pairs.to(self.field.device)
        return moved

    def forward(self, x: Tensor) -> Tensor:
        s = self.spins(x)
        return -self.beta * (s * (0.5 * self.neighbor_sum(s) + self.fields())).flatten(1).sum(1)

    def spins(self, x: Tensor) -> Tensor:
        """s in the shape of the lattice, (B, *d) -> (B, *shape)."""
        return (2 * x - 1).view(-1, *self.lattice.shape)

    def neighbor_sum(self, s: Tensor) -> Tensor:
        """sum_j J_ij s_j, (B, *shape) -> (B, *shape)."""
        coupling = self.couplings()
        if self.graph == "lattice":
            return self.lattice.neighbor_sum(coupling, s)
        if self.graph == "file":
            return self.pairs.neighbor_sum(coupling, s.flatten(1).T).T.view_as(s)
        return (s.flatten(1) @ (coupling + coupling.mT)).view_as(s)

    def flip_differences(self, x: Tensor) -> Tensor:
        """E(x with bit i flipped) - E(x) for every i, (B, *d) -> (B, D)."""
        s = self.spins(x)
        return 2 * self.beta * (s * (self.neighbor_sum(s) + self.fields())).flatten(1)

    def sweep(self, x: Tensor, u: Tensor, beta: Tensor, bias: Tensor) -> Tensor:
        s, u = self.spins(x), u.view(-1, *self.lattice.shape)
        beta = beta.view(-1, *[1] * len(self.lattice.shape))
        own = 2 * beta * self.beta * self.fields() + (1 - beta) * bias.view(self.lattice.shape)
        if self.graph == "file":
            return (
                0.5
                * (
                    self._blockwise(
                        s.flatten(1).T.contiguous(), u.flatten(1).T.contiguous(), 2 * self.beta * beta.flatten(), own.flatten(1).T
                    ).T
                    + 1
                )
            ).view_as(x)
        for k in range(self.n_colors):
            drawn = 2 * (u < torch.sigmoid(2 * beta * self.beta * self.neighbor_sum(s) + own)).to(s) - 1
            s = torch.where(self.color == k, drawn, s)
        return (0.5 * (s + 1)).view_as(x)

    def _blockwise(self, s: Tensor, u: Tensor, beta: Tensor, own: Tensor) -> Tensor:
        """A sweep over the colors of the graph of a file: s, u and own (n, B), beta (B,) -> (n, B)."""
        coupling = self.couplings()
        for block in self.pairs.blocks:
            log_odds = beta * self.pairs.sum_at(block, coupling, s) + own[block.sites]
            s = s.index_copy(0, block.sites, 2 * (u[block.sites] < torch.sigmoid(log_odds)).to(s) - 1)
        return s

    def annealed_energy(self, x: Tensor, beta: Tensor, bias: Tensor) -> Tensor:
        return beta * self(x) - (1 - beta) * (x.flatten(1) @ bias.flatten())

    def bond_couplings(self) -> Tensor:
        """beta J of the bonds of the lattice, (k, *shape)."""
        return self.beta * self.couplings()

    def site_fields(self) -> Tensor:
        """beta h, (*shape)."""
        return self.beta * self.fields()

    def couplings(self) -> Tensor:
        """J: of the bonds of a lattice (k, *shape), of a full graph (n, n) above the diagonal, of the pairs of a file (m,)."""
        return quantized(self.coupling if self.graph == "file" else self.coupling * self.exists, self.n_bits)

    def fields(self) -> Tensor:
        """h, (*shape)."""
        return quantized(self.field, self.n_bits)

    def quadratic(self) -> Quadratic:
        """The couplings and fields, with beta, in the order of the bits of an event."""
        n, coupling, field = self.lattice.n_sites, self.bond_couplings(), self.site_fields().flatten()
        if self.graph != "full":
            values = coupling[self.lattice.bonds] if self.graph == "lattice" else coupling
            edges = self.lattice.edges if self.graph == "lattice" else torch.stack([self.pairs.first, self.pairs.second], -1)
            coupling = coupling.new_zeros(n, n).index_put((edges.amin(-1), edges.amax(-1)), values, accumulate=True)
        return Quadratic(coupling, field, field.new_zeros(()))

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
        if self.graph == "lattice":
            return self._exact.log_z().item() if self._exact.method else None
        single = deepcopy(self).double()
        if self.lattice.n_sites > ising.MOST_SITES:
            return None
        energies = [single((0.5 * (s + 1)).view(-1, *self.space.shape)).detach() for s in ising.states(self.lattice)]
        return torch.stack([(-energy).logsumexp(0) for energy in energies]).logsumexp(0).item()

    @property
    def log_z_by(self) -> str | None:
        """The method of `log_z`: kaufman, transfer_matrix or enumeration (core/ising.py)."""
        if self.graph == "lattice":
            return self._exact.method
        return "enumeration" if self.lattice.n_sites <= ising.MOST_SITES else None

    @property
    def mean_energy(self) -> float | None:
        """The mean of E in nats; None if log Z of the lattice is not known."""
        return self._exact.mean_energy().item() if self.graph == "lattice" and self._exact.method else None

    @property
    def _exact(self) -> ising.Ising:
        """The lattice with its couplings and fields in double precision."""
        single = deepcopy(self).double()
        return ising.Ising(self.lattice, single.bond_couplings().detach(), single.site_fields().detach())


def check(given: Couplings, graph: str, coupling: float | None, field: float) -> None:
    """Refuse values beside a file that has them."""
    if graph != "lattice":
        raise bad(f"energy.graph={graph}: the pairs are those of the file energy.couplings", "leave out energy.graph, or energy.couplings")
    if given.couplings is not None and (coupling is not None or field):
        key = "field" if coupling is None else "coupling"
        raise bad(f"energy.{key}: the couplings and fields are those of the file energy.couplings", f"leave out energy.{key}")


def space_of(space: Space | None, shape: Sequence[int] | None, given: Couplings | None) -> Space:
    """The space of the events: in training that of the data, and without a run that of `shape`, or the sites of the file."""
    found = space
    if space is not None and shape is not None and prod(shape) != prod(space.shape):
        fault = f"energy.shape: {list(shape)} has {prod(shape)} sites, but events have the shape {list(space.shape)}"
        raise bad(fault, "energy.shape=null")
    if found is None:
        if shape is None and given is None:
            raise bad("energy.shape: without a run the shape of the lattice is needed", "energy.shape=[16,16]")
        found = Space(tuple(shape or (given.n_sites,)), "binary")
    if given is not None and given.n_sites > prod(found.shape):
        where = "energy.shape" if space is None else "the shape of the events"
        fault = f"energy.couplings: the file has {given.n_sites} sites, but {where} has {prod(found.shape)}: {list(found.shape)}"
        raise bad(fault, "energy.shape=null" if space is None else "a file whose sites are the positions of the bits of an event, from 0")
    return found
