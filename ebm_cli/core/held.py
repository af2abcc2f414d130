"""A model of discrete events given the values of some coordinates: p(free coordinates | held coordinates).

    E(x) = the energy of the model if x has the values, infinite otherwise

Chains that start with the values keep them: `gibbs` draws a coordinate among the values of finite energy, and block Gibbs takes uniforms
with which the held bits come out as they are, so that all other bits of a transition are drawn given the held ones. Restoring the values
after a transition would be wrong for a lattice, whose second color would have seen other values of the first.
"""

import torch
from torch import Tensor

from ebm_cli.core.model import Model
from ebm_cli.core.wrappers import Wrapper
from ebm_cli.types import Params

ON, OFF = -1.0, 2.0  # uniforms with which u < p is always true, and never


class Held(Wrapper):
    """`values`, (*d), holds nan for free coordinates."""

    def __init__(self, base: Model, values: Tensor) -> None:
        super().__init__(base)
        self.held, self.values = ~values.isnan(), values.nan_to_num()

    def energy(self, params: Params, x: Tensor, noise_level: Tensor | None = None) -> Tensor:
        differs = ((x != self.values) & self.held).flatten(x.ndim - self.event_ndim).any(-1)
        return torch.where(differs, torch.inf, self.base.energy(params, x, noise_level))

    def sweep(self, params: Params, x: Tensor, u: Tensor, beta: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
        first, d = self.module.first_uniform, self.held.numel()
        before, own, after = u.split([first, d, u.shape[-1] - first - d], -1)
        kept = torch.where(self.held, torch.where(self.values > 0.5, ON, OFF), own.unflatten(-1, self.held.shape))
        return self.base.sweep(params, x, torch.cat([before, kept.flatten(kept.ndim - self.event_ndim), after], -1), beta, bias)
