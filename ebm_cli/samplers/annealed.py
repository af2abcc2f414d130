"""Annealed Langevin dynamics over noise levels sigma_1 > ... > sigma_L. Song & Ermon 2019, arXiv:1907.05600.

    x' = x + eps_i s(x, sigma_i) + sqrt(2 eps_i) z,    eps_i = step_size sigma_i^2

Each chain makes `n_steps_per_level` transitions at each level, in descending order, and yields one sample, since chains no longer move
between modes at the last level. The sample is the mean of the clean x given the noisy one, x + sigma^2 s(x, sigma_L), where sigma is the
standard deviation of the noise that remains in x at the last level (zero for recovery): Jolicoeur-Martineau et al. 2020, arXiv:2009.05475.

`step_size` is dimensionless: it is the step at each level in units of the variance of that level (the eps of Song & Ermon is
step_size sigma_L^2, scaled by sigma_i^2 / sigma_L^2). On a point mass the variance at a level is sigma_i^2 / (1 - step_size / 2): 1.11
times sigma_i^2 at 0.2, 20 times at 1.9, and it diverges from 2 on. Keep it at 0.2 or below. Cost: one score per transition, and one per
sample. Use langevin or mala for models with a single noise level. The samples are not distributed as exp(-E(., sigma_L)): the weights of
distant modes may differ.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, NamedTuple

import torch
from annotated_types import Gt, Lt
from torch import Tensor

from ebm_cli.core.contracts import Sampler
from ebm_cli.core.model import Model, constant, expand
from ebm_cli.core.rng import Rng
from ebm_cli.samplers.transitions import diverged, gradient_noise_ratio
from ebm_cli.types import Count, Info, Params


class State(NamedTuple):
    x: Tensor  # (*m, B, *d)
    step_size: Tensor  # (*m,)
    levels: Tensor  # (*m, L), in descending order
    n: Tensor  # (*m,), the number of transitions so far


@dataclass(frozen=True)
class AnnealedLangevin(Sampler):
    """`step_size` is in units of the variance of each level."""

    step_size: Annotated[float, Gt(0), Lt(2)]
    n_steps_per_level: Count
    requires: ClassVar[frozenset[str]] = frozenset({"real", "noise_level"})

    def length(self, model: Model) -> int:
        return self.n_steps_per_level * len(model.levels)

    def init(self, model: Model, params: Params, x: Tensor) -> State:
        m = model.model_shape(params)
        levels = constant(model.levels, x).expand(*m, len(model.levels))
        return State(x, x.new_full(m, self.step_size), levels, torch.zeros(m, dtype=torch.int64, device=x.device))

    def noise(self, rng: Rng, state: State, n_steps: int) -> tuple[Tensor]:
        return (rng.normal("normal", n_steps, *state.x.shape[state.step_size.ndim :]),)

    def step(self, model: Model, params: Params, state: State, noise: tuple[Tensor]) -> tuple[State, Info]:
        place = (state.n // self.n_steps_per_level).clamp(max=state.levels.shape[-1] - 1)
        level = state.levels.gather(-1, place.unsqueeze(-1)).squeeze(-1)
        eps = state.step_size * level.square()
        sigma = (2 * eps).sqrt()
        score = self._score(model, params, state.x, level)
        x = state.x.addcmul(expand(eps, score), score).addcmul(expand(sigma, score), noise[0])
        info = {"gradient_noise_ratio": gradient_noise_ratio(model, score, eps, sigma), "divergence": diverged(model, x)}
        return state._replace(x=x, n=state.n + 1), info

    def finish(self, model: Model, params: Params, state: State) -> Tensor:
        return state.x + model.residual**2 * self._score(model, params, state.x, state.levels[..., -1])

    def _score(self, model: Model, params: Params, x: Tensor, level: Tensor) -> Tensor:
        return model.score(params, x, level.unsqueeze(-1).expand(x.shape[: x.ndim - model.event_ndim]))
