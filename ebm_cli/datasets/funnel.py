"""Neal's funnel: x_0 ~ N(0, scale^2), x_i | x_0 ~ N(0, e^{x_0}). Its width varies over orders of magnitude. Neal 2003.

The entropy is (d/2) log 2 pi e + log scale. In two dimensions a grid resolves the funnel up to scale = 1. At Neal's scale = 3 the box is
10^4 wide and the neck 10^-2, and the quadrature reports that it does not resolve it.
"""

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge
from torch import Tensor

from ebm_cli.core import log_densities
from ebm_cli.core.densities import Density
from ebm_cli.core.rng import Rng
from ebm_cli.types import Positive


@dataclass(frozen=True)
class Funnel(Density):
    """`dim` is the number of coordinates, `scale` the standard deviation of the first."""

    dim: Annotated[int, Ge(2)]
    scale: Positive

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.dim,)

    @property
    def box(self) -> list[tuple[float, float]]:
        reach = self._reach()
        return [(-6.2 * self.scale, 6.2 * self.scale), *[(-reach, reach)] * (self.dim - 1)]

    @property
    def length_scale(self) -> float:
        """The width of the neck, at three standard deviations of x_0 below its mean."""
        return math.exp(-1.5 * self.scale)

    @property
    def start(self) -> tuple[Tensor, Tensor]:
        """Chains start between neck and mouth; the moments of draws would be dominated by a few distant draws."""
        return torch.zeros(self.dim), torch.ones(self.dim)

    @property
    def frame(self) -> list[tuple[float, float]]:
        """The ranges of the picture. They leave out part of the mouth."""
        mouth = 3 * math.exp(self.scale / 2)
        return [(-2.5 * self.scale, 2.5 * self.scale), *[(-mouth, mouth)] * (self.dim - 1)]

    def draw(self, n: int, rng: Rng) -> Tensor:
        mouth = rng.normal("mouth", n).mul_(self.scale).unsqueeze(-1)
        return torch.cat([mouth, rng.normal("rest", n, self.dim - 1).mul_((mouth / 2).exp())], -1)

    def log_prob(self, x: Tensor) -> Tensor:
        return log_densities.funnel(x.double(), self.scale)

    def _reach(self) -> float:
        """L with P(|x_i| > L) = E erfc(L e^{-x_0 / 2} / sqrt 2) = 1e-9, by bisection."""
        z = np.linspace(-12, 12, 2001)
        weight = torch.from_numpy(np.exp(-(z**2) / 2) / np.exp(-(z**2) / 2).sum())
        low, high = 0.0, 7 * self.scale
        for _ in range(40):
            middle = (low + high) / 2 + 2.0
            outside = (weight * torch.erfc(torch.from_numpy(np.exp(middle - self.scale * z / 2)) / math.sqrt(2))).sum()
            low, high = (middle - 2.0, high) if outside > 1e-9 else (low, middle - 2.0)
        return math.exp(high + 2.0)
