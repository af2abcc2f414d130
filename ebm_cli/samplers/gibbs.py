"""Gibbs sampling: the coordinates of an event are drawn one after the other, each given all others. Geman & Geman 1984.

    bits        x_i = 1 with probability 1 / (1 + exp(E(x with x_i = 1) - E(x with x_i = 0)))
    categories  x_i = k with probability proportional to exp(-E(x with x_i = k))

A transition draws as many coordinates as an event has: all in turn (`systematic`), or each time one that is chosen at random (`random`). It
is exact, and there is no step size. Cost: one energy per coordinate (K - 1 with K states), in a sequence of calls. Use block_gibbs if the
energy has it, and gwg for energies with many coordinates.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from ebm_cli.core.contracts import Sampler
from ebm_cli.core.model import Model, expand
from ebm_cli.core.rng import Rng
from ebm_cli.core.states import levels
from ebm_cli.samplers.transitions import base, shifted
from ebm_cli.types import Info, Params


class State(NamedTuple):
    x: Tensor  # (*m, B, *d)
    energy: Tensor  # (*m, B)


@dataclass(frozen=True)
class Gibbs(Sampler):
    """`scan` is the order in which coordinates are drawn."""

    scan: Literal["systematic", "random"]
    requires: ClassVar[frozenset[str]] = frozenset({"discrete", "energy"})
    exact: ClassVar[bool] = True
    differentiable: ClassVar[bool] = False

    def init(self, model: Model, params: Params, x: Tensor) -> State:
        return State(x, model.energy(params, x).detach())

    def noise(self, rng: Rng, state: State, n_steps: int) -> tuple[Tensor, ...]:
        n_chains, d = state.energy.shape[-1], state.x.shape[state.energy.ndim :].numel()
        u = rng.uniform("values", n_steps, n_chains, d)
        if self.scan == "systematic":
            return (u,)
        return u, rng.integers("sites", d, n_steps, n_chains, d)

    def step(self, model: Model, params: Params, state: State, noise: tuple[Tensor, ...]) -> tuple[State, Info]:
        x, energy = state
        site, n_states = torch.arange(noise[0].shape[-1], device=x.device), levels(model.space, noise[0].shape[-1])
        for i, u in enumerate(noise[0].unbind(-1)):
            chosen = site == (noise[1][..., i, None] if self.scan == "random" else i)
            unit = chosen.to(x).expand(*u.shape, -1).unflatten(-1, x.shape[energy.ndim :])
            x, energy = self._draw(model, params, x, energy, unit, u, max(n_states) if self.scan == "random" else n_states[i])
        return State(x, energy), {"divergence": ~energy.isfinite()}

    def _draw(
        self, model: Model, params: Params, x: Tensor, energy: Tensor, unit: Tensor, u: Tensor, n_states: int
    ) -> tuple[Tensor, Tensor]:
        """x with new values at the coordinates where `unit`, (*m, B, *d), is one, and its energy. `u`, (*m, B), are uniform."""
        batch = energy.ndim - 1
        unequal = self.scan == "random" and n_states > 2  # coordinates may have fewer states than the largest number
        changes = (unit * k % base(model, x) if unequal else unit * k for k in range(1, n_states))
        others = [shifted(model, x, change) for change in changes]  # x_i + 1, x_i + 2, ...
        energies = torch.stack([energy, *model.energy(params, torch.cat(others, batch)).detach().chunk(n_states - 1, -1)], -1)
        if unequal:
            of_site = (unit * base(model, x)).sum(model.event_axes)
            energies = energies.masked_fill(torch.arange(n_states, device=x.device) >= of_site.unsqueeze(-1), torch.inf)
        below = (-energies).softmax(-1).cumsum(-1)[..., :-1]
        shift = (u.unsqueeze(-1) >= below).sum(-1)  # inversion: 0 keeps the value
        return shifted(model, x, unit * expand(shift, x)), energies.gather(-1, shift.unsqueeze(-1)).squeeze(-1)
