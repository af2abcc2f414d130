"""The multivariate Student t: x = z / sqrt(g / nu), z ~ N(0, I), g ~ chi^2 with nu degrees of freedom. All directions have heavy tails.

    log p(x) = log Gamma((nu + d)/2) - log Gamma(nu/2) - (d/2) log(nu pi) - (nu + d)/2 log(1 + |x|^2 / nu)

The variance of a coordinate, nu / (nu - 2), is finite for nu > 2. The box is wide, because the probability outside it is 1e-9 per
coordinate.
"""

import math
from dataclasses import dataclass

from torch import Tensor

from ebm_cli.core.densities import Density
from ebm_cli.core.rng import Rng
from ebm_cli.types import Count


@dataclass(frozen=True)
class StudentT(Density):
    """`dim` is the number of coordinates, and `degrees_of_freedom` is nu, an integer."""

    dim: Count
    degrees_of_freedom: Count

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.dim,)

    @property
    def box(self) -> list[tuple[float, float]]:
        from scipy.special import stdtrit

        reach = -float(stdtrit(self.degrees_of_freedom, 0.5e-9))
        return [(-reach, reach)] * self.dim

    @property
    def length_scale(self) -> float:
        """Half the distance sqrt(nu) of the poles from the real axis, but at most the standard deviation of the Gaussian limit."""
        return min(1.0, 0.5 * self.degrees_of_freedom**0.5)

    def draw(self, n: int, rng: Rng) -> Tensor:
        mean_square = rng.normal("chi", n, self.degrees_of_freedom).square().mean(-1, keepdim=True)
        return rng.normal("normal", n, self.dim) / mean_square.sqrt()

    def log_prob(self, x: Tensor) -> Tensor:
        nu, d = self.degrees_of_freedom, self.dim
        norm = math.lgamma((nu + d) / 2) - math.lgamma(nu / 2) - d / 2 * math.log(nu * math.pi)
        return norm - (nu + d) / 2 * (x.double().square().sum(-1) / nu).log1p()
