"""Hamiltonian Monte Carlo: momenta p ~ N(0, M), `n_leapfrog` steps along H = E(x) + p' M^-1 p / 2, then a Metropolis test.

    p <- p + eps/2 s(x),    x <- x + eps M^-1 p,    p <- p + eps/2 s(x);    log alpha = H(x, p) - H(x', p')

It is exact. It is most efficient at an acceptance rate of 0.65 to 0.85 (adaptation targets 0.8). On N(0, V) it is stable for eps below
2 sqrt(M V). With `jitter` j the step of each chain and transition is uniform on eps (1 - j) .. eps (1 + j), which avoids periodic
trajectories and keeps the sampler exact. Cost: `n_leapfrog` scores per transition. Use mala for rugged energies in few dimensions, where
long trajectories have no advantage.
Duane et al. 1987; Neal 2011, arXiv:1206.1901.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from ebm_cli.core.contracts import Sampler
from ebm_cli.core.model import Model, constant, expand
from ebm_cli.core.rng import Rng
from ebm_cli.errors import bad
from ebm_cli.samplers.transitions import accepted
from ebm_cli.types import Count, Decay, Info, Params, Positive, Positives

DIVERGENCE = 1000.0  # nats; the energy error of a stable trajectory is a few nats at most


class State(NamedTuple):
    x: Tensor  # (*m, B, *d)
    step_size: Tensor  # (*m,)
    energy: Tensor  # (*m, B)
    score: Tensor  # (*m, B, *d)
    mass: Tensor  # (*m, *d)


@dataclass(frozen=True)
class HMC(Sampler):
    """`step_size` is eps, in the model's units at mass 1; `mass` is the diagonal of M: one number, or one per coordinate."""

    step_size: Positive
    n_leapfrog: Count
    mass: Positive | Positives
    jitter: Decay
    requires: ClassVar[frozenset[str]] = frozenset({"real", "energy"})
    exact: ClassVar[bool] = True
    target_acceptance: ClassVar[float] = 0.8

    def init(self, model: Model, params: Params, x: Tensor) -> State:
        m, shape = model.model_shape(params), x.shape[x.ndim - model.event_ndim :]
        mass = constant(self.mass, x)
        if mass.ndim and len(mass) != shape.numel():
            raise bad(f"sampler.mass: {len(mass)} masses for {shape.numel()} coordinates", "sampler.mass=1.0, one mass for all coordinates")
        mass = mass.reshape(shape) if mass.ndim else mass
        return State(x, x.new_full(m, self.step_size), *model.energy_and_score(params, x), mass.expand(*m, *shape))

    def noise(self, rng: Rng, state: State, n_steps: int) -> tuple[Tensor, Tensor, Tensor]:
        m = state.step_size.ndim
        accept, jitter = (rng.uniform(stream, n_steps, *state.energy.shape[m:]) for stream in ("accept", "jitter"))
        return rng.normal("momentum", n_steps, *state.x.shape[m:]), accept.log_(), jitter

    def step(self, model: Model, params: Params, state: State, noise: tuple[Tensor, Tensor, Tensor]) -> tuple[State, Info]:
        z, log_uniform, uniform = noise
        mass = state.mass.unsqueeze(state.step_size.ndim)
        eps = expand(state.step_size, uniform) * (1 + self.jitter * (2 * uniform - 1))
        start = mass.sqrt() * z
        x, p, energy, score = self.leapfrog(model, params, state.x, start, state.score, expand(eps, z), mass)
        gain = energy - state.energy + 0.5 * (model.inner(p, p / mass) - model.inner(start, start / mass))  # H' - H
        accept = accepted(log_uniform, -gain, state.energy, energy)
        move = expand(accept, x)
        x, energy, score = torch.where(move, x, state.x), torch.where(accept, energy, state.energy), torch.where(move, score, state.score)
        return State(x, state.step_size, energy, score, state.mass), {"acceptance_rate": accept, "divergence": ~(gain.abs() <= DIVERGENCE)}

    def leapfrog(
        self, model: Model, params: Params, x: Tensor, p: Tensor, score: Tensor, eps: Tensor, mass: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """x, p, E(x) and s(x) after `n_leapfrog` steps from (x, p), with the score there. The map is reversible and has Jacobian 1."""
        for _ in range(self.n_leapfrog):
            p = p.addcmul(0.5 * eps, score)
            x = x.addcmul(eps, p / mass)
            energy, score = model.energy_and_score(params, x)
            p = p.addcmul(0.5 * eps, score)
        return x, p, energy, score
