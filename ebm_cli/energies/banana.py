"""A bent Gaussian: the second coordinate follows the square of the first. Haario et al. 1999.

    x_0 ~ N(0, sigma^2),    x_1 ~ N(bend (x_0^2 - sigma^2), 1),    the others N(0, 1)
    E(x) = x_0^2 / (2 sigma^2) + 1/2 (x_1 - bend (x_0^2 - sigma^2))^2 + 1/2 sum_{i>1} x_i^2 + log sigma + d/2 log 2 pi,    log Z = 0

Bending keeps volumes, hence the constant of the straight Gaussian. Skewed: it sees the sign errors that symmetric targets hide.
"""

import math

import torch
from torch import Tensor

from ebm_cli.core import log_densities
from ebm_cli.energies.analytic import Analytic, Box, at_least
from ebm_cli.types import Count, Positive


class Banana(Analytic):
    """x (B, d) -> E(x) (B,). `scale` is sigma."""

    def __init__(self, *, dim: Count, scale: Positive, bend: float) -> None:
        at_least(dim, 2)
        mean = torch.zeros(dim)
        mean[1] = -bend * scale**2
        super().__init__(mean, torch.full((dim,), 0.5))  # chains start at the tip: far from the ridge steps are thrown off
        self.sigma, self.bend = scale, bend
        reach = sorted((-bend * scale**2, bend * (5.5**2 - 1) * scale**2))
        self.box = [(-5.5 * scale, 5.5 * scale), (reach[0] - 6, reach[1] + 6), *[(-7.0, 7.0)] * (dim - 2)]
        self.length_scale = min(1 / math.sqrt(1 + (2 * bend * 5.5 * scale) ** 2), scale)  # across the steep ends

    @property
    def frame(self) -> Box:
        low, high = sorted((-self.bend * self.sigma**2, 5 * self.bend * self.sigma**2))
        return [(-2.8 * self.sigma, 2.8 * self.sigma), (low - 3.5, high + 3.5), *self.box[2:]]

    @property
    def log_z(self) -> float:
        return 0.0

    def forward(self, x: Tensor) -> Tensor:
        return -log_densities.banana(x, self.sigma, self.bend)
