"""The Ising model on a lattice: its energy, log Z by an exact method, and independent draws. The energy and the dataset share them.

    E(s) = -beta (sum_<ij> J_ij s_i s_j + sum_i h_i s_i),    s_i = 2 x_i - 1 in {-1, 1},    log Z in nats

The methods for log Z, of which the first that applies is taken:

    kaufman          equal couplings J > 0, no field, a periodic lattice with two axes
    transfer_matrix  one or two axes, one of them short (core/transfer_matrix.py)
    enumeration      at most 2^20 states
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ebm_cli.core import kaufman, transfer_matrix
from ebm_cli.core.lattice import Lattice
from ebm_cli.core.transfer_matrix import Rows

MOST_SITES = 20  # the largest number of sites whose states are enumerated
AT_ONCE = 1 << 16  # number of states that are enumerated at once


@dataclass(frozen=True)
class Ising:
    """`coupling` holds beta J, (k, *shape), and `field` beta h, (*shape), both in double precision."""

    lattice: Lattice
    coupling: Tensor
    field: Tensor

    @property
    def method(self) -> str | None:
        """The name of the method for log Z; None if there is none."""
        if self.uniform is not None:
            return "kaufman"
        if self.rows is not None:
            return "transfer_matrix"
        return "enumeration" if self.lattice.n_sites <= MOST_SITES else None

    @property
    def uniform(self) -> float | None:
        """beta J if Kaufman's formula applies."""
        value = self.coupling.flatten()[0].item()
        whole = len(self.lattice.shape) == 2 and bool(self.lattice.bonds.all())
        return value if whole and value > 0 and bool((self.coupling == value).all()) and not self.field.any() else None

    @property
    def rows(self) -> Rows | None:
        """The lattice in rows, if there is a transfer matrix."""
        return Rows.of(self.coupling, self.field, self.lattice.periodic)

    def energy(self, s: Tensor) -> Tensor:
        """E, (B, *shape) -> (B,)."""
        return -(s * (0.5 * self.lattice.neighbor_sum(self.coupling, s) + self.field)).flatten(1).sum(1)

    def log_z(self, method: str | None = None) -> Tensor:
        """log Z in nats, a scalar that is differentiable in the couplings and fields (by Kaufman's formula only in equal couplings)."""
        method = method or self.method
        if method == "kaufman":
            return kaufman.log_z(self.coupling.mean(), *self.lattice.shape)
        if method == "transfer_matrix":
            return transfer_matrix.log_z(self.rows)
        if method == "enumeration":
            return torch.stack([(-self.energy(s)).logsumexp(0) for s in states(self.lattice)]).logsumexp(0)
        raise ValueError(f"there is no exact log Z for {self.lattice}")

    def mean_energy(self) -> Tensor:
        """The mean of E in nats, a scalar: -d log Z / dt at t = 1 of the model with t times the couplings and fields."""
        t = torch.ones((), dtype=torch.double, requires_grad=True)
        log_z = Ising(self.lattice, t * self.coupling.detach(), t * self.field.detach()).log_z(self.method)
        return -torch.autograd.grad(log_z, t)[0]

    def moments(self) -> tuple[Tensor, Tensor]:
        """The means of s_i s_j for every bond, (k, *shape), and of s_i, (*shape), as the gradient of log Z."""
        leaves = [value.detach().requires_grad_() for value in (self.coupling, self.field)]
        model = Ising(self.lattice, *leaves)
        found = torch.autograd.grad(model.log_z("transfer_matrix" if self.rows is not None else "enumeration"), leaves)
        return found[0], found[1]


def has_log_z(lattice: Lattice, *, equal: bool) -> bool:
    """Whether log Z is known; `equal`: all couplings are equal and positive, and there is no field."""
    kaufman_applies = equal and len(lattice.shape) == 2 and bool(lattice.bonds.all())
    return kaufman_applies or transfer_matrix.applies(lattice.shape, lattice.periodic) or lattice.n_sites <= MOST_SITES


def states(lattice: Lattice) -> Iterator[Tensor]:
    """All states of the spins in their order, in parts (N, *shape); the first site is the most significant bit."""
    place, index = torch.arange(lattice.n_sites - 1, -1, -1), torch.arange(1 << lattice.n_sites)
    for part in index.split(AT_ONCE):
        yield 2 * (part.unsqueeze(-1) >> place & 1).double().view(-1, *lattice.shape) - 1
