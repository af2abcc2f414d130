"""Parallel tempering: replicas of each chain at K temperatures, moved by mala and exchanged between neighbors. Geyer 1991.

    p_k(x) = exp(-beta_k E(x)),    beta_k = max_temperature^(-k / (K - 1)),    k = 0 .. K - 1
    swap of k and k + 1:    log alpha = (beta_k - beta_{k+1}) (E(x_k) - E(x_{k+1}))

Hot replicas cross between modes, and swaps bring their states down to temperature 1; x is the replica at temperature 1. Temperature k has
the step size eps / beta_k, so that one eps suits all temperatures. Swaps are proposed from the hottest pair down, so that a state may pass
through all temperatures in one transition. It is exact in the limit of long chains. Choose temperatures so that `swap_rate` is at least
0.2 and the hottest replica moves freely between modes. Cost: K scores per transition.
It is not suited to short chains from good initial states (cd, pcd): all replicas start at the given x, and until the hot replicas have
reached their distributions, swaps also move the cold replica away from the model. The energy must be normalizable at all temperatures.
For discrete events see tempered_kernel.py.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, NamedTuple

import torch
from annotated_types import Ge, Gt
from torch import Tensor

from ebm_cli.core.contracts import Sampler
from ebm_cli.core.model import Model, expand
from ebm_cli.core.rng import Rng
from ebm_cli.samplers.transitions import accepted
from ebm_cli.types import Info, Params, Positive


class State(NamedTuple):
    replicas: Tensor  # (*m, K, B, *d)
    step_size: Tensor  # (*m,)
    energy: Tensor  # (*m, K, B)
    score: Tensor  # (*m, K, B, *d), of E, at temperature 1
    beta: Tensor  # (*m, K)

    @property
    def x(self) -> Tensor:
        """The cold replica, (*m, B, *d)."""
        return self.replicas.select(self.step_size.ndim, 0)


@dataclass(frozen=True)
class Tempering(Sampler):
    """`step_size` is eps at temperature 1, in the model's units squared."""

    step_size: Positive
    n_temperatures: Annotated[int, Ge(2)]
    max_temperature: Annotated[float, Gt(1)]
    requires: ClassVar[frozenset[str]] = frozenset({"real", "energy"})
    exact: ClassVar[bool] = True
    target_acceptance: ClassVar[float] = 0.574
    has_memory: ClassVar[bool] = True

    def init(self, model: Model, params: Params, x: Tensor) -> State:
        m = model.model_shape(params)
        rung = torch.arange(self.n_temperatures, dtype=x.dtype, device=x.device)
        beta = self.max_temperature ** -(rung / (self.n_temperatures - 1))
        replicas = x.unsqueeze(len(m)).expand(*m, self.n_temperatures, *x.shape[len(m) :])
        energy, score = self._evaluate(model, params, replicas)
        return State(replicas, x.new_full(m, self.step_size), energy, score, beta.expand(*m, self.n_temperatures))

    def noise(self, rng: Rng, state: State, n_steps: int) -> tuple[Tensor, Tensor, Tensor]:
        m = state.step_size.ndim
        n_rungs, n_chains = state.energy.shape[m:]
        accept, swap = rng.uniform("accept", n_steps, n_rungs, n_chains), rng.uniform("swap", n_steps, n_rungs - 1, n_chains)
        return rng.normal("normal", n_steps, *state.replicas.shape[m:]), accept.log_(), swap.log_()

    def step(self, model: Model, params: Params, state: State, noise: tuple[Tensor, Tensor, Tensor]) -> tuple[State, Info]:
        z, log_uniform, log_swap = noise
        rung = state.step_size.ndim
        x, energy, score, log_alpha = self._propose(model, params, state, z)
        accept = accepted(log_uniform, log_alpha, state.energy, energy)
        move = expand(accept, x)
        x, score = torch.where(move, x, state.replicas), torch.where(move, score, state.score)
        energy = torch.where(accept, energy, state.energy)
        order, swapped = self._swaps(energy, state.beta, log_swap)
        of = expand(order, x).expand_as(x)
        after = State(x.gather(rung, of), state.step_size, energy.gather(rung, order), score.gather(rung, of), state.beta)
        dtype = energy.dtype
        return after, {
            "acceptance_rate": accept.to(dtype).mean(rung),  # over all temperatures, which share the step size
            "swap_rate": swapped.to(dtype).mean(rung),
            "divergence": (~log_alpha.isfinite()).to(dtype).mean(rung),
        }

    def _propose(self, model: Model, params: Params, state: State, z: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The proposals of mala at each temperature, with their energies, scores and log alpha."""
        beta, eps = expand(state.beta, z), expand(state.step_size, z)
        x = state.replicas.addcmul(eps, state.score).addcmul((2 * eps / beta).sqrt(), z)
        energy, score = self._evaluate(model, params, x)
        w = (0.5 * eps * beta).sqrt() * (state.score + score)
        log_alpha = state.beta.unsqueeze(-1) * (state.energy - energy) - model.inner(w, z + 0.5 * w)
        return x, energy, score, log_alpha

    def _swaps(self, energy: Tensor, beta: Tensor, log_uniform: Tensor) -> tuple[Tensor, Tensor]:
        """The index of the replica that each temperature takes over, (*m, K, B), and whether each pair has swapped, (*m, K - 1, B)."""
        energies = list(energy.unbind(-2))
        order = [torch.full_like(energies[0], k, dtype=torch.int64) for k in range(self.n_temperatures)]
        swapped = []
        for k in reversed(range(self.n_temperatures - 1)):
            log_alpha = (beta[..., k] - beta[..., k + 1]).unsqueeze(-1) * (energies[k] - energies[k + 1])
            swap = log_uniform[..., k, :] < log_alpha
            for values in (energies, order):
                values[k], values[k + 1] = torch.where(swap, values[k + 1], values[k]), torch.where(swap, values[k], values[k + 1])
            swapped.append(swap)
        return torch.stack(order, -2), torch.stack(swapped, -2)

    def _evaluate(self, model: Model, params: Params, replicas: Tensor) -> tuple[Tensor, Tensor]:
        """The energies and scores of all replicas, in one evaluation."""
        rung = replicas.ndim - model.event_ndim - 2
        energy, score = model.energy_and_score(params, replicas.flatten(rung, rung + 1))
        return energy.unflatten(rung, replicas.shape[rung : rung + 2]), score.view(replicas.shape)
