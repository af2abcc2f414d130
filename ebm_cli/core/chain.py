"""Run a transition kernel. Objectives, sampling and metrics share this loop."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ebm_cli.core.contracts import Sampler
from ebm_cli.core.fitted_reference import FittedReference
from ebm_cli.core.independence import Proposals
from ebm_cli.core.model import Model, expand
from ebm_cli.core.rng import Rng
from ebm_cli.types import Count, Info, Params

BLOCK = 32  # number of transitions whose random numbers are drawn at once: one draw costs as much as a small transition


@dataclass(frozen=True)
class Draws:
    """How a trained model is sampled: `n_samples` in total, from `n_chains` chains of `n_steps` transitions, half of them warm-up.

    `reference_every`: a draw from the reference is proposed after so many transitions (core/independence.py); None: never.
    """

    n_samples: Count
    n_chains: Count
    n_steps: Count
    reference_every: Count | None = None

    def starts(self, sampler: Sampler, model: Model) -> int:
        """The number of chains: at most one per sample, and exactly one per sample if a chain yields a single sample."""
        return self.n_samples if sampler.length(model) is not None else min(self.n_chains, self.n_samples)


class Compiled:
    """A sampler whose `step` is one compiled graph."""

    def __init__(self, sampler: Sampler) -> None:
        self.sampler, self.step = sampler, torch.compile(sampler.step, fullgraph=True)

    def __getattr__(self, name: str) -> Any:
        if name == "sampler":  # `copy` looks attributes up before they are set
            raise AttributeError(name)
        return getattr(self.sampler, name)


def pick(points: Tensor, n: int, rng: Rng) -> Tensor:
    """n of the given points (*m, N, *d) in random order, each used equally often (up to one): (*m, n, *d)."""
    m = len(rng.model_shape)
    n_points = points.shape[m]
    order = rng.permutation("start", n_points)[..., torch.arange(n, device=points.device) % n_points]
    return points.gather(m, expand(order, points).expand(*order.shape, *points.shape[m + 1 :]))


def run(
    sampler: Sampler, model: Model, params: Params, x: Tensor, rng: Rng, *, n_steps: int, step_size: Tensor | None = None
) -> tuple[Tensor, Info]:
    """x after `n_steps` transitions, (*m, B, *d), without an autograd graph, and the mean of each info entry, (*m, B).

    `step_size`, (*m,), replaces the sampler's own step size.
    """
    state, sums = sampler.init(model, params, x), {}
    if step_size is not None:
        state = state._replace(step_size=step_size)
    for noise in noises(sampler, state, rng, n_steps):
        state, info = sampler.step(model, params, state, noise)
        sums = add(sums, info)
    return state.x, {name: value / n_steps for name, value in sums.items()}


def draw(
    sampler: Sampler, model: Model, params: Params, x: Tensor, rng: Rng, draws: Draws, reference: FittedReference | None = None
) -> tuple[Tensor, Info]:
    """Draws from chains started at x, (*m, n_chains, *d) -> (*m, n_chains, n_draws, *d), and the mean of each info entry, (*m,).

    During the warm-up (the first half of the chain), the step size of a sampler with a target acceptance rate is adapted by the
    Robbins-Monro rule, with the rate n^{-1/2} at transition n and the acceptance averaged over the chains of a model. After the warm-up
    it is fixed. If each chain yields a single sample (a ladder of noise levels), the sampler determines the length of the chain, and the
    last state is the draw. If the draws ask for it, points of `reference` are proposed between transitions.
    """
    m, length = len(model.model_shape(params)), sampler.length(model)
    n_draws = -(-draws.n_samples // x.shape[m])
    n_warmup, n_after = draws.n_steps // 2, max(n_draws, draws.n_steps - draws.n_steps // 2)
    if length is not None:
        n_warmup, n_after = length - 1, 1
    proposals = Proposals(sampler, model, params, reference, draws.reference_every)
    state = sampler.init(model, params, x)
    for n, noise in enumerate(noises(sampler, state, rng.at("warmup"), n_warmup), 1):
        state, info = sampler.step(model, params, state, noise)
        if sampler.target_acceptance is not None:
            acceptance = info["acceptance_rate"].to(state.x.dtype).mean(-1)
            state = state._replace(step_size=adapted(state.step_size, acceptance, sampler.target_acceptance, rate=n**-0.5))
        state = proposals(state, n, rng.at("warmup"))
    kept, sums = [], {}
    for n, noise in enumerate(noises(sampler, state, rng.at("draws"), n_after), 1):
        state, info = sampler.step(model, params, state, noise)
        sums = add(sums, info)
        if n * n_draws // n_after > (n - 1) * n_draws // n_after:
            kept.append(sampler.finish(model, params, state))
        state = proposals(state, n, rng.at("draws"))
    means = {name: value.mean(-1) / n_after for name, value in sums.items()}
    means |= proposals.info
    return torch.stack(kept, m + 1), means | ({"step_size": state.step_size} if hasattr(state, "step_size") else {})


def adapted(step_size: Tensor, acceptance: Tensor, target: float, *, rate: float) -> Tensor:
    """The step size after log eps <- log eps + rate (acceptance - target), (*m,). Robbins & Monro 1951; Andrieu & Thoms 2008."""
    return step_size * (rate * (acceptance - target)).exp()


def add(sums: Info, info: Info) -> Info:
    """The sums so far plus the info of one more transition, converted to floating point."""
    return {name: sums[name] + value if name in sums else value.to(torch.get_default_dtype()) for name, value in info.items()}


def noises(sampler: Sampler, state: Any, rng: Rng, n_steps: int) -> Iterator[tuple[Tensor, ...]]:
    """The random numbers of each of `n_steps` transitions in turn. They are drawn for a block of transitions at once."""
    m = len(rng.model_shape)
    for first in range(0, n_steps, BLOCK):
        block = sampler.noise(rng.at(first), state, min(BLOCK, n_steps - first))
        yield from zip(*(part.unbind(m) for part in block), strict=True)
