"""Metropolis-adjusted Langevin: a Langevin proposal x' = x + eps s(x) + sqrt(2 eps) z, accepted with probability min(1, alpha).

    log alpha = E(x) - E(x') + log q(x | x') - log q(x' | x),    log q(x' | x) = -|x' - x - eps s(x)|^2 / (4 eps)
              = E(x) - E(x') - w'(z + w/2),    w = sqrt(eps / 2) (s(x) + s(x'))

Exact; best near an acceptance of 0.574. Cost: one score (and the energy that comes with it) per transition. Roberts & Rosenthal 1998.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from ebm_cli.model import Model, expand
from ebm_cli.rng import Rng
from ebm_cli.types import Info, Params, Positive, Sampler


class State(NamedTuple):
    x: Tensor  # (*m, B, *d)
    step_size: Tensor  # (*m,)
    energy: Tensor  # (*m, B)
    score: Tensor  # (*m, B, *d)


@dataclass(frozen=True)
class MALA(Sampler):
    """`step_size` is eps, in the model's units squared."""

    step_size: Positive
    requires: ClassVar[frozenset[str]] = frozenset({"energy"})
    target_acceptance: ClassVar[float] = 0.574

    def init(self, model: Model, params: Params, x: Tensor) -> State:
        return State(x, x.new_full(model.model_shape(params), self.step_size), *model.energy_and_score(params, x))

    def noise(self, rng: Rng, state: State, n_steps: int) -> tuple[Tensor, Tensor]:
        m = state.step_size.ndim
        return rng.normal("normal", n_steps, *state.x.shape[m:]), rng.uniform("accept", n_steps, *state.energy.shape[m:]).log_()

    def step(self, model: Model, params: Params, state: State, noise: tuple[Tensor, Tensor]) -> tuple[State, Info]:
        z, log_uniform = noise
        eps = expand(state.step_size, state.x)
        sigma = (2 * eps).sqrt()
        x = state.x.addcmul(eps, state.score).addcmul(sigma, z)
        energy, score = model.energy_and_score(params, x)
        w = 0.5 * sigma * (state.score + score)
        accept = log_uniform < state.energy - energy - model.inner(w, z + 0.5 * w)  # false where the proposal's energy is not a number
        move = expand(accept, x)
        x, energy, score = torch.where(move, x, state.x), torch.where(accept, energy, state.energy), torch.where(move, score, state.score)
        return State(x, state.step_size, energy, score), {"acceptance_rate": accept}
