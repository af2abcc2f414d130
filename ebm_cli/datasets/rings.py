"""Concentric circles with Gaussian noise: x = R (cos a, sin a) + noise z, with a uniform angle a and equally likely radii R.

    p(x) = mean over R of  exp(-(rho - R)^2 / 2 s^2) i0e(rho R / s^2) / (2 pi s^2),    rho = |x|

with s = noise and i0e(t) = exp(-t) I_0(t). The noise is isotropic, not radial. The modes are the circles.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ebm_cli.core.densities import Density, nearest
from ebm_cli.core.model import constant
from ebm_cli.core.rng import Rng
from ebm_cli.types import Positive, Positives


@dataclass(frozen=True)
class Rings(Density):
    """`radii` are the radii of the circles, and `noise` is the standard deviation of the noise."""

    radii: Positives
    noise: Positive
    shape: ClassVar[tuple[int, ...]] = (2,)

    @property
    def box(self) -> list[tuple[float, float]]:
        reach = max(self.radii) + 6.5 * self.noise
        return [(-reach, reach)] * 2

    @property
    def length_scale(self) -> float:
        return self.noise

    @property
    def n_modes(self) -> int:
        return len(self.radii)

    def mode(self, x: Tensor) -> Tensor:
        return nearest(x.double().norm(dim=-1).unsqueeze(-1), constant(self.radii, x.double()).unsqueeze(-1))

    def draw(self, n: int, rng: Rng) -> Tensor:
        angle = rng.uniform("angle", n).mul_(2 * math.pi)
        radius = constant(self.radii, angle)[rng.integers("ring", len(self.radii), n)]
        return torch.stack([radius * angle.cos(), radius * angle.sin()], -1).add_(rng.normal("noise", n, 2), alpha=self.noise)

    def log_prob(self, x: Tensor) -> Tensor:
        rho = x.double().norm(dim=-1).unsqueeze(-1)
        radius = constant(self.radii, rho)
        log_bessel = torch.special.i0e(rho * radius / self.noise**2).log()
        log_rings = log_bessel - (rho - radius).square() / (2 * self.noise**2)
        return torch.logsumexp(log_rings, -1) - math.log(2 * math.pi * self.noise**2 * len(self.radii))
