"""What transitions share: a truncated score, the decision on a proposal, and what is watched of a move."""

import torch
from torch import Tensor

from ebm_cli.core.model import Model, expand


def truncated(model: Model, score: Tensor, max_norm: float | None) -> Tensor:
    """min(1, max_norm / |s|) s, with the norm over the event axes of each chain; s itself where there is no `max_norm`."""
    if max_norm is None:
        return score
    squared = model.inner(score, score).clamp(min=max_norm**2)  # the clamp comes before the root: no NaN, in value or gradient, at s = 0
    return score * expand(max_norm * squared.rsqrt(), score)


def gradient_noise_ratio(model: Model, score: Tensor, step: Tensor, noise: Tensor | float) -> Tensor:
    """|step s| / (noise sqrt(d)), (*m, B): the drift against the root mean square of the noise, for `step` and `noise` (*m,).

    Not against |noise z|, whose inverse has no mean in one dimension.
    """
    rms = score.detach().square().mean(model.event_axes).sqrt()
    return rms * expand(step / noise, rms)


def diverged(model: Model, x: Tensor) -> Tensor:
    """Whether a chain is no longer finite, (*m, B)."""
    return ~x.isfinite().all(model.event_axes)


def accepted(log_uniform: Tensor, log_alpha: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """log u < log alpha, (*m, B), with the energies of a chain and of its proposal; never where the latter is not a number.

    From where p = 0 any proposal is taken: log alpha would be inf - inf, and a chain that starts there would stay for ever.
    """
    return (log_uniform < log_alpha) | ((before == torch.inf) & ~after.isnan())
