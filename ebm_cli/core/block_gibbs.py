"""The contract of energies with block-Gibbs transitions, and the path of annealing from independent coordinates to such an energy.

An energy provides `block_gibbs` by the two methods of `BlockGibbs`. Both are those of one module, x (B, *d); `Model.sweep` and
`Model.annealed_energy` call them for stacks. The distributions

    p_beta(x) ~ exp(-E_beta(x)),    E_0(x) = -bias'x + constant,    E_1 = E

lead from independent coordinates to the model. For an energy with hidden units the path is that of the joint energy,

    E_beta(x) = -log sum_h exp(-E_beta(x, h)),    E_beta(x, h) = -(1 - beta) bias'x + beta E(x, h),

because h | x and x | h are then independent for every beta (Salakhutdinov & Murray 2008). For a visible energy such as that of an Ising
model it is -(1 - beta) bias'x + beta E(x). beta may also be larger than 1, and with bias = 0 it is an inverse temperature (tempering).
"""

from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import softplus

from ebm_cli.core.wrappers import Wrapper
from ebm_cli.types import Params


class BlockGibbs(Protocol):
    """What an energy defines in addition to `forward`. All random numbers are arguments.

    `n_uniforms` is the number of uniform random numbers that a transition of one chain takes. They have at least 16 random bits.
    If the D bits of an event are drawn as u < p by D successive ones of them, `first_uniform` is the place of the first of these: bits can
    then be held fixed (core/held.py).
    """

    n_uniforms: int
    first_uniform: int | None = None

    def sweep(self, x: Tensor, u: Tensor, beta: Tensor, bias: Tensor) -> Tensor:
        """One transition that leaves p_beta invariant: x (B, *d), u (B, n_uniforms) on [0, 1), beta (B,), bias (*d) -> (B, *d).

        Coordinates that depend on each other are not drawn at once, but block after block.
        """
        ...

    def annealed_energy(self, x: Tensor, beta: Tensor, bias: Tensor) -> Tensor:
        """E_beta(x) in nats, (B,). At beta = 1 it is the energy, with the same constant."""
        ...


class BlockGibbsPath(Wrapper):
    """The model at an inverse temperature beta of the path from independent bits with log-odds `bias` to the model.

    It works on a single model, not on a stack. `params` holds `wrapper.beta` () and `wrapper.bias` (*d).
    """

    def energy(self, params: Params, x: Tensor, noise_level: Tensor | None = None) -> Tensor:
        return self.base.annealed_energy(params, x, self._beta(params, x), params["wrapper.bias"])

    def fall(self, params: Params, x: Tensor, before: Tensor, after: Tensor) -> Tensor:
        """E_before(x) - E_after(x), (B,), for two values of beta. The model and the path have the same constant at beta = 1."""
        return self.energy(params | {"wrapper.beta": before}, x) - self.energy(params | {"wrapper.beta": after}, x)

    def log_z_of_start(self, params: Params) -> Tensor:
        """log Z at beta = 0: there -E_0(x) = bias'x + constant."""
        bias = params["wrapper.bias"]
        at_zero = self.energy(params | {"wrapper.beta": torch.zeros_like(params["wrapper.beta"])}, torch.zeros_like(bias).unsqueeze(0))
        return softplus(bias).sum() - at_zero.squeeze(-1)

    def sweep(self, params: Params, x: Tensor, u: Tensor, beta: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
        if beta is not None or bias is not None:
            raise TypeError("a path has its own beta and bias")
        return self.base.sweep(params, x, u, self._beta(params, x), params["wrapper.bias"])

    def _beta(self, params: Params, x: Tensor) -> Tensor:
        beta = params["wrapper.beta"]
        return beta.unsqueeze(-1).expand(x.shape[: x.ndim - self.event_ndim])


def log_odds(mean: Tensor, n: float) -> Tensor:
    """The log-odds log(p / (1 - p)) of bits with the smoothed frequencies p = (mean n + 1) / (n + 2), where `mean` is that of n events."""
    return torch.logit((mean * n + 1) / (n + 2))
