"""The uniform distribution on the bounding box of the training data, widened by a `margin`.

    log q(x) = -sum log(high - low) inside the box, -infinity outside

A tilt by it bounds the support: the energy is infinite outside the box. Samplers must reject moves out of the box, as exact samplers do.
An objective that evaluates the energy of a data point outside the box diverges (except `nce`). Use it for data with a bounded range. In
many dimensions hardly any of its draws fall near the data.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ebm_cli.core.contracts import Reference
from ebm_cli.core.rng import Rng
from ebm_cli.types import NonNegative, Params


@dataclass(frozen=True)
class Uniform(Reference):
    """`margin` is the distance between the data and the box on each side, as a fraction of the range of the data."""

    margin: NonNegative

    def fit(self, x: Tensor, shape: tuple[int, ...], rng: Rng, held_out: Tensor | None = None) -> Params:
        low, high = x.amin(-2), x.amax(-2)
        beyond = (self.margin * (high - low)).where(high > low, 0.5)  # a constant coordinate has a box of width 1
        return {"low": low - beyond, "high": high + beyond}

    def draw(self, params: Params, n: int, rng: Rng, stream: str) -> Tensor:
        low, high = (params[name].unsqueeze(-2) for name in ("low", "high"))
        return torch.minimum(low + (high - low) * rng.uniform(stream, n, low.shape[-1]), high)  # a guard against rounding

    def log_prob(self, params: Params, x: Tensor) -> Tensor:
        low, high = (params[name].unsqueeze(-2) for name in ("low", "high"))
        inside = ((x >= low) & (x <= high)).all(-1)
        return torch.where(inside, -(high - low).log().sum(-1), -torch.inf)
