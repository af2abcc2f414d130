"""A banana: a Gaussian bent by a shear, x_0 = scale z_0, x_1 = z_1 + bend (x_0^2 - scale^2), x_i = z_i for i >= 2. Haario et al. 1999.

The shear preserves volume, so the entropy is that of the Gaussian, (d/2) log 2 pi e + log scale. All means are zero; x_1 is skewed.
"""

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor

from ebm_cli.core import log_densities
from ebm_cli.core.densities import Density
from ebm_cli.core.rng import Rng
from ebm_cli.types import NonNegative, Positive


@dataclass(frozen=True)
class Banana(Density):
    """`dim` is the number of coordinates, `scale` the standard deviation of the first, `bend` the curvature."""

    dim: Annotated[int, Ge(2)]
    scale: Positive
    bend: NonNegative

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.dim,)

    @property
    def box(self) -> list[tuple[float, float]]:
        low, high = -self.bend * self.scale**2 - 6.2, self.bend * self.scale**2 * (6.2**2 - 1) + 6.2
        return [(-6.2 * self.scale, 6.2 * self.scale), (low, high), *[(-6.2, 6.2)] * (self.dim - 2)]

    @property
    def length_scale(self) -> float:
        """The width of the horns, at four standard deviations of x_0."""
        return min(self.scale, 1 / math.hypot(1, 8 * self.bend * self.scale))

    @property
    def start(self) -> tuple[Tensor, Tensor]:
        """Chains start at the tip: from points far off the ridge, the gradients and thus the first steps would be too large."""
        mean = torch.zeros(self.dim)
        mean[1] = -self.bend * self.scale**2
        return mean, torch.full((self.dim,), 0.5)

    @property
    def frame(self) -> list[tuple[float, float]]:
        low, high = -self.bend * self.scale**2, 5 * self.bend * self.scale**2
        return [(-2.8 * self.scale, 2.8 * self.scale), (low - 3.5, high + 3.5), *self.box[2:]]

    def draw(self, n: int, rng: Rng) -> Tensor:
        x = rng.normal("normal", n, self.dim)
        x[..., 0] *= self.scale
        x[..., 1] += self.bend * (x[..., 0].square() - self.scale**2)
        return x

    def log_prob(self, x: Tensor) -> Tensor:
        return log_densities.banana(x.double(), self.scale, self.bend)
