"""Gibbs with gradients: the gradient of the energy tells which bit to flip. Grathwohl et al. 2021, arXiv:2102.04509.

    d_i = -(2 x_i - 1) s_i(x),    q(i | x) = softmax(d / 2)_i,    log alpha = E(x) - E(x') + log q(i | x') - log q(i | x)

s = -grad E is evaluated at the bits as real numbers, and d_i estimates E(x) - E(x with bit i flipped); it is exact for energies that are
linear in each bit. The proposal flips bit i. Acceptance makes the sampler exact whatever the quality of the estimate. The energy must be
differentiable. Cost: one score per proposal; a transition makes `n_proposals`. One proposal flips a single bit: use dmala if many bits can
be flipped at once.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from ebm_cli.core.contracts import Sampler
from ebm_cli.core.model import Model, expand
from ebm_cli.core.rng import Rng
from ebm_cli.samplers.transitions import accepted, gain
from ebm_cli.types import Count, Info, Params


class State(NamedTuple):
    x: Tensor  # (*m, B, *d)
    energy: Tensor  # (*m, B)
    log_q: Tensor  # (*m, B, D), the log-probability of each flip


@dataclass(frozen=True)
class GibbsWithGradients(Sampler):
    """`n_proposals` per transition."""

    n_proposals: Count
    requires: ClassVar[frozenset[str]] = frozenset({"binary", "energy"})
    exact: ClassVar[bool] = True
    differentiable: ClassVar[bool] = False

    def init(self, model: Model, params: Params, x: Tensor) -> State:
        return State(x, *self._evaluate(model, params, x))

    def noise(self, rng: Rng, state: State, n_steps: int) -> tuple[Tensor, Tensor]:
        shape = n_steps, state.energy.shape[-1], self.n_proposals
        return rng.uniform("sites", *shape), rng.uniform("accept", *shape).log_()

    def step(self, model: Model, params: Params, state: State, noise: tuple[Tensor, Tensor]) -> tuple[State, Info]:
        rate, diverged = torch.zeros_like(state.energy), torch.zeros_like(state.energy, dtype=torch.bool)
        coordinate = torch.arange(state.log_q.shape[-1], device=state.x.device)
        for u, log_uniform in zip(*(part.unbind(-1) for part in noise), strict=True):
            below = state.log_q.exp().cumsum(-1)
            site = (u.unsqueeze(-1) * below[..., -1:] >= below[..., :-1]).sum(-1, keepdim=True)  # inversion
            x = (state.x - (coordinate == site).to(state.x).view(state.x.shape)).abs()
            energy, log_q = self._evaluate(model, params, x)
            log_alpha = state.energy - energy + (log_q.gather(-1, site) - state.log_q.gather(-1, site)).squeeze(-1)
            accept = accepted(log_uniform, log_alpha, state.energy, energy)
            x, log_q = (torch.where(expand(accept, new), new, old) for new, old in ((x, state.x), (log_q, state.log_q)))
            state = State(x, torch.where(accept, energy, state.energy), log_q)
            rate, diverged = rate + accept.to(rate), diverged | ~log_alpha.isfinite()
        return state, {"flip_rate": rate / self.n_proposals, "divergence": diverged}

    def _evaluate(self, model: Model, params: Params, x: Tensor) -> tuple[Tensor, Tensor]:
        energy, score = model.energy_and_score(params, x)
        return energy, (0.5 * gain(x, score)).flatten(x.ndim - model.event_ndim).log_softmax(-1)
