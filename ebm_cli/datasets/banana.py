"""A banana: a Gaussian bent by a shear, x_0 = scale z_0, x_1 = z_1 + bend (x_0^2 - scale^2), x_i = z_i for i >= 2. Haario et al. 1999.

The shear keeps volumes: the entropy is the Gaussian's, (d/2) log 2 pi e + log scale. All means are zero; x_1 is skewed.
"""

import math
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge
from torch import Tensor

from ebm_cli.core import log_densities
from ebm_cli.core.densities import Density
from ebm_cli.core.rng import Rng
from ebm_cli.types import NonNegative, Positive


@dataclass(frozen=True)
class Banana(Density):
    """`dim` coordinates; `scale` is the standard deviation of the first, `bend` the curvature b."""

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
        """The width across the horns, four standard deviations out."""
        return min(self.scale, 1 / math.hypot(1, 8 * self.bend * self.scale))

    def draw(self, n: int, rng: Rng) -> Tensor:
        x = rng.normal("normal", n, self.dim)
        x[..., 0] *= self.scale
        x[..., 1] += self.bend * (x[..., 0].square() - self.scale**2)
        return x

    def log_prob(self, x: Tensor) -> Tensor:
        return log_densities.banana(x.double(), self.scale, self.bend)
