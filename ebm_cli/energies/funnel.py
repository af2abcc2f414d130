"""Neal's funnel: the width of all other coordinates depends on the first, over many orders of magnitude. Neal 2003.

    x_0 ~ N(0, sigma^2),    x_i | x_0 ~ N(0, exp(x_0))
    E(x) = x_0^2 / (2 sigma^2) + (d - 1) x_0 / 2 + exp(-x_0)/2 sum_{i>0} x_i^2 + log sigma + d/2 log 2 pi,    log Z = 0

No single step size fits both the neck and the mouth: what chains get wrong shows in the law of x_0, which must be N(0, sigma^2). Not for
a quadrature: the box of a picture leaves out part of the mouth.
"""

import math

import torch
from torch import Tensor

from ebm_cli.core import log_densities
from ebm_cli.energies.analytic import Analytic, at_least
from ebm_cli.types import Count, Positive


class Funnel(Analytic):
    """x (B, d) -> E(x) (B,). `scale` is sigma."""

    def __init__(self, *, dim: Count, scale: Positive) -> None:
        at_least(dim, 2)
        super().__init__(torch.zeros(dim), torch.ones(dim))
        self.sigma = scale
        mouth = 3 * math.exp(scale / 2)
        self.box = [(-2.5 * scale, 2.5 * scale), *[(-mouth, mouth)] * (dim - 1)]
        self.length_scale = math.exp(-scale)

    @property
    def log_z(self) -> float:
        return 0.0

    def forward(self, x: Tensor) -> Tensor:
        return -log_densities.funnel(x, self.sigma)
