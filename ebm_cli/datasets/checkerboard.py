"""Uniform on the eight dark squares of a four by four board: p(x) = 1 / (8 side^2) if floor(x / side) + floor(y / side) is even.

The log-density is constant on the dark squares and -inf on the light squares and outside the board. Score matching is inconsistent for
this density (its integration by parts has boundary terms), and the Fisher divergence is not defined. The KL divergence is finite for any
energy that is finite on the dark squares. The entropy is log(8 side^2). The modes are the squares.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ebm_cli.core.densities import Density, nearest
from ebm_cli.core.model import constant
from ebm_cli.core.rng import Rng
from ebm_cli.types import Positive

SQUARES = [(i, j) for i in range(-2, 2) for j in range(-2, 2) if (i + j) % 2 == 0]  # lower left corners, in units of the side


@dataclass(frozen=True)
class Checkerboard(Density):
    """`side` is the side length of a square."""

    side: Positive
    shape: ClassVar[tuple[int, ...]] = (2,)

    @property
    def box(self) -> list[tuple[float, float]]:
        return [(-2 * self.side, 2 * self.side)] * 2

    @property
    def length_scale(self) -> float:
        return 0.05 * self.side  # for the model, which approximates the edges by slopes

    @property
    def jumps(self) -> list[list[float]]:
        return [[i * self.side for i in range(-2, 3)]] * 2

    @property
    def n_modes(self) -> int:
        return len(SQUARES)

    def mode(self, x: Tensor) -> Tensor:
        return nearest(x, self.side * (constant(SQUARES, x.double()) + 0.5))

    def draw(self, n: int, rng: Rng) -> Tensor:
        within = rng.uniform("within", n, 2)
        return (constant(SQUARES, within)[rng.integers("square", len(SQUARES), n)] + within).mul_(self.side)

    def log_prob(self, x: Tensor) -> Tensor:
        square = (x.double() / self.side).floor()
        dark = (square.sum(-1) % 2 == 0) & (square >= -2).all(-1) & (square < 2).all(-1)
        flat = 0 * x.double().sum(-1)  # connects the result to x, so that autograd returns a gradient of zero
        return flat + torch.where(dark, -math.log(len(SQUARES) * self.side**2), -math.inf)
