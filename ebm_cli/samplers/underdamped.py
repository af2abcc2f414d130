"""Underdamped Langevin dynamics by the BAOAB splitting, at mass 1. Leimkuhler & Matthews 2013, arXiv:1203.5428.

    B  v <- v + h/2 s(x)
    A  x <- x + h/2 v
    O  v <- c v + sqrt(1 - c^2) z,    c = exp(-friction h)        then A and B again

Biased, but little: on N(0, V) the positions' variance is V at every step h < 2 sqrt(V), and the velocities' 1 - h^2/4V; on other targets
the bias is O(h^2). It needs no energy. Velocities start at N(0, I), so that chains that start at the model stay there. Cost: one score per
transition. Not for friction far from 1 / (the time to cross the target): below it chains go round in circles, above it they diffuse.
With `max_score_norm` r, min(1, r / |s|) s stands for s: a further bias where it bites.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from ebm_cli.core.model import Model, expand
from ebm_cli.core.rng import Rng
from ebm_cli.samplers.transitions import diverged, gradient_noise_ratio, truncated
from ebm_cli.types import Info, Params, Positive, Sampler


class State(NamedTuple):
    x: Tensor  # (*m, B, *d)
    step_size: Tensor  # (*m,)
    velocity: Tensor  # (*m, B, *d)
    score: Tensor  # (*m, B, *d), truncated
    fresh: Tensor  # (*m, B), whether there is no velocity yet


@dataclass(frozen=True)
class Underdamped(Sampler):
    """`step_size` is h and `friction` a rate per unit of time, which at mass 1 has the model's units of length."""

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
        velocity = rng.normal("velocity", 1, *shape).expand(*m, n_steps, *shape)  # only the first transition takes it: one draw will do
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
        ratio = gradient_noise_ratio(model, score, state.step_size, sigma)  # of what the velocities gain
        info = {"gradient_noise_ratio": ratio, "divergence": diverged(model, x)}
        return State(x, state.step_size, v, score, torch.zeros_like(state.fresh)), info

    def _drift(self, model: Model, params: Params, x: Tensor) -> Tensor:
        return truncated(model, model.score(params, x), self.max_score_norm)
