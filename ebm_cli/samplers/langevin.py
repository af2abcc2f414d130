"""Unadjusted Langevin dynamics: x' = x + eps s(x) + sqrt(2 eps) z. Roberts & Tweedie 1996.

It is biased: on N(0, v) the stationary variance is v / (1 - eps / 2v), never below 2 eps. It needs no energy. Cost: one score per
transition. Use mala if the bias matters and the model has an energy. It cannot resolve standard deviations below sqrt(2 eps).
With `max_score_norm` r the drift is eps min(1, r / |s|) s. Chains are then stable at steep walls, but have a further bias where |s| > r.
"""

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from ebm_cli.core.contracts import Sampler
from ebm_cli.core.model import Model, expand
from ebm_cli.core.rng import Rng
from ebm_cli.samplers.transitions import diverged, gradient_noise_ratio, truncated
from ebm_cli.types import Info, Params, Positive


class State(NamedTuple):
    x: Tensor  # (*m, B, *d)
    step_size: Tensor  # (*m,)


@dataclass(frozen=True)
class Langevin(Sampler):
    """`step_size` is eps, in the model's units squared."""

    step_size: Positive
    max_score_norm: Positive | None

    def init(self, model: Model, params: Params, x: Tensor) -> State:
        return State(x, x.new_full(model.model_shape(params), self.step_size))

    def noise(self, rng: Rng, state: State, n_steps: int) -> tuple[Tensor]:
        return (rng.normal("normal", n_steps, *state.x.shape[state.step_size.ndim :]),)

    def sigma(self, state: State) -> Tensor:
        """The standard deviation of the noise, (*m,)."""
        return (2 * state.step_size).sqrt()

    def step(self, model: Model, params: Params, state: State, noise: tuple[Tensor]) -> tuple[State, Info]:
        sigma = self.sigma(state)
        drift = truncated(model, model.score(params, state.x), self.max_score_norm)
        x = state.x.addcmul(expand(state.step_size, state.x), drift).addcmul(expand(sigma, state.x), noise[0])
        ratio = gradient_noise_ratio(model, drift, state.step_size, sigma)
        return state._replace(x=x), {"gradient_noise_ratio": ratio, "divergence": diverged(model, x)}
