"""Independent Bernoulli coordinates for binary events, with the smoothed marginals of the training data.

    log q(x) = sum_i x_i log p_i + (1 - x_i) log(1 - p_i),    p_i = (n_i + smoothing) / (N + 2 smoothing)

n_i is the number of ones in coordinate i among the N training events. Smoothing keeps p_i away from 0 and 1. Correlations are not modeled.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ebm_cli.core.contracts import Reference
from ebm_cli.core.rng import Rng
from ebm_cli.types import Params, Positive


@dataclass(frozen=True)
class Bernoulli(Reference):
    """`smoothing` is the pseudo-count of each of the two values."""

    smoothing: Positive
    requires: ClassVar[frozenset[str]] = frozenset({"binary"})

    def fit(self, x: Tensor, shape: tuple[int, ...], rng: Rng, held_out: Tensor | None = None) -> Params:
        return {"probability": (x.sum(-2) + self.smoothing) / (x.shape[-2] + 2 * self.smoothing)}

    def draw(self, params: Params, n: int, rng: Rng, stream: str) -> Tensor:
        p = params["probability"].unsqueeze(-2)
        return (rng.uniform(stream, n, p.shape[-1]) < p).to(p)

    def log_prob(self, params: Params, x: Tensor) -> Tensor:
        p = params["probability"].unsqueeze(-2)
        return (x * p.log() + (1 - x) * (-p).log1p()).sum(-1)
