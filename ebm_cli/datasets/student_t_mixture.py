"""A mixture of multivariate Student t distributions with full scale matrices, in any dimension: heavy tails around several centres.

    p(x) = sum_k w_k t_nu(x; c_k, C_k),    x = c_k + A_k z / sqrt(g / nu),  z ~ N(0, I),  g ~ chi^2 with nu degrees of freedom

Centres c_k and scale matrices C_k = A_k A_k' are those of `full_mixture`. The covariance of a component is nu / (nu - 2) C_k for nu > 2
and infinite otherwise: then the KL to a model with quadratic confinement is infinite. Kotz & Nadarajah 2004.
"""

import math
from dataclasses import dataclass

from torch import Tensor

from ebm_cli.core.rng import Rng
from ebm_cli.datasets.full_mixture import FullMixture
from ebm_cli.types import Count

TAIL = 0.0013498980316300946  # P(z > 3) of a standard normal


@dataclass(frozen=True)
class StudentTMixture(FullMixture):
    """`degrees_of_freedom` is nu, an integer. `std` and `condition` are those of the scale matrices."""

    degrees_of_freedom: Count

    @property
    def reach(self) -> float:
        return self._quantile(0.5e-9)

    @property
    def reach_of_mode(self) -> float:
        return self._quantile(TAIL)

    @property
    def length_scale(self) -> float:
        """As in `student_t`: half the distance sqrt(nu) of the poles from the real axis, but at most 1, in units of the smallest width."""
        return super().length_scale * min(1.0, 0.5 * self.degrees_of_freedom**0.5)

    def log_radial(self, squared: Tensor) -> Tensor:
        nu, d = self.degrees_of_freedom, self.dim
        norm = math.lgamma((nu + d) / 2) - math.lgamma(nu / 2) - d / 2 * math.log(nu * math.pi)
        return norm - (nu + d) / 2 * (squared / nu).log1p()

    def standard(self, n: int, rng: Rng) -> Tensor:
        mean_square = rng.normal("chi", n, self.degrees_of_freedom).square().mean(-1, keepdim=True)
        return rng.normal("noise", n, self.dim) / mean_square.sqrt()

    def _quantile(self, tail: float) -> float:
        from scipy.special import stdtrit

        return -float(stdtrit(self.degrees_of_freedom, tail))
