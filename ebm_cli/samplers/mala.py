"""Metropolis-adjusted Langevin algorithm: a Langevin proposal x' = x + eps s(x) + sqrt(2 eps) z, accepted with probability min(1, alpha).

    log alpha = E(x) - E(x') + log q(x | x') - log q(x' | x),    log q(x' | x) = -|x' - x - eps s(x)|^2 / (4 eps)
              = E(x) - E(x') - w'(z + w/2),    w = sqrt(eps / 2) (s(x) + s(x'))

It is exact. It is most efficient at an acceptance rate of 0.574. Cost: one score (and the energy that comes with it) per transition.
Roberts & Rosenthal 1998. With `max_score_norm` r, min(1, r / |s|) s replaces s in the proposal and in q in both directions, and the sampler
remains exact: MALTA, Roberts & Tweedie 1996. Use tempering for modes that are more than a few steps apart, and langevin for models without
an energy.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from ebm_cli.core.contracts import Sampler
from ebm_cli.core.model import Model, expand
from ebm_cli.core.rng import Rng
from ebm_cli.samplers.transitions import accepted, gradient_noise_ratio, truncated
from ebm_cli.types import Info, Params, Positive


class State(NamedTuple):
    x: Tensor  # (*m, B, *d)
    step_size: Tensor  # (*m,)
    energy: Tensor  # (*m, B)
    score: Tensor  # (*m, B, *d), truncated


@dataclass(frozen=True)
class MALA(Sampler):
    """`step_size` is eps, in the model's units squared."""

    step_size: Positive
    max_score_norm: Positive | None
    requires: ClassVar[frozenset[str]] = frozenset({"real", "energy"})
    exact: ClassVar[bool] = True
    target_acceptance: ClassVar[float] = 0.574

    def init(self, model: Model, params: Params, x: Tensor) -> State:
        return State(x, x.new_full(model.model_shape(params), self.step_size), *self._energy_and_drift(model, params, x))

    def noise(self, rng: Rng, state: State, n_steps: int) -> tuple[Tensor, Tensor]:
        m = state.step_size.ndim
        return rng.normal("normal", n_steps, *state.x.shape[m:]), rng.uniform("accept", n_steps, *state.energy.shape[m:]).log_()

    def step(self, model: Model, params: Params, state: State, noise: tuple[Tensor, Tensor]) -> tuple[State, Info]:
        z, log_uniform = noise
        eps = expand(state.step_size, state.x)
        sigma = (2 * eps).sqrt()
        x = state.x.addcmul(eps, state.score).addcmul(sigma, z)
        energy, score = self._energy_and_drift(model, params, x)
        w = 0.5 * sigma * (state.score + score)
        log_alpha = state.energy - energy - model.inner(w, z + 0.5 * w)
        accept = accepted(log_uniform, log_alpha, state.energy, energy)
        info = {
            "acceptance_rate": accept,
            "gradient_noise_ratio": gradient_noise_ratio(model, state.score, state.step_size, (2 * state.step_size).sqrt()),
            "divergence": ~log_alpha.isfinite(),
        }
        move = expand(accept, x)
        x, energy, score = torch.where(move, x, state.x), torch.where(accept, energy, state.energy), torch.where(move, score, state.score)
        return State(x, state.step_size, energy, score), info

    def _energy_and_drift(self, model: Model, params: Params, x: Tensor) -> tuple[Tensor, Tensor]:
        energy, score = model.energy_and_score(params, x)
        return energy, truncated(model, score, self.max_score_norm)
