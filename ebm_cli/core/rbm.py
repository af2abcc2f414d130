"""Sums over the states of a restricted Boltzmann machine (RBM), and independent draws from it. The energy and the dataset share them.

    E(v, h) = -b'v - c'h - v'W h,    v in {0,1}^D,    h in {0,1}^H
    F(v) = -log sum_h exp(-E(v, h)) = -b'v - sum_j softplus(c_j + (W'v)_j)

Given v, the h_j are independent, and given h, the v_i. Therefore Z is a sum over the states of the smaller side, of which there are at most
2^MOST_SUMMED; for each of them the other side is summed in closed form. Sums are computed in double precision, in parts of bounded memory.
"""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import softplus

MOST_SUMMED = 20  # the largest number of units on the smaller side over whose states sums are computed
AT_ONCE = 1 << 22  # maximum number of entries of a temporary tensor


def free_energy(v: Tensor, weight: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """F(v) in nats, (..., D) -> (...)."""
    return -v @ b - softplus(v @ weight + c).sum(-1)


def log_partition(weight: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """log Z in nats, a scalar in double precision: W (D, H), b (D,), c (H,). It is differentiable."""
    weight, outer, inner = _smaller_first(weight.double(), b.double(), c.double())
    total = weight.new_full((), -torch.inf)
    for states in all_states(len(outer), len(inner), weight):
        total = torch.logaddexp(total, _log_marginal(states, weight, outer, inner).logsumexp(0))
    return total


def draw(weight: Tensor, b: Tensor, c: Tensor, place: Tensor, u: Tensor) -> Tensor:
    """Independent draws of v, (n, D), in double precision: a state of the smaller side by inversion, then the other side given this state.

    `place`, (n,), are uniform on [0, 1) in double precision, and `u`, (n, D + H), are uniform on [0, 1).
    """
    visible_first = len(b) <= len(c)
    weight, outer, inner = _smaller_first(weight.double(), b.double(), c.double())
    log_p = torch.cat([_log_marginal(states, weight, outer, inner) for states in all_states(len(outer), len(inner), weight)])
    cumulative = (log_p - log_p.logsumexp(0)).exp().cumsum(0)
    index = torch.searchsorted(cumulative, place * cumulative[-1], right=True).clamp(max=len(log_p) - 1)
    state = bits(index, len(outer))
    if visible_first:
        return state
    return (u[:, : len(inner)] < torch.sigmoid(state @ weight + inner)).to(weight)


def can_be_summed(n_visible: int, n_hidden: int) -> bool:
    """Whether log Z and independent draws can be computed."""
    return min(n_visible, n_hidden) <= MOST_SUMMED


def bits(index: Tensor, n: int) -> Tensor:
    """The n binary digits of numbers, (N,) -> (N, n), the last digit first, in double precision."""
    return (index.unsqueeze(-1) >> torch.arange(n, device=index.device) & 1).double()


def _smaller_first(weight: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The weights and biases with the smaller side first, so that the sum is over the states of the first side."""
    if not can_be_summed(len(b), len(c)):
        raise ValueError(f"the smaller side has {min(len(b), len(c))} units, and sums are computed for at most {MOST_SUMMED}")
    return (weight, b, c) if len(b) <= len(c) else (weight.T, c, b)


def all_states(n: int, width: int, like: Tensor) -> Iterator[Tensor]:
    """All states of n bits, in parts (N, n)."""
    size = max(1, AT_ONCE // max(width, n))
    for first in range(0, 1 << n, size):
        yield bits(torch.arange(first, min(first + size, 1 << n), device=like.device), n)


def _log_marginal(states: Tensor, weight: Tensor, outer: Tensor, inner: Tensor) -> Tensor:
    """log sum over the other side of exp(-E), for states of the first side, (N, n) -> (N,)."""
    return states @ outer + softplus(states @ weight + inner).sum(-1)
