"""log Z of the Ising model on a lattice of n rows of w sites, with any couplings and fields, and independent draws from it.

    p(s) ~ prod_r exp(U_r(s_r) + V_r(s_r, s_(r+1))),    U_r(s) = sum_k B_rk s_k s_(k+1) + h_rk s_k,    V_r(s, t) = sum_k A_rk s_k t_k

Messages a_(r+1)(t) = U_(r+1)(t) + log sum_s exp(a_r(s) + V_r(s, t)) run over the 2^w states of a row. V is a sum over sites, so the sum
over s is done site by site, with w 2^(w+1) operations. If the rows are closed to a ring, there is a message for each of the 2^w states of
the first row. Everything is in the log domain and in double precision, and differentiable: the gradient holds the means of s_i s_j and
s_i, and the Hessian their covariances (the Fisher information). Draws: forward filtering, backward sampling. Kramers & Wannier 1941.

    open rows       w up to 14:  n w 2^(w+1) operations
    closed rows     w up to 10:  n w 2^(2w+1) operations
"""

from typing import NamedTuple

import torch
from torch import Tensor

WIDEST_OPEN, WIDEST_CLOSED = 14, 10
TOO_MANY = 1 << 60  # the number of terms of a lattice that is too wide
AT_ONCE = 1 << 21  # maximum number of entries of a temporary tensor of draws


class Rows(NamedTuple):
    """An Ising model in rows. Bonds that do not exist have the coupling 0."""

    along: Tensor  # A, (n, w): the coupling of site k in row r with site k in row r + 1; the last row is coupled with the first
    across: Tensor  # B, (n, w): the coupling of site k with site k + 1 of its row; the last site is coupled with the first
    field: Tensor  # h, (n, w)
    closed: bool  # whether the last row is coupled with the first
    transposed: bool = False  # whether the rows are the columns of the lattice

    @classmethod
    def of(cls, coupling: Tensor, field: Tensor, periodic: tuple[bool, ...]) -> "Rows | None":
        """The rows of a lattice (L,) or (L_0, L_1) with couplings J (k, *shape) and fields h (*shape); None if no side is short enough."""
        if not applies(tuple(field.shape), periodic):
            return None
        if field.ndim == 1:
            coupling, field = torch.stack([coupling[0], torch.zeros_like(coupling[0])]).unsqueeze(-1), field.unsqueeze(-1)
            periodic = (*periodic, False)
        transposed = n_terms(field.shape[::-1], periodic[::-1]) < n_terms(field.shape, periodic)
        if transposed:
            coupling, field, periodic = coupling.flip(0).mT, field.T, periodic[::-1]
        return cls(coupling[0].double(), coupling[1].double(), field.double(), periodic[0] and field.shape[0] > 1, transposed)


def applies(shape: tuple[int, ...], periodic: tuple[bool, ...]) -> bool:
    """Whether a lattice has one or two axes, and one of them is short enough."""
    if len(shape) > 2:
        return False
    shape, periodic = (*shape, 1)[:2], (*periodic, False)[:2]
    return min(n_terms(shape, periodic), n_terms(shape[::-1], periodic[::-1])) < TOO_MANY


def n_terms(shape: tuple[int, ...], periodic: tuple[bool, ...]) -> int:
    """The number of terms of all messages of a lattice of shape (n, w), n rows of w sites."""
    n, w = shape
    closed = periodic[0] and n > 1
    if w > (WIDEST_CLOSED if closed else WIDEST_OPEN):
        return TOO_MANY
    return n << (2 * w if closed else w)


def log_z(rows: Rows) -> Tensor:
    """log Z in nats, a scalar."""
    return _last(rows, _messages(rows)[-1]).flatten().logsumexp(0)


def draw(rows: Rows, u: Tensor) -> Tensor:
    """Independent draws of the spins, (N, n, w), from uniforms u on [0, 1), (N, n), in double precision."""
    messages, size = _messages(rows), max(1, AT_ONCE >> rows.field.shape[1])
    return torch.cat([_backward(rows, messages, part) for part in u.split(size)])


def spins(w: int, like: Tensor) -> Tensor:
    """The states of a row, (2^w, w), with the entries -1 and 1; site 0 is the most significant bit."""
    place = torch.arange(w - 1, -1, -1, device=like.device)
    return 2 * (torch.arange(1 << w, device=like.device).unsqueeze(-1) >> place & 1).to(like) - 1


def _messages(rows: Rows) -> list[Tensor]:
    """The messages a_0 .. a_(n-1), each (2^w,); for closed rows a_1 .. a_(n-1), each (2^w of the first row, 2^w)."""
    n, w = rows.field.shape
    state = spins(w, rows.field)
    own = (rows.across @ (state * state.roll(-1, 1)).T) + rows.field @ state.T  # U, (n, 2^w)
    if not rows.closed:
        found, rest = [own[0]], range(1, n)
    else:
        found, rest = [own[0].unsqueeze(-1) + state @ (rows.along[0].unsqueeze(-1) * state.T) + own[1]], range(2, n)
    for r in rest:
        found.append(_sum_over_row(found[-1], rows.along[r - 1], w) + own[r])
    return found


def _sum_over_row(message: Tensor, along: Tensor, w: int) -> Tensor:
    """log sum_s exp(a(s) + sum_k A_k s_k t_k) for every t, over the last axis of a, (..., 2^w)."""
    shape = message.shape
    for k in range(w):
        pairs = message.view(*shape[:-1], 1 << k, 2, -1)
        message = torch.logaddexp(pairs + along[k], pairs.flip(-2) - along[k])
    return message.reshape(shape)


def _last(rows: Rows, message: Tensor) -> Tensor:
    """The last message, with the coupling of the last row with the first."""
    if not rows.closed:
        return message
    state = spins(rows.field.shape[1], message)
    return message + state @ (rows.along[-1].unsqueeze(-1) * state.T)


def _backward(rows: Rows, messages: list[Tensor], u: Tensor) -> Tensor:
    """Draws (N, n, w): the last row (and with closed rows the first) from the last message, then each row given the next one."""
    n, w = rows.field.shape
    state = spins(w, rows.field)
    place = pick(_last(rows, messages[-1]).flatten(), u[:, 0])
    drawn: list[Tensor] = [state[place % len(state)]]
    first = place // len(state)
    for i, r in enumerate(range(n - 2, int(rows.closed) - 1, -1), 1):
        message = messages[r - 1][first] if rows.closed else messages[r]
        drawn.append(state[pick(message + (rows.along[r] * drawn[-1]) @ state.T, u[:, i])])
    if rows.closed:
        drawn.append(state[first])
    return torch.stack(drawn[::-1], 1)


def pick(log_weight: Tensor, u: Tensor) -> Tensor:
    """The index of a state by inversion: log weights (S,) or (N, S), u (N,) -> (N,)."""
    cumulative = (log_weight - log_weight.logsumexp(-1, keepdim=True)).exp().cumsum(-1)
    if cumulative.ndim == 1:
        found = torch.searchsorted(cumulative, u * cumulative[-1], right=True)
    else:
        found = torch.searchsorted(cumulative, (u * cumulative[:, -1]).unsqueeze(-1), right=True).squeeze(-1)
    return found.clamp(max=log_weight.shape[-1] - 1)
