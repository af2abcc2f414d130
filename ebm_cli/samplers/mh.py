"""Random-walk Metropolis: x' = x + tau z, accepted with probability min(1, exp(E(x) - E(x'))). Metropolis et al. 1953.

It is exact and needs no gradient, so that energies may have discontinuities or kinks. It is most efficient at an acceptance rate of 0.234
(Roberts, Gelman & Gilks 1997), with tau about 2.4 / sqrt(d) standard deviations. Cost: one energy per transition. It is not suited to many
dimensions: it decorrelates in a number of transitions of order d (mala d^(1/3), hmc d^(1/4)).
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from ebm_cli.core.contracts import Sampler
from ebm_cli.core.model import Model, expand
from ebm_cli.core.rng import Rng
from ebm_cli.samplers.transitions import accepted
from ebm_cli.types import Info, Params, Positive


class State(NamedTuple):
    x: Tensor  # (*m, B, *d)
    step_size: Tensor  # (*m,)
    energy: Tensor  # (*m, B)


@dataclass(frozen=True)
class MetropolisHastings(Sampler):
    """`step_size` is tau, in the model's units."""

    step_size: Positive
    requires: ClassVar[frozenset[str]] = frozenset({"real", "energy"})
    exact: ClassVar[bool] = True
    target_acceptance: ClassVar[float] = 0.234
    differentiable: ClassVar[bool] = False

    def init(self, model: Model, params: Params, x: Tensor) -> State:
        return State(x, x.new_full(model.model_shape(params), self.step_size), model.energy(params, x))

    def noise(self, rng: Rng, state: State, n_steps: int) -> tuple[Tensor, Tensor]:
        m = state.step_size.ndim
        return rng.normal("normal", n_steps, *state.x.shape[m:]), rng.uniform("accept", n_steps, *state.energy.shape[m:]).log_()

    def step(self, model: Model, params: Params, state: State, noise: tuple[Tensor, Tensor]) -> tuple[State, Info]:
        z, log_uniform = noise
        x = state.x.addcmul(expand(state.step_size, state.x), z)
        energy = model.energy(params, x)
        log_alpha = state.energy - energy
        accept = accepted(log_uniform, log_alpha, state.energy, energy)
        x, energy = torch.where(expand(accept, x), x, state.x), torch.where(accept, energy, state.energy)
        return State(x, state.step_size, energy), {"acceptance_rate": accept, "divergence": ~log_alpha.isfinite()}
