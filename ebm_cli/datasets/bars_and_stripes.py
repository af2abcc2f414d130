"""Bars and stripes: a square of bits whose rows, or whose columns, are each all one or all zero. MacKay 2003, section 43.

An orientation is drawn, then each of its `size` lines is on with probability 1/2, and then every bit is flipped with probability `noise`:

    p(x) = sum_b p(b) prod_i noise^[x_i != b_i] (1 - noise)^[x_i = b_i],    p(b) = 2^-size / 2 for each orientation that has the pattern b

The empty and the full square have both orientations, and twice the probability of the other 2^(size + 1) - 4 patterns. Without noise the
patterns are the modes; a state belongs to the nearest, the first of several. Models have to learn weights of states that differ in many
bits, which conditionals of single bits do not determine.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

import torch
from annotated_types import Ge, Le, Lt
from torch import Tensor

from ebm_cli.core.discrete_density import DiscreteDensity
from ebm_cli.core.rng import Rng
from ebm_cli.types import Space


@dataclass(frozen=True)
class BarsAndStripes(DiscreteDensity):
    """`size` is the length of a side, and `noise` the probability that a bit is flipped."""

    size: Annotated[int, Ge(2), Le(8)]
    noise: Annotated[float, Ge(0), Lt(0.5)]

    @property
    def space(self) -> Space:
        return Space((1, self.size, self.size), "binary")

    @property
    def n_modes(self) -> int | None:
        return None if self.noise else len(self._patterns)

    @property
    def mode_weights(self) -> Tensor | None:
        return None if self.noise else self._log_weight.exp()

    def mode(self, x: Tensor) -> Tensor:
        return self._distances(x).argmin(-1)

    def draw(self, n: int, rng: Rng) -> Tensor:
        lines = (rng.uniform("lines", n, 1, self.size, 1) < 0.5).expand(*rng.model_shape, n, 1, self.size, self.size)
        x = torch.where(rng.uniform("orientation", n, 1, 1, 1) < 0.5, lines, lines.mT)
        return (x ^ (rng.uniform("noise", n, 1, self.size, self.size) < self.noise)).to(torch.get_default_dtype())

    def log_prob(self, x: Tensor) -> Tensor:
        distance = self._distances(x)
        flipped = torch.special.xlogy(distance, self.noise) + (self.size**2 - distance) * math.log1p(-self.noise)
        return (flipped + self._log_weight.to(x.device)).logsumexp(-1)

    def _distances(self, x: Tensor) -> Tensor:
        """The number of bits in which a state differs from each pattern, (..., 1, size, size) -> (..., K), in double precision."""
        x, patterns = x.flatten(-3).double(), self._patterns.to(x.device)
        return x.sum(-1, keepdim=True) + patterns.sum(-1) - 2 * x @ patterns.T

    @cached_property
    def _patterns(self) -> Tensor:
        """All patterns, (K, size^2), in double precision: those of rows, then those of columns that are not also rows."""
        lines = (torch.arange(2**self.size).unsqueeze(-1) >> torch.arange(self.size) & 1).double()
        rows = lines.unsqueeze(-1).expand(-1, -1, self.size)
        return torch.cat([rows, rows[1:-1].mT]).flatten(1)

    @cached_property
    def _log_weight(self) -> Tensor:
        weight = torch.full((2 ** (self.size + 1) - 2,), 0.5**self.size / 2, dtype=torch.double)
        weight[[0, 2**self.size - 1]] *= 2
        return weight.log()
