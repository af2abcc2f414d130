"""Functions that several transitions share: truncated scores, acceptance of proposals, diagnostics, and changes of discrete events."""

import torch
from torch import Tensor

from ebm_cli.core.model import Model, constant, expand
from ebm_cli.core.states import levels


def truncated(model: Model, score: Tensor, max_norm: float | None) -> Tensor:
    """min(1, max_norm / |s|) s, with the norm over the event axes of each chain; s itself if `max_norm` is None."""
    if max_norm is None:
        return score
    squared = model.inner(score, score).clamp(min=max_norm**2)  # clamped before the root, so that value and gradient are finite at s = 0
    return score * expand(max_norm * squared.rsqrt(), score)


def gradient_noise_ratio(model: Model, score: Tensor, step: Tensor, noise: Tensor | float) -> Tensor:
    """|step s| / (noise sqrt(d)), (*m, B): the norm of the drift over the root mean square of the noise, for `step` and `noise` (*m,).

    |noise z| would not do as the denominator: its inverse has no mean in one dimension.
    """
    rms = score.detach().square().mean(model.event_axes).sqrt()
    return rms * expand(step / noise, rms)


def diverged(model: Model, x: Tensor) -> Tensor:
    """Whether a chain has values that are not finite, (*m, B)."""
    return ~x.isfinite().all(model.event_axes)


def accepted(log_uniform: Tensor, log_alpha: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """Whether log u < log alpha, (*m, B). `before` and `after` are the energies of a chain and of its proposal.

    A proposal with a NaN energy is rejected. From a state with p = 0 every other proposal is accepted: log alpha may be inf - inf, and a
    chain that starts there would never move.
    """
    return (log_uniform < log_alpha) | ((before == torch.inf) & ~after.isnan())


def base(model: Model, x: Tensor) -> Tensor:
    """The number of states of each coordinate of discrete events, (*d)."""
    shape = x.shape[x.ndim - model.event_ndim :]
    return constant(levels(model.space, shape.numel()), x).view(shape)


def shifted(model: Model, x: Tensor, change: Tensor) -> Tensor:
    """x_i + change_i modulo the number of states of coordinate i, for changes from 0 to this number less one, (*m, B, *d)."""
    if model.space is None or model.space.kind == "binary":
        return (x - change).abs()
    moved, states = x + change, base(model, x)
    return torch.where(moved >= states, moved - states, moved)


def gain(x: Tensor, score: Tensor) -> Tensor:
    """d_i = -(2 x_i - 1) s_i, (*m, B, *d): the estimate by the score s of E(x) - E(x with bit i flipped)."""
    return (1 - 2 * x) * score
