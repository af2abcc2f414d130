"""The Potts model on a lattice: its energy, log Z and independent draws. The energy and the dataset share them. Potts 1952.

    E(x) = -(sum_<ij> beta J_ij [x_i = x_j] + sum_i beta h_i(x_i)),    x_i in 0 .. q - 1,    log Z in nats

    transfer_matrix  one or two axes, with n rows of w sites:  q^w up to 2^14 states of a row, or 2^10 if the rows are closed to a ring
    enumeration      at most 2^20 states

The transfer matrix works as for the Ising model (core/transfer_matrix.py), site by site: from the message a(s) of a row,

    log sum_s exp(a(s) + sum_k A_k [s_k = t_k])    for every state t of the next row, with w q^(w+1) terms.

Draws: forward filtering and backward sampling, or inversion over all states. Everything is in double precision; log Z is differentiable.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from ebm_cli.core.lattice import Lattice
from ebm_cli.core.states import states
from ebm_cli.core.transfer_matrix import pick
from ebm_cli.types import Space

MOST_STATES = 1 << 20  # the largest number of states whose energies are summed
MOST_OPEN, MOST_CLOSED = 1 << 14, 1 << 10  # the largest number of states of a row
AT_ONCE = 1 << 21  # maximum number of entries of a temporary tensor


class Rows(NamedTuple):
    """A Potts model in rows. Bonds that do not exist have the coupling 0."""

    along: Tensor  # A, (n, w): the coupling of site k in row r with site k in row r + 1; the last row is coupled with the first
    across: Tensor  # B, (n, w): the coupling of site k with site k + 1 of its row; the last site is coupled with the first
    field: Tensor  # h, (q, n, w)
    closed: bool  # whether the last row is coupled with the first


@dataclass(frozen=True)
class Potts:
    """`coupling` holds beta J, (k, *shape), and `field` beta h of every state, (q, *shape), both in double precision."""

    lattice: Lattice
    coupling: Tensor
    field: Tensor

    @property
    def q(self) -> int:
        """The number of states of a site."""
        return self.field.shape[0]

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods that apply; the first one is used if none is named."""
        return methods(self.lattice, self.q)

    def energy(self, x: Tensor) -> Tensor:
        """E, (B, *shape) -> (B,)."""
        total, axes = x.new_zeros(len(x), dtype=torch.double), len(self.lattice.shape)
        for axis in range(axes):
            total = total + (self.coupling[axis] * (x == x.roll(-1, axis - axes))).flatten(1).sum(1)
        field = self.field.movedim(0, -1).expand(*x.shape, self.q)
        return -total - field.gather(-1, x.long().unsqueeze(-1)).flatten(1).sum(1)

    def log_z(self, method: str | None = None) -> Tensor:
        """log Z in nats, a scalar."""
        if (method or self.methods[0]) == "transfer_matrix":
            return _last(self.rows, _messages(self.rows)[-1]).flatten().logsumexp(0)
        return self._log_weights.logsumexp(0)

    def mean_energy(self) -> Tensor:
        """The mean of E in nats, a scalar: -d log Z / dt at t = 1 of the model with t times the couplings and fields."""
        t = torch.ones((), dtype=torch.double, requires_grad=True)
        log_z = Potts(self.lattice, t * self.coupling.detach(), t * self.field.detach()).log_z()
        return -torch.autograd.grad(log_z, t)[0]

    def draw(self, u: Tensor, method: str) -> Tensor:
        """Independent draws, (N, *shape), from uniforms u on [0, 1) in double precision, (N, `n_uniforms(method)`)."""
        if method == "enumeration":
            return self._states[pick(self._log_weights, u[:, 0])]
        messages = _messages(self.rows)
        size = max(1, AT_ONCE // messages[0].shape[-1])
        x = torch.cat([_backward(self.rows, messages, part) for part in u.split(size)])
        return (x.mT if self.transposed else x).reshape(-1, *self.lattice.shape)

    def n_uniforms(self, method: str) -> int:
        """The number of uniforms that a draw takes."""
        return 1 if method == "enumeration" else self.rows.field.shape[1]

    @property
    def transposed(self) -> bool:
        """Whether the rows of the transfer matrix are the columns of the lattice."""
        return _cost(self.lattice, self.q, transposed=True) < _cost(self.lattice, self.q, transposed=False)

    @property
    def rows(self) -> Rows:
        """The lattice in rows, the shorter ones if the rows and the columns are possible."""
        coupling, field, closed = self.coupling * self.lattice.bonds.to(self.coupling.device), self.field, self.lattice.periodic
        if len(self.lattice.shape) == 1:
            coupling, field = torch.stack([coupling[0], torch.zeros_like(coupling[0])]).unsqueeze(-1), field.unsqueeze(-1)
            closed = (*closed, False)
        if self.transposed:
            coupling, field, closed = coupling.flip(0).mT, field.mT, closed[::-1]
        return Rows(coupling[0], coupling[1], field, closed[0] and field.shape[1] > 1)

    @cached_property
    def _states(self) -> Tensor:
        return states(Space(self.lattice.shape, "categorical", self.q), device=self.field.device)

    @property
    def _log_weights(self) -> Tensor:
        """-E of all states in their order."""
        return torch.cat([-self.energy(part) for part in self._states.split(max(1, AT_ONCE // self.lattice.n_sites))])


def methods(lattice: Lattice, q: int) -> tuple[str, ...]:
    """The methods that give log Z and draws on a lattice."""
    short = min(_cost(lattice, q, transposed=False), _cost(lattice, q, transposed=True)) < torch.inf
    few = q**lattice.n_sites <= MOST_STATES
    return ("transfer_matrix",) * short + ("enumeration",) * few


def _cost(lattice: Lattice, q: int, *, transposed: bool) -> float:
    """The number of terms of all messages, infinite if a row has too many states."""
    if len(lattice.shape) > 2:
        return torch.inf
    (n, w), closed = (*lattice.shape, 1)[:2], (*lattice.periodic, False)[:2]
    if transposed:
        n, w, closed = w, n, closed[::-1]
    ring = closed[0] and n > 1
    of_row = q**w
    if of_row > (MOST_CLOSED if ring else MOST_OPEN):
        return torch.inf
    return float(n) * of_row ** (2 if ring else 1)


def _row_states(rows: Rows) -> Tensor:
    """The states of a row, (q^w, w), as integers."""
    q, _, w = rows.field.shape
    return states(Space((w,), "categorical", q), device=rows.field.device).long()


def _messages(rows: Rows) -> list[Tensor]:
    """The messages a_0 .. a_(n-1), each (q^w,); for closed rows a_1 .. a_(n-1), each (q^w of the first row, q^w)."""
    (q, n, _), state = rows.field.shape, _row_states(rows)
    equal = (state == state.roll(-1, 1)).to(rows.field)
    own = rows.across @ equal.T + torch.einsum("qnw,swq->ns", rows.field, one_hot(state, q).to(rows.field))  # (n, q^w)
    if rows.closed:
        found, rest = [own[0].unsqueeze(-1) + _between(rows.along[0], state, state, q) + own[1]], range(2, n)
    else:
        found, rest = [own[0]], range(1, n)
    for r in rest:
        found.append(_sum_over_row(found[-1], rows.along[r - 1], q) + own[r])
    return found


def _between(along: Tensor, s: Tensor, t: Tensor, q: int) -> Tensor:
    """sum_k A_k [s_k = t_k] for all pairs of states of two rows, (N, w) and (M, w) -> (N, M)."""
    return (one_hot(s, q) * along.unsqueeze(-1)).flatten(1) @ one_hot(t, q).to(along).flatten(1).T


def _sum_over_row(message: Tensor, along: Tensor, q: int) -> Tensor:
    """log sum_s exp(a(s) + sum_k A_k [s_k = t_k]) for every t, over the last axis of a, (..., q^w)."""
    shape = message.shape
    for k, coupling in enumerate(along):
        pairs = message.view(*shape[:-1], q**k, q, 1, -1) + (coupling * torch.eye(q).to(along)).unsqueeze(-1)
        message = pairs.logsumexp(-3)
    return message.reshape(shape)


def _last(rows: Rows, message: Tensor) -> Tensor:
    """The last message, with the coupling of the last row with the first."""
    state = _row_states(rows)
    return message + _between(rows.along[-1], state, state, rows.field.shape[0]) if rows.closed else message


def _backward(rows: Rows, messages: list[Tensor], u: Tensor) -> Tensor:
    """Draws (N, n, w): the last row (and with closed rows the first) from the last message, then each row given the next one."""
    (q, n, _), state = rows.field.shape, _row_states(rows)
    place = pick(_last(rows, messages[-1]).flatten(), u[:, 0])
    drawn, first = [state[place % len(state)]], place // len(state)
    for i, r in enumerate(range(n - 2, int(rows.closed) - 1, -1), 1):
        message = messages[r - 1][first] if rows.closed else messages[r]
        drawn.append(state[pick(message + _between(rows.along[r], drawn[-1], state, q), u[:, i])])
    if rows.closed:
        drawn.append(state[first])
    return torch.stack(drawn[::-1], 1)
