"""Discrete Langevin proposal: every bit may flip at once. Zhang, Liu & Liu 2022, arXiv:2206.09914.

    log-odds of a flip of bit i:    l_i = d_i / 2 - 1 / (2 alpha),    d_i = -(2 x_i - 1) s_i(x),    s = -grad E

The bits flip independently. Without acceptance (dlp) the stationary distribution is not that of the model; it approaches it as alpha -> 0,
for energies that are linear in each bit. With acceptance (dmala) the sampler is exact:

    log alpha = E(x) - E(x') + log q(x | x') - log q(x' | x),    log q(x' | x) = sum_i log sigmoid(+- l_i(x)), + where bit i flips

The step size alpha determines how many bits flip: for alpha of 0.2 a bit without a gradient flips with probability 0.08, for 1 with 0.38.
dmala is most efficient at acceptance rates near 0.5. The energy must be differentiable. Cost: one score per transition.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from ebm_cli.core.contracts import Sampler
from ebm_cli.core.model import Model, expand
from ebm_cli.core.rng import Rng
from ebm_cli.samplers.transitions import accepted, gain
from ebm_cli.types import Info, Params, Positive


class State(NamedTuple):
    x: Tensor  # (*m, B, *d)
    step_size: Tensor  # (*m,)
    energy: Tensor  # (*m, B)
    gain: Tensor  # (*m, B, *d), d


@dataclass(frozen=True)
class DiscreteLangevin(Sampler):
    """`step_size` is alpha."""

    step_size: Positive
    requires: ClassVar[frozenset[str]] = frozenset({"binary"})
    differentiable: ClassVar[bool] = False

    def init(self, model: Model, params: Params, x: Tensor) -> State:
        return State(x, x.new_full(model.model_shape(params), self.step_size), *self._evaluate(model, params, x))

    def noise(self, rng: Rng, state: State, n_steps: int) -> tuple[Tensor, ...]:
        return (rng.uniform("flips", n_steps, *state.x.shape[state.step_size.ndim :]),)

    def step(self, model: Model, params: Params, state: State, noise: tuple[Tensor, ...]) -> tuple[State, Info]:
        x, _, _ = self._propose(state, noise[0])
        energy, d = self._evaluate(model, params, x)
        return State(x, state.step_size, energy, d), {"divergence": ~d.isfinite().all(model.event_axes)}

    def _propose(self, state: State, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The proposal, 1 where a bit flips and -1 elsewhere, and the log-odds of the flips, all (*m, B, *d)."""
        log_odds = 0.5 * state.gain - expand(0.5 / state.step_size, state.x)
        flips = (u < torch.sigmoid(log_odds)).to(state.x)
        return (state.x - flips).abs(), 2 * flips - 1, log_odds

    def _evaluate(self, model: Model, params: Params, x: Tensor) -> tuple[Tensor, Tensor]:
        """The energy (zero if there is none: it is not needed) and d."""
        if "energy" in self.requires:
            energy, score = model.energy_and_score(params, x)
        else:
            energy, score = x.new_zeros(x.shape[: x.ndim - model.event_ndim]), model.score(params, x)
        return energy, gain(x, score)


@dataclass(frozen=True)
class DMALA(DiscreteLangevin):
    """`step_size` is alpha."""

    requires: ClassVar[frozenset[str]] = frozenset({"binary", "energy"})
    exact: ClassVar[bool] = True
    target_acceptance: ClassVar[float] = 0.574

    def noise(self, rng: Rng, state: State, n_steps: int) -> tuple[Tensor, ...]:
        return *super().noise(rng, state, n_steps), rng.uniform("accept", n_steps, *state.energy.shape[state.step_size.ndim :]).log_()

    def step(self, model: Model, params: Params, state: State, noise: tuple[Tensor, ...]) -> tuple[State, Info]:
        x, sign, log_odds = self._propose(state, noise[0])
        energy, d = self._evaluate(model, params, x)
        back = 0.5 * d - expand(0.5 / state.step_size, x)
        log_ratio = (logsigmoid(sign * back) - logsigmoid(sign * log_odds)).sum(model.event_axes)
        log_alpha = state.energy - energy + log_ratio
        accept = accepted(noise[1], log_alpha, state.energy, energy)
        x, d = (torch.where(expand(accept, x), new, old) for new, old in ((x, state.x), (d, state.gain)))
        energy = torch.where(accept, energy, state.energy)
        return State(x, state.step_size, energy, d), {"acceptance_rate": accept, "divergence": ~log_alpha.isfinite()}
