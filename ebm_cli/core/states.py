"""The states of discrete events: their number, all of them in order, and those that differ in one coordinate.

State number k has the digits of k as its coordinates, the first coordinate being the most significant digit: with two bits, the states are
00, 01, 10, 11.
"""

import math

import torch
from torch import Tensor

from ebm_cli.core.model import Model, constant
from ebm_cli.types import Params, Space

MOST = 1 << 22  # number of entries (events times coordinates) of states that are made at once


def is_discrete(space: Space | None) -> bool:
    """Whether events are known to be bits or categories."""
    return space is not None and space.kind != "real"


def levels(space: Space | None, n: int) -> tuple[int, ...]:
    """The number of states of each of the n coordinates of an event, in row-major order. Without a space the events are bits."""
    if space is None or space.kind == "binary":
        return (2,) * n
    return space.n_states if isinstance(space.n_states, tuple) else (space.n_states,) * n


def base(space: Space | None, x: Tensor) -> Tensor:
    """The number of states of each coordinate, (*d), as a tensor beside x, (..., *d)."""
    shape = x.shape[x.ndim - len(space.shape) :]
    return constant(levels(space, shape.numel()), x).reshape(shape)


def n_states(space: Space) -> int:
    """The number of states of an event."""
    return math.prod(levels(space, math.prod(space.shape)))


def states(space: Space, first: int = 0, last: int | None = None, *, device: torch.device | None = None) -> Tensor:
    """The states number first .. last - 1 of a space, by default all of them, (N, *d), in the default precision."""
    index = torch.arange(first, n_states(space) if last is None else last, device=device)
    digits, place = [], 1
    for base in reversed(levels(space, math.prod(space.shape))):
        digits.append(index // place % base)
        place *= base
    return torch.stack(digits[::-1], -1).to(torch.get_default_dtype()).unflatten(-1, space.shape)


def number(x: Tensor, space: Space) -> Tensor:
    """The number of each state, (..., *d) -> (...), as an integer. It is the inverse of `states`."""
    flat, found = x.flatten(-len(space.shape)).long(), 0
    for base, digit in zip(levels(space, flat.shape[-1]), flat.unbind(-1), strict=True):
        found = base * found + digit
    return found


def parts(space: Space) -> list[tuple[int, int]]:
    """The ranges of the numbers of states, each of bounded memory, that together hold all states of a space."""
    n, size = n_states(space), max(1, MOST // math.prod(space.shape))
    return [(first, min(first + size, n)) for first in range(0, n, size)]


def has_flips(model: Model) -> bool:
    """Whether the energy has a closed form for the change of its value when a bit is flipped (`flip_differences`)."""
    return hasattr(model.module, "flip_differences")


def neighbors(model: Model, x: Tensor) -> Params:
    """The points for `differences`, (*m, B, D (K - 1), *d), each of which differs from an event of x, (*m, B, *d), in one coordinate.

    With K states, x_i becomes x_i + j modulo K for j = 1 .. K - 1. If coordinates have different numbers of states, K is the largest, and
    `possible`, (*m, D, K - 1), is false for the values of j that a coordinate does not have.
    """
    if has_flips(model):
        return {}
    shape, m = x.shape[x.ndim - model.event_ndim :], x.shape[: x.ndim - 1 - model.event_ndim]
    numbers = levels(model.space, shape.numel())
    base, most = constant(numbers, x), max(numbers)
    unit = torch.eye(shape.numel(), dtype=x.dtype, device=x.device).unsqueeze(1)
    change = (unit * torch.arange(1, most, dtype=x.dtype, device=x.device).unsqueeze(-1)).flatten(0, 1)
    points = torch.remainder(x.flatten(x.ndim - model.event_ndim).unsqueeze(-2) + change, base).unflatten(-1, shape)
    if min(numbers) == most:
        return {"neighbors": points}
    possible = torch.arange(1, most, device=x.device) < base.unsqueeze(-1)
    return {"neighbors": points, "possible": possible.expand(*m, *possible.shape)}


def differences(model: Model, params: Params, x: Tensor, aux: Params) -> tuple[Tensor, Tensor]:
    """E(x), (*m, B), and E(y) - E(x) for every y that differs in one coordinate, (*m, B, D, K - 1), by one call.

    `aux` holds the points of `neighbors`. For a value that a coordinate does not have, E(y) is infinite.
    """
    if has_flips(model):
        energy = model.energy(params, x)
        return energy, model.call(params, "flip_differences", x).unsqueeze(-1)
    batch, axis = x.shape[x.ndim - 1 - model.event_ndim], x.ndim - 1 - model.event_ndim
    points = aux["neighbors"]
    n = points.shape[axis + 1]
    energy = model.energy(params, torch.cat([x, points.flatten(axis, axis + 1)], axis))
    here, away = energy[..., :batch], energy[..., batch:].unflatten(-1, (batch, n))
    change = (away - here.unsqueeze(-1)).unflatten(-1, (x.shape[axis + 1 :].numel(), -1))
    return here, change.masked_fill(~aux["possible"].unsqueeze(-3), torch.inf) if "possible" in aux else change
