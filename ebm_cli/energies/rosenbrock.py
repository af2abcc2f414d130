"""Rosenbrock's long, curved and narrow valley in two dimensions. Rosenbrock 1960; Pagani et al. 2019, arXiv:1903.09556.

    E(x) = (a - x_0)^2 + b (x_1 - x_0^2)^2,    log Z = log(pi / sqrt(b)):    x_0 ~ N(a, 1/2),  x_1 | x_0 ~ N(x_0^2, 1/(2 b))

Steps must not exceed the width of the valley, 1/sqrt(2 b), while its length is of order a^2 + 1. Tests of optimizers use b = 100.
"""

import math

import torch
from torch import Tensor

from ebm_cli.energies.analytic import Analytic, Box
from ebm_cli.types import Positive


class Rosenbrock(Analytic):
    """x (B, 2) -> E(x) (B,)."""

    def __init__(self, *, a: float, b: Positive) -> None:
        across = 1 / math.sqrt(2 * b)
        super().__init__(torch.tensor([a, a * a]), torch.full((2,), 0.5 * min(across, 1.0)))  # chains start at the bottom of the valley
        self.a, self.b = a, b
        low, high = a - 3.5, a + 3.5
        self.box = [(low, high), (-6 * across, max(low * low, high * high) + 6 * across)]
        self.length_scale = across / math.sqrt(1 + 4 * max(low * low, high * high))

    @property
    def frame(self) -> Box:
        low, high = self.a - 2, self.a + 2
        return [(low, high), (self.box[1][0], max(low * low, high * high) + 1)]

    @property
    def log_z(self) -> float:
        return math.log(math.pi) - 0.5 * math.log(self.b)

    def forward(self, x: Tensor) -> Tensor:
        first, second = x[..., 0], x[..., 1]
        return (self.a - first).square() + self.b * (second - first * first).square()
