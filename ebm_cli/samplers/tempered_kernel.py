"""Parallel tempering of discrete events: replicas at K temperatures, moved by another exact sampler, exchange their states. Geyer 1991.

    p_k(x) ~ exp(-E_k(x)),    E_k = beta_k E,    beta_k = max_temperature^(-k / (K - 1)),    k = 0 .. K - 1
    swap of k and k + 1:    log alpha = E_k(x_k) + E_{k+1}(x_{k+1}) - E_k(x_{k+1}) - E_{k+1}(x_k)

With block Gibbs sampling E_k(x) = -log sum_h exp(-beta_k E(x, h)), the path of the joint energy, because its blocks are independent at
every temperature (core/block_gibbs.py); without hidden units this is beta_k E. A transition makes `n_moves` moves of the kernel at each
temperature, and then proposes swaps from the hottest pair down, so that a state may pass through all temperatures at once. x is the
replica at temperature 1. It is exact in the limit of long chains, if the kernel is exact. Choose temperatures so that `swap_rate` is at
least 0.2 and the hottest replica moves freely. Cost: K times that of the kernel, and K more energies (K^2 with block Gibbs sampling).
As with `tempering` (tempering.py), all replicas start at the given x, so it is not suited to short chains (cd, pcd).
"""

from collections import namedtuple
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Ge, Gt
from torch import Tensor

from ebm_cli.core.contracts import Sampler
from ebm_cli.core.model import Model, expand
from ebm_cli.core.rng import Rng
from ebm_cli.core.wrappers import AtInverseTemperatures
from ebm_cli.errors import bad
from ebm_cli.types import Count, Info, Params


@cache
def state_type(inner: type) -> Any:
    """The type of a state: `beta`, (*m, K), and the fields of the kernel's state, with all replicas as one batch, (*m, K B, ...).

    `inner` is the kernel's state, `replicas` are (*m, K, B, *d), and `x` is the cold replica, (*m, B, *d).
    """
    found: Any = namedtuple("State", ("beta", *(f"kernel_{name}" for name in inner._fields)))
    found.inner = property(lambda state: inner(*state[1:]))
    found.replicas = property(lambda state: state.inner.x.unflatten(state.beta.ndim - 1, (state.beta.shape[-1], -1)))
    found.x = property(lambda state: state.replicas.select(state.beta.ndim - 1, 0))
    return found


