"""Metropolis sampling of discrete events: a coordinate that is chosen at random gets another value. Metropolis et al. 1953.

    log alpha = E(x) - E(x')

Bits are flipped; a category becomes one of the K - 1 others with equal probabilities. It is exact, and needs no gradient. A transition
makes `n_proposals` proposals, each at the cost of one energy. It accepts more changes than Gibbs sampling of bits, which draws the present
value again with some probability (Peskun 1973).
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from ebm_cli.core.contracts import Sampler
from ebm_cli.core.model import Model, expand
from ebm_cli.core.rng import Rng
from ebm_cli.samplers.transitions import accepted, base, shifted
from ebm_cli.types import Count, Info, Params


class State(NamedTuple):
    x: Tensor  # (*m, B, *d)
    energy: Tensor  # (*m, B)


@dataclass(frozen=True)
class Flip(Sampler):
    """`n_proposals` per transition; null: as many as an event has coordinates."""

    n_proposals: Count | None
    requires: ClassVar[frozenset[str]] = frozenset({"discrete", "energy"})
    exact: ClassVar[bool] = True
    differentiable: ClassVar[bool] = False

    def init(self, model: Model, params: Params, x: Tensor) -> State:
        return State(x, model.energy(params, x).detach())

    def noise(self, rng: Rng, state: State, n_steps: int) -> tuple[Tensor, Tensor, Tensor]:
        n_chains, d = state.energy.shape[-1], state.x.shape[state.energy.ndim :].numel()
        shape = n_steps, n_chains, self.n_proposals or d
        return rng.integers("sites", d, *shape), rng.uniform("values", *shape), rng.uniform("accept", *shape).log_()

    def step(self, model: Model, params: Params, state: State, noise: tuple[Tensor, Tensor, Tensor]) -> tuple[State, Info]:
        x, energy = state
        coordinate, rate = torch.arange(x.shape[energy.ndim :].numel(), device=x.device), torch.zeros_like(energy)
        diverged = torch.zeros_like(energy, dtype=torch.bool)
        for site, value, log_uniform in zip(*(part.unbind(-1) for part in noise), strict=True):
            unit = (coordinate == site.unsqueeze(-1)).to(x).view(x.shape)
            others = (unit * (base(model, x) - 1)).sum(model.event_axes)  # the number of other values
            proposal = shifted(model, x, unit * expand(1 + (value * others).floor().minimum(others - 1), x))
            after = model.energy(params, proposal).detach()
            accept = accepted(log_uniform, energy - after, energy, after)
            x, diverged = torch.where(expand(accept, x), proposal, x), diverged | ~(energy - after).isfinite()
            energy, rate = torch.where(accept, after, energy), rate + accept.to(energy)
        return State(x, energy), {"flip_rate": rate / noise[0].shape[-1], "divergence": diverged}
