"""A spiral of one and a half turns with Gaussian noise: x = scale (t cos t, t sin t) + noise z, t = 1.5 pi (1 + 2u), u uniform.

The log-density is that of the Gaussian noise, integrated along the curve by a composite Gauss-Legendre rule. It is exact to 1e-9 wherever
the density is not negligible.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from ebm_cli.core.densities import Density, log_mixture
from ebm_cli.core.rng import Rng
from ebm_cli.types import Positive

FIRST, LAST = 1.5 * math.pi, 4.5 * math.pi  # the range of the parameter t


@dataclass(frozen=True)
class SwissRoll(Density):
    """`noise` is the standard deviation of the noise; `scale` multiplies the spiral, but not the noise."""

    noise: Positive
    scale: Positive
    shape: ClassVar[tuple[int, ...]] = (2,)

    @property
    def box(self) -> list[tuple[float, float]]:
        curve = self._curve(torch.linspace(FIRST, LAST, 10_001, dtype=torch.double))
        reach = 6.5 * self.noise
        return [(low - reach, high + reach) for low, high in zip(curve.amin(0).tolist(), curve.amax(0).tolist(), strict=True)]

    @property
    def length_scale(self) -> float:
        return self.noise

    def draw(self, n: int, rng: Rng) -> Tensor:
        t = rng.uniform("t", n).mul_(LAST - FIRST).add_(FIRST)
        return self._curve(t).add_(rng.normal("noise", n, 2), alpha=self.noise)

    def log_prob(self, x: Tensor) -> Tensor:
        return log_mixture(x, *self._nodes, self.noise)

    @cached_property
    def _nodes(self) -> tuple[Tensor, Tensor]:
        node, weight = np.polynomial.legendre.leggauss(16)
        n_panels = math.ceil(self.scale * (LAST**2 - FIRST**2) / 2 / (4 * self.noise)) + 1  # each about 4 `noise` long at most
        ends = np.sqrt(np.linspace(FIRST**2, LAST**2, n_panels + 1))  # the arc length is nearly proportional to t^2
        half = np.diff(ends)[:, None] / 2
        t, share = ends[:-1, None] + half * (node + 1), half * weight / (LAST - FIRST)
        return self._curve(torch.from_numpy(t.ravel())), torch.from_numpy(share.ravel()).log()

    def _curve(self, t: Tensor) -> Tensor:
        return torch.stack([t * t.cos(), t * t.sin()], -1).mul_(self.scale)
