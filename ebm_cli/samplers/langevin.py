"""Unadjusted Langevin dynamics: x' = x + eps s(x) + sqrt(2 eps) z. Roberts & Tweedie 1996.

Biased: on N(0, v) the stationary variance is v / (1 - eps / 2v), never below 2 eps. It needs no energy. Cost: one score per transition.
"""

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from ebm_cli.model import Model, expand
from ebm_cli.rng import Rng
from ebm_cli.types import Info, Params, Positive, Sampler


class State(NamedTuple):
    x: Tensor  # (*m, B, *d)
    step_size: Tensor  # (*m,)


@dataclass(frozen=True)
class Langevin(Sampler):
    """`step_size` is eps, in the model's units squared."""

    step_size: Positive

    def init(self, model: Model, params: Params, x: Tensor) -> State:
        return State(x, x.new_full(model.model_shape(params), self.step_size))

    def noise(self, rng: Rng, state: State, n_steps: int) -> tuple[Tensor]:
        return (rng.normal("normal", n_steps, *state.x.shape[state.step_size.ndim :]),)

    def step(self, model: Model, params: Params, state: State, noise: tuple[Tensor]) -> tuple[State, Info]:
        eps = expand(state.step_size, state.x)
        x = state.x.addcmul(eps, model.score(params, state.x)).addcmul((2 * eps).sqrt(), noise[0])
        return state._replace(x=x), {}
