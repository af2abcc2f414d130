"""Run a transition kernel: the one loop that objectives, sampling and metrics share."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ebm_cli.core.model import Model, expand
from ebm_cli.core.rng import Rng
from ebm_cli.types import Count, Info, Params, Sampler

BLOCK = 32  # transitions whose noise is drawn at once: a draw costs as much as a small kernel


@dataclass(frozen=True)
class Draws:
    """How a trained model is drawn from: `n_samples` in all, from `n_chains` chains of `n_steps` transitions, half of them warm-up."""

    n_samples: Count
    n_chains: Count
    n_steps: Count

    def starts(self, sampler: Sampler, model: Model) -> int:
        """How many chains there are: no more than samples, and where a chain ends in its sample as many."""
        return self.n_samples if sampler.length(model) is not None else min(self.n_chains, self.n_samples)


class Compiled:
    """A sampler whose `step` is one compiled graph."""

    def __init__(self, sampler: Sampler) -> None:
        self.sampler, self.step = sampler, torch.compile(sampler.step, fullgraph=True)

    def __getattr__(self, name: str) -> Any:
        if name == "sampler":  # while a copy is being made
            raise AttributeError(name)
        return getattr(self.sampler, name)


def starts(n: int, rng: Rng, *, mean: Tensor, scale: Tensor, points: Tensor | None = None) -> Tensor:
    """Where n chains start, (*m, n, *d): at N(mean, scale^2) of the training data, both (*m, *d), or at given points, (*m, N, *d).

    Points (the data, say, or results of earlier chains) are taken in a random order, each as often as any other.
    """
    m = len(rng.model_shape)
    if points is None:
        return mean.unsqueeze(m) + scale.unsqueeze(m) * rng.normal("start", n, *mean.shape[m:])
    n_points = points.shape[m]
    order = rng.permutation("start", n_points)[..., torch.arange(n, device=points.device) % n_points]
    return points.gather(m, expand(order, points).expand(*order.shape, *points.shape[m + 1 :]))


def run(
    sampler: Sampler, model: Model, params: Params, x: Tensor, rng: Rng, *, n_steps: int, step_size: Tensor | None = None
) -> tuple[Tensor, Info]:
    """x after `n_steps` transitions, (*m, B, *d), without a graph, and the transitions' mean infos, (*m, B).

    `step_size`, (*m,), stands in for the sampler's own.
    """
    state, sums = sampler.init(model, params, x), {}
    if step_size is not None:
        state = state._replace(step_size=step_size)
    for noise in noises(sampler, state, rng, n_steps):
        state, info = sampler.step(model, params, state, noise)
        sums = add(sums, info)
    return state.x, {name: value / n_steps for name, value in sums.items()}


def draw(sampler: Sampler, model: Model, params: Params, x: Tensor, rng: Rng, draws: Draws) -> tuple[Tensor, Info]:
    """Draws from chains started at x, (*m, n_chains, *d) -> (*m, n_chains, n_draws, *d), and the mean of each info, (*m,).

    During the warm-up (the first half) the step size of a sampler with a target acceptance a* follows Robbins and Monro,
    log eps += n^{-1/2} (a - a*), where a is the acceptance over the chains of a model; after it the step size is frozen.
    Where chains have a length of their own (a ladder of noise levels), they are that long, and their last state is the one that is drawn.
    """
    m, length = len(model.model_shape(params)), sampler.length(model)
    n_draws = -(-draws.n_samples // x.shape[m])
    n_warmup, n_after = draws.n_steps // 2, max(n_draws, draws.n_steps - draws.n_steps // 2)
    if length is not None:
        n_warmup, n_after = length - 1, 1
    state = sampler.init(model, params, x)
    for n, noise in enumerate(noises(sampler, state, rng.at("warmup"), n_warmup), 1):
        state, info = sampler.step(model, params, state, noise)
        if sampler.target_acceptance is not None:
            error = info["acceptance_rate"].to(state.x.dtype).mean(-1) - sampler.target_acceptance
            state = state._replace(step_size=state.step_size * (error * n**-0.5).exp())
    kept, sums = [], {}
    for n, noise in enumerate(noises(sampler, state, rng.at("draws"), n_after), 1):
        state, info = sampler.step(model, params, state, noise)
        sums = add(sums, info)
        if n * n_draws // n_after > (n - 1) * n_draws // n_after:
            kept.append(sampler.finish(model, params, state))
    means = {name: value.mean(-1) / n_after for name, value in sums.items()}
    return torch.stack(kept, m + 1), means | {"step_size": state.step_size}


def add(sums: Info, info: Info) -> Info:
    """The infos of one more transition, as numbers, on top of those before."""
    return {name: sums[name] + value if name in sums else value.to(torch.get_default_dtype()) for name, value in info.items()}


def noises(sampler: Sampler, state: Any, rng: Rng, n_steps: int) -> Iterator[tuple[Tensor, ...]]:
    """The noise of each of `n_steps` transitions in turn, drawn for a block of them at once."""
    for first in range(0, n_steps, BLOCK):
        block = sampler.noise(rng.at(first), state, min(BLOCK, n_steps - first))
        yield from zip(*(part.unbind(state.step_size.ndim) for part in block), strict=True)
