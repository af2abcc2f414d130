"""Langevin dynamics with step and noise decoupled, as short runs use it: x' = x + eps s(x) + sigma z. Nijkamp et al. 2019.

For small eps chains follow exp(-E / T) at the temperature T = sigma^2 / (2 eps), which `temperature` gives; sigma^2 = 2 eps is Langevin
dynamics at T = 1. On N(0, v) the stationary variance is T v / (1 - eps / 2v). Cost: one score per transition.
Not for log Z, likelihoods or samples at T = 1 unless the energy is rescaled: a model trained with these chains is exp(-E / T).
The gradients may be of minibatches in Welling & Teh 2011, who named the method; here they are the energy's own.
"""

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from ebm_cli.diffusion import diverged, gradient_noise_ratio, truncated
from ebm_cli.model import Model, expand
from ebm_cli.rng import Rng
from ebm_cli.types import Info, Params, Positive, Sampler


class State(NamedTuple):
    x: Tensor  # (*m, B, *d)
    step_size: Tensor  # (*m,)


@dataclass(frozen=True)
class SGLD(Sampler):
    """`step_size` is eps, in the model's units squared; `noise_scale` is sigma, in the model's units."""

    step_size: Positive
    noise_scale: Positive
    max_score_norm: Positive | None

    @property
    def temperature(self) -> float:
        return self.noise_scale**2 / (2 * self.step_size)

    def init(self, model: Model, params: Params, x: Tensor) -> State:
        return State(x, x.new_full(model.model_shape(params), self.step_size))

    def noise(self, rng: Rng, state: State, n_steps: int) -> tuple[Tensor]:
        return (rng.normal("normal", n_steps, *state.x.shape[state.step_size.ndim :]),)

    def step(self, model: Model, params: Params, state: State, noise: tuple[Tensor]) -> tuple[State, Info]:
        drift = truncated(model, model.score(params, state.x), self.max_score_norm)
        x = state.x.addcmul(expand(state.step_size, state.x), drift).add(noise[0], alpha=self.noise_scale)
        ratio = gradient_noise_ratio(model, drift, state.step_size, self.noise_scale)
        return state._replace(x=x), {"gradient_noise_ratio": ratio, "divergence": diverged(model, x)}
