"""Independent categorical coordinates, with the smoothed marginals of the training data.

    log q(x) = sum_i log p_i(x_i),    p_i(k) = (n_ik + smoothing) / (N + K_i smoothing)

n_ik is the number of training events with x_i = k, and K_i the number of states of coordinate i. Smoothing keeps the probability of every
state above 0. Correlations are not modeled. For bits it is the reference bernoulli.
"""

from dataclasses import dataclass
from math import prod
from typing import ClassVar

import torch
from torch import Tensor

from ebm_cli.core.contracts import Reference
from ebm_cli.core.rng import Rng
from ebm_cli.core.states import levels
from ebm_cli.types import Params, Positive, Space


@dataclass(frozen=True)
class Categorical(Reference):
    """`smoothing` is the pseudo-count of each state."""

    smoothing: Positive
    requires: ClassVar[frozenset[str]] = frozenset({"discrete"})

    def on(self, space: Space) -> "Categorical":
        return OnSpace(self.smoothing, levels(space, prod(space.shape)))

    def fit(self, x: Tensor, shape: tuple[int, ...], rng: Rng, held_out: Tensor | None = None) -> Params:
        """`log_probability`, (*m, D, K); -infinity for the states k >= K_i that a coordinate does not have."""
        numbers = self.numbers(x)
        most = max(numbers)
        count = torch.stack([(x == k).sum(-2) for k in range(most)], -1).to(x) + self.smoothing
        possible = torch.arange(most, device=x.device) < torch.tensor(numbers, device=x.device).unsqueeze(-1)
        count = count.where(possible, 0)
        return {"log_probability": (count / count.sum(-1, keepdim=True)).log()}

    def numbers(self, x: Tensor) -> tuple[int, ...]:
        """The number of states of each coordinate: without a space, those up to the largest in the data."""
        return tuple(int(n) + 1 for n in x.flatten(0, -2).amax(0))

    def draw(self, params: Params, n: int, rng: Rng, stream: str) -> Tensor:
        log_p = params["log_probability"]
        edges = log_p.exp().cumsum(-1)[..., :-1].where(log_p[..., 1:] > -torch.inf, 2)  # rounding must not draw a state that does not exist
        u = rng.uniform(stream, n, log_p.shape[-2])
        return (u.unsqueeze(-1) >= edges.unsqueeze(-3)).sum(-1).to(log_p)

    def log_prob(self, params: Params, x: Tensor) -> Tensor:
        log_p = params["log_probability"].unsqueeze(-3)
        log_p = log_p.expand(*x.shape, log_p.shape[-1])
        return log_p.gather(-1, x.long().unsqueeze(-1)).squeeze(-1).sum(-1)


@dataclass(frozen=True)
class OnSpace(Categorical):
    """The reference for coordinates with these numbers of states."""

    n_states: tuple[int, ...]

    def numbers(self, x: Tensor) -> tuple[int, ...]:
        return self.n_states
