"""Langevin dynamics with step and noise decoupled, as short runs use it: x' = x + eps s(x) + sigma z. Nijkamp et al. 2019.

For small eps chains follow exp(-E / T) at the temperature T = sigma^2 / (2 eps), which `temperature` gives; sigma^2 = 2 eps is Langevin
dynamics at T = 1. On N(0, v) the stationary variance is T v / (1 - eps / 2v). Cost: one score per transition.
Not for log Z, likelihoods or samples at T = 1 unless the energy is rescaled: a model trained with these chains is exp(-E / T).
The gradients may be of minibatches in Welling & Teh 2011, who named the method; here they are the energy's own.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ebm_cli.samplers.langevin import Langevin, State
from ebm_cli.types import Positive


@dataclass(frozen=True)
class SGLD(Langevin):
    """`step_size` is eps, in the model's units squared; `noise_scale` is sigma, in the model's units."""

    noise_scale: Positive

    @property
    def temperature(self) -> float:
        return self.noise_scale**2 / (2 * self.step_size)

    def sigma(self, state: State) -> Tensor:
        return torch.full_like(state.step_size, self.noise_scale)
