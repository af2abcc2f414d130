"""Underdamped Langevin dynamics with the BAOAB splitting, at mass 1. Leimkuhler & Matthews 2013, arXiv:1203.5428.

    B  v <- v + h/2 s(x)
    A  x <- x + h/2 v
    O  v <- c v + sqrt(1 - c^2) z,    c = exp(-friction h)        followed by A and B

Its bias is small: on N(0, V) the variance of the positions is V at every step h < 2 sqrt(V), and that of the velocities 1 - h^2/4V; on
other targets the bias is O(h^2). It needs no energy. Initial velocities are draws from N(0, I), so that chains that start at the model
remain there. Cost: one score per transition. The friction should be near 1 / (the time to cross the target): with less friction chains
oscillate, with more they diffuse. With `max_score_norm` r, min(1, r / |s|) s replaces s, which adds a bias where |s| > r.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from ebm_cli.core.contracts import Sampler
from ebm_cli.core.model import Model, expand
from ebm_cli.core.rng import Rng
from ebm_cli.samplers.transitions import diverged, gradient_noise_ratio, truncated
from ebm_cli.types import Info, Params, Positive


class State(NamedTuple):
    x: Tensor  # (*m, B, *d)
    step_size: Tensor  # (*m,)
    velocity: Tensor  # (*m, B, *d)
    score: Tensor  # (*m, B, *d), truncated
    fresh: Tensor  # (*m, B), whether the velocity is still to be drawn


@dataclass(frozen=True)
class Underdamped(Sampler):
    """`step_size` is h and `friction` a rate per unit of time, which at mass 1 has the unit of length of the model."""

    step_size: Positive
    friction: Positive
    max_score_norm: Positive | None
    has_memory: ClassVar[bool] = True

    def init(self, model: Model, params: Params, x: Tensor) -> State:
        m = model.model_shape(params)
        fresh = torch.ones(x.shape[: len(m) + 1], dtype=torch.bool, device=x.device)
        return State(x, x.new_full(m, self.step_size), torch.zeros_like(x), self._drift(model, params, x), fresh)

    def noise(self, rng: Rng, state: State, n_steps: int) -> tuple[Tensor, Tensor]:
        m, shape = state.step_size.shape, state.x.shape[state.step_size.ndim :]
        velocity = rng.normal("velocity", 1, *shape).expand(*m, n_steps, *shape)  # only the first transition uses it, so one draw suffices
        return rng.normal("normal", n_steps, *shape), velocity

    def step(self, model: Model, params: Params, state: State, noise: tuple[Tensor, Tensor]) -> tuple[State, Info]:
        z, first = noise
        half = expand(0.5 * state.step_size, state.x)
        decay, sigma = (-self.friction * state.step_size).exp(), (-torch.expm1(-2 * self.friction * state.step_size)).sqrt()
        v = torch.where(expand(state.fresh, first), first, state.velocity).addcmul(half, state.score)
        x = state.x.addcmul(half, v)
        v = expand(decay, v) * v + expand(sigma, v) * z
        x = x.addcmul(half, v)
        score = self._drift(model, params, x)
        v = v.addcmul(half, score)
        ratio = gradient_noise_ratio(model, score, state.step_size, sigma)  # of the increments of the velocity
        info = {"gradient_noise_ratio": ratio, "divergence": diverged(model, x)}
        return State(x, state.step_size, v, score, torch.zeros_like(state.fresh)), info

    def _drift(self, model: Model, params: Params, x: Tensor) -> Tensor:
        return truncated(model, model.score(params, x), self.max_score_norm)
