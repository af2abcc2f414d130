"""A mixture of isotropic Gaussians: p(x) = sum_k w_k N(x; scale c_k, (scale std)^2 I), in any dimension.

The modes are the components, where any two centres are at least six standard deviations apart: then no more than one point in 700
lies nearer to one of its neighbours' centres than to its own. Otherwise there are none.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ebm_cli.core.densities import Density, log_mixture, nearest
from ebm_cli.core.model import constant
from ebm_cli.core.rng import Rng
from ebm_cli.errors import bad
from ebm_cli.types import Positive

APART = 6.0  # standard deviations between the centres of modes


@dataclass(frozen=True)
class GaussianMixture(Density):
    """`centres` (K, d); `weights` (K,) up to a factor, null for equal ones; `scale` multiplies centres and `std`."""

    centres: Sequence[Sequence[float]]
    weights: Sequence[Positive] | None
    std: Positive
    scale: Positive

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.centres or not self.centres[0] or len({len(centre) for centre in self.centres}) > 1:
            raise bad("dataset.centres: every centre needs the same number of coordinates, at least one", "dataset.centres=[[0,0],[1,2]]")
        if self.weights is not None and len(self.weights) != len(self.centres):
            raise bad(f"dataset.weights: {len(self.weights)} weights for {len(self.centres)} centres", "one for each, or none: null")

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.centres[0]),)

    @property
    def box(self) -> list[tuple[float, float]]:
        low, high, reach = self._centre.amin(0).tolist(), self._centre.amax(0).tolist(), 6.5 * self.std * self.scale
        return [(a - reach, b + reach) for a, b in zip(low, high, strict=True)]

    @property
    def length_scale(self) -> float:
        return self.std * self.scale

    @property
    def mode_weights(self) -> Tensor | None:
        near = len(self.centres) > 1 and torch.pdist(self._centre).min() < APART * self.std * self.scale
        return None if near else self._weight

    def mode(self, x: Tensor) -> Tensor:
        return nearest(x, self._centre.to(x.device))

    def draw(self, n: int, rng: Rng) -> Tensor:
        u = rng.uniform("component", n)
        component = torch.searchsorted(constant(self._weight.cumsum(0)[:-1].tolist(), u), u, right=True)
        return constant(self._centre.tolist(), u)[component].add_(rng.normal("noise", n, *self.shape), alpha=self.std * self.scale)

    def log_prob(self, x: Tensor) -> Tensor:
        return log_mixture(x, self._centre, self._weight.log(), self.std * self.scale)

    @cached_property
    def _centre(self) -> Tensor:
        return self.scale * torch.tensor(self.centres, dtype=torch.double)

    @cached_property
    def _weight(self) -> Tensor:
        weight = torch.tensor(self.weights or [1.0] * len(self.centres), dtype=torch.double)
        return weight / weight.sum()
