"""Two half circles with Gaussian noise: x = scale (cos a -+ 1/2, sin a -+ 1/4) + noise z, with a uniform angle a.

The upper signs hold for the upper half circle. The log-density is that of the Gaussian noise, integrated along the arcs by a composite
Gauss-Legendre rule. The entropy is 1.0076 nats at noise 0.1 and scale 1. The modes are the arcs.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from ebm_cli.core.densities import Density, log_mixture, nearest
from ebm_cli.core.rng import Rng
from ebm_cli.types import Positive


@dataclass(frozen=True)
class Moons(Density):
    """`noise` is the standard deviation of the noise, and `scale` the radius of the half circles."""

    noise: Positive
    scale: Positive
    shape: ClassVar[tuple[int, ...]] = (2,)

    @property
    def box(self) -> list[tuple[float, float]]:
        reach = 6.5 * self.noise
        return [(-1.5 * self.scale - reach, 1.5 * self.scale + reach), (-0.75 * self.scale - reach, 0.75 * self.scale + reach)]

    @property
    def length_scale(self) -> float:
        return self.noise

    @property
    def n_modes(self) -> int:
        return 2

    def mode(self, x: Tensor) -> Tensor:
        nodes = self._nodes[0].to(x.device)
        return (nearest(x, nodes) >= len(nodes) // 2).long()

    def draw(self, n: int, rng: Rng) -> Tensor:
        angle = rng.uniform("angle", n).mul_(2 * math.pi)
        return self._arc(angle).add_(rng.normal("noise", n, 2), alpha=self.noise)

    def log_prob(self, x: Tensor) -> Tensor:
        return log_mixture(x, *self._nodes, self.noise)

    @cached_property
    def _nodes(self) -> tuple[Tensor, Tensor]:
        node, weight = np.polynomial.legendre.leggauss(16)
        n_panels = math.ceil(math.pi * self.scale / (4 * self.noise)) + 1  # per arc, each at most 4 `noise` long: log p to 1e-9
        angle = math.pi * (np.arange(2 * n_panels)[:, None] + (node + 1) / 2) / n_panels
        return self._arc(torch.from_numpy(angle.ravel())), torch.from_numpy(np.tile(weight / (4 * n_panels), 2 * n_panels)).log()

    def _arc(self, angle: Tensor) -> Tensor:
        side = torch.where(angle < math.pi, -0.25, 0.25).to(angle)
        return torch.stack([angle.cos() + 2 * side, angle.sin() + side], -1).mul_(self.scale)