@dataclass(frozen=True)
class TemperedKernel(Sampler):
    """`n_moves` of the `kernel` at each temperature between two rounds of swaps."""

    kernel: Sampler
    n_moves: Count
    n_temperatures: Annotated[int, Ge(2)]
    max_temperature: Annotated[float, Gt(1)]
    requires: ClassVar[frozenset[str]] = frozenset({"discrete", "energy"})
    exact: ClassVar[bool] = True
    differentiable: ClassVar[bool] = False
    has_memory: ClassVar[bool] = True

    def __post_init__(self) -> None:
        name = type(self.kernel).__name__
        if not self.kernel.exact or self.kernel.has_memory:
            fault = "depends on more than x" if self.kernel.exact else "is not exact: swaps would not correct its bias"
            raise bad(f"sampler.kernel: {name} {fault}", "sampler=tempered_gibbs")
        if "ising" in self.kernel.requires:
            raise bad(f"sampler.kernel: {name} has the same temperature for all chains", "sampler=tempered_block_gibbs")
        object.__setattr__(self, "requires", self.requires | self.kernel.requires)

    def init(self, model: Model, params: Params, x: Tensor) -> Any:
        m = model.model_shape(params)
        rung = torch.arange(self.n_temperatures, dtype=x.dtype, device=x.device)
        beta = (self.max_temperature ** -(rung / (self.n_temperatures - 1))).expand(*m, -1)
        replicas = x.unsqueeze(len(m)).expand(*m, self.n_temperatures, *x.shape[len(m) :])
        inner = self._start(model, params, replicas, beta)
        return state_type(type(inner))(beta, *inner)

    def noise(self, rng: Rng, state: Any, n_steps: int) -> tuple[Tensor, ...]:
        m = len(rng.model_shape)
        moves = self.kernel.noise(rng, state.inner, n_steps * self.n_moves)
        log_swap = rng.uniform("swap", n_steps, self.n_temperatures - 1, state.x.shape[m]).log_()
        return *(part.unflatten(m, (n_steps, self.n_moves)) for part in moves), log_swap

    def step(self, model: Model, params: Params, state: Any, noise: tuple[Tensor, ...]) -> tuple[Any, Info]:
        *moves, log_swap = noise
        rung, inner, sums = state.beta.ndim - 1, state.inner, {}
        path, own = self._at(model, params, state.replicas, state.beta)
        for k in range(self.n_moves):
            inner, info = self.kernel.step(path, own, inner, tuple(part.select(rung, k) for part in moves))
            sums = {name: sums.get(name, 0) + value.to(state.beta) for name, value in info.items()}
        moved = inner.x.view(state.replicas.shape)
        order, swapped = self._swaps(self._energies(path, own, moved, state.beta), log_swap)
        replicas = moved.gather(rung, expand(order, moved).expand_as(moved))
        mean = {name: value.unflatten(-1, moved.shape[rung : rung + 2]).mean(-2) / self.n_moves for name, value in sums.items()}
        after = type(state)(state.beta, *self._start(model, params, replicas, state.beta))
        return after, mean | {"swap_rate": swapped.to(state.beta).mean(-2)}

    def _at(self, model: Model, params: Params, replicas: Tensor, beta: Tensor) -> tuple[AtInverseTemperatures, Params]:
        """The model at the temperatures of the replicas, and its parameters."""
        of_replica = beta.unsqueeze(-1).expand(replicas.shape[: beta.ndim + 1]).flatten(-2)
        return AtInverseTemperatures(model, joint="block_gibbs" in self.kernel.requires), params | {"wrapper.beta": of_replica}

    def _start(self, model: Model, params: Params, replicas: Tensor, beta: Tensor) -> Any:
        """The kernel's state at the replicas."""
        path, own = self._at(model, params, replicas, beta)
        return self.kernel.init(path, own, replicas.flatten(beta.ndim - 1, beta.ndim))

    def _energies(self, path: AtInverseTemperatures, params: Params, replicas: Tensor, beta: Tensor) -> Tensor:
        """E_j(x_k) for all temperatures j and replicas k, (*m, K, K, B)."""
        rung, shape = beta.ndim - 1, replicas.shape
        x = replicas.flatten(rung, rung + 1)
        if not path.joint:
            energy = path.base.energy(params, x).detach().unflatten(-1, shape[rung : rung + 2])
            return expand(beta, energy.unsqueeze(rung)) * energy.unsqueeze(rung)
        every = x.unsqueeze(rung).expand(*shape[:rung], self.n_temperatures, *x.shape[rung:])
        at = beta.unsqueeze(-1).expand(every.shape[: rung + 2]).flatten(-2)
        energy = path.base.annealed_energy(params, every.flatten(rung, rung + 1), at).detach()
        return energy.unflatten(-1, (self.n_temperatures, *shape[rung : rung + 2]))

    def _swaps(self, energies: Tensor, log_uniform: Tensor) -> tuple[Tensor, Tensor]:
        """The index of the replica that each temperature takes over, (*m, K, B), and whether each pair has swapped, (*m, K - 1, B)."""
        own = list(energies.unbind(-2))  # the energies (*m, K, B) of the state that each temperature has, at all temperatures
        order = [torch.full_like(own[0].select(-2, 0), k, dtype=torch.int64) for k in range(self.n_temperatures)]
        swapped = []
        for k in reversed(range(self.n_temperatures - 1)):
            cold, hot = own[k], own[k + 1]
            log_alpha = cold.select(-2, k) + hot.select(-2, k + 1) - hot.select(-2, k) - cold.select(-2, k + 1)
            swap = log_uniform.select(-2, k) < log_alpha
            own[k], own[k + 1] = (torch.where(swap.unsqueeze(-2), *pair) for pair in ((hot, cold), (cold, hot)))
            order[k], order[k + 1] = (torch.where(swap, *pair) for pair in ((order[k + 1], order[k]), (order[k], order[k + 1])))
            swapped.append(swap)
        return torch.stack(order, -2), torch.stack(swapped, -2)
