"""The Potts model on a lattice: categories that favor equal neighbors. Potts 1952.

    E(x) = -beta (sum_<ij> J_ij [x_i = x_j] + sum_i h_i(x_i)),    x_i in 0 .. q - 1

`ebm train` learns the couplings J and the fields h of each state. `ebm sample energy=potts energy.shape=[16,16]` samples the model of its
config without a run. Two states are an Ising model with half the coupling. On the infinite square lattice with equal couplings the model
orders at beta J = log(1 + sqrt(q)). log Z is exact on lattices with a short side, and with up to 2^20 states (core/potts.py).
"""

from collections.abc import Sequence
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge
from torch import Tensor, nn

from ebm_cli.core import potts
from ebm_cli.core.block_gibbs import BlockGibbs
from ebm_cli.core.contracts import Energy
from ebm_cli.core.lattice import Lattice
from ebm_cli.energies.target import DiscreteTarget, lattice_of
from ebm_cli.errors import bad
from ebm_cli.types import Count, Positive, Space


class Potts(DiscreteTarget, nn.Module, Energy, BlockGibbs):
    """x (B, *shape) -> E(x) (B,). In training, `shape` and `n_states` are by default those of the events.

    `coupling` is J of all bonds: of the target without a run (null: 1), or at the start of training (null: 0).
    """

    requires: ClassVar[frozenset[str]] = frozenset({"categorical"})

    def __init__(
        self,
        space: Space | None,
        *,
        shape: Sequence[Count] | None,
        n_states: Annotated[int, Ge(2)] | None,
        periodic: bool | Sequence[bool],
        coupling: float | None,
        beta: Positive,
    ) -> None:
        super().__init__()
        self.space, self.beta = space_of(space, shape, n_states), beta
        self.lattice: Lattice = lattice_of(self.space.shape, periodic)
        self.q, self.n_uniforms = self.space.n_states, self.lattice.n_sites
        start = (0.0 if space is not None else 1.0) if coupling is None else coupling
        exists = self.lattice.bonds.to(torch.get_default_dtype())
        self.coupling, self.field = nn.Parameter(start * exists), nn.Parameter(torch.zeros(self.q, *self.lattice.shape))
        self.register_buffer("exists", exists)  # 1 for every bond
        self.register_buffer("color", self.lattice.colors.to(exists))
        self.n_colors = int(self.lattice.colors.max()) + 1

    def forward(self, x: Tensor) -> Tensor:
        total, is_state = x.new_zeros(len(x)), self.indicators(x)
        for axis in range(len(self.lattice.shape)):
            equal = (x == x.roll(-1, axis - len(self.lattice.shape))).to(x)
            total = total + (self.coupling[axis] * self.exists[axis] * equal).flatten(1).sum(1)
        return -self.beta * (total + (is_state * self.field).flatten(1).sum(1))

    def indicators(self, x: Tensor) -> Tensor:
        """[x_i = k] for every state k, (B, *shape) -> (B, q, *shape)."""
        state = torch.arange(self.q, device=x.device).view(-1, *[1] * len(self.lattice.shape))
        return (x.unsqueeze(1) == state).to(x)

    def sweep(self, x: Tensor, u: Tensor, beta: Tensor, bias: Tensor) -> Tensor:
        u, ones = u.view(x.shape), [1] * len(self.lattice.shape)
        beta, state = beta.view(-1, 1, *ones), torch.arange(self.q, device=x.device).view(-1, *ones).to(x)
        own = beta * self.beta * self.field + (1 - beta) * bias * state
        for color in range(self.n_colors):
            neighbors = self.lattice.neighbor_sum(self.coupling * self.exists, self.indicators(x).flatten(0, 1)).view(-1, *self.field.shape)
            below = (beta * self.beta * neighbors + own).softmax(1).cumsum(1)[:, :-1]
            x = torch.where(self.color == color, (u.unsqueeze(1) >= below).to(x).sum(1), x)
        return x

    def annealed_energy(self, x: Tensor, beta: Tensor, bias: Tensor) -> Tensor:
        return beta * self(x) - (1 - beta) * (x.flatten(1) @ bias.flatten())

    @property
    def has_log_partition(self) -> bool:
        """Whether the lattice has a transfer matrix."""
        return "transfer_matrix" in potts.methods(self.lattice, self.q)

    def log_partition(self) -> Tensor:
        """log Z in nats, a scalar in double precision, by the transfer matrix. It is differentiable."""
        return self._exact.log_z("transfer_matrix")

    @property
    def log_z(self) -> float | None:
        return self._exact.log_z().item() if self._exact.methods else None

    @property
    def log_z_by(self) -> str | None:
        """The method of `log_z`: transfer_matrix or enumeration."""
        return next(iter(self._exact.methods), None)

    @property
    def mean_energy(self) -> float | None:
        """The mean of E in nats; None if log Z is not known."""
        return self._exact.mean_energy().item() if self._exact.methods else None

    @property
    def _exact(self) -> potts.Potts:
        """The lattice with beta J and beta h in double precision."""
        coupling, field = self.beta * (self.coupling * self.exists).double(), self.beta * self.field.double()
        return potts.Potts(self.lattice, coupling, field)


def space_of(space: Space | None, shape: Sequence[int] | None, n: int | None) -> Space:
    """The space of the events: in training that of the data, and without a run that of the config."""
    if space is None:
        if shape is None or n is None:
            raise bad("energy.shape and energy.n_states: both are needed without a run", "energy.shape=[16,16] energy.n_states=3")
        return Space(tuple(shape), "categorical", n)
    if not isinstance(space.n_states, int):
        raise bad("energy=potts: all coordinates must have the same number of states", "another energy")
    for key, own, found in (("shape", shape and tuple(shape), tuple(space.shape)), ("n_states", n, space.n_states)):
        if own is not None and own != found:
            raise bad(f"energy.{key}: {own} is not that of the events, {found}", f"energy.{key}=null")
    return space
