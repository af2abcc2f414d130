"""Langevin dynamics with separate step size and noise scale, as in short runs: x' = x + eps s(x) + sigma z. Nijkamp et al. 2019.

For small eps chains follow exp(-E / T) at the temperature T = sigma^2 / (2 eps), the value of `temperature`; sigma^2 = 2 eps is Langevin
dynamics at T = 1. On N(0, v) the stationary variance is T v / (1 - eps / 2v). Cost: one score per transition. A model trained with these
chains is exp(-E / T): its log Z, its likelihoods and samples at T = 1 are meaningful only after the energy is divided by T. Welling & Teh
2011, who named the method, allow gradients of minibatches; here they are exact gradients of the energy.
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
