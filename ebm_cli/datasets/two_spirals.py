"""Two interleaved spirals: x = +-(-n cos n + u_1 / 2, n sin n + u_2 / 2) / 3 + noise z, n = 3 pi sqrt(u), with all u uniform.

    p(x) = mean over the arms of  int f(x_1 - a_1(n)) f(x_2 - a_2(n)) 2 n dn / (3 pi)^2

where f is the density of u_1 / 6 + noise z_1, a difference of two normal cdfs. The integral is computed by a composite Gauss-Legendre
rule; it is exact to 1e-8 wherever the density is not negligible. The modes are the arms.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from ebm_cli.core.densities import Density, in_parts
from ebm_cli.core.rng import Rng
from ebm_cli.types import Positive

LAST = 3 * math.pi  # the largest value of the parameter n
WIDTH = 1 / 6  # the width of the uniform part of the noise
TAIL = 13.0  # beyond this argument the asymptotic series replaces erfc
SERIES = (1 - 0.5 / TAIL**2 + 0.75 / TAIL**4 - 1.875 / TAIL**6) / TAIL  # the value of the series at TAIL


@dataclass(frozen=True)
class TwoSpirals(Density):
    """`noise` is the standard deviation of the Gaussian part of the noise."""

    noise: Positive
    shape: ClassVar[tuple[int, ...]] = (2,)

    @property
    def box(self) -> list[tuple[float, float]]:
        arm = _arm(torch.linspace(0, LAST, 10_001, dtype=torch.double))
        reach = torch.maximum(-arm.amin(0), arm.amax(0) + WIDTH) + 6.5 * self.noise
        return [(-bound, bound) for bound in reach.tolist()]

    @property
    def length_scale(self) -> float:
        return self.noise

    @property
    def n_modes(self) -> int:
        return 2

    def mode(self, x: Tensor) -> Tensor:
        return (self._log_arm(-x) > self._log_arm(x)).long()

    def draw(self, n: int, rng: Rng) -> Tensor:
        arm = _arm(rng.uniform("n", n).sqrt_().mul_(LAST)).add_(rng.uniform("width", n, 2), alpha=WIDTH)
        sign = 1 - 2 * rng.integers("arm", 2, n).unsqueeze(-1)
        return (sign * arm).add_(rng.normal("noise", n, 2), alpha=self.noise)

    def log_prob(self, x: Tensor) -> Tensor:
        return torch.logaddexp(self._log_arm(x), self._log_arm(-x)) - math.log(2)

    def _log_arm(self, x: Tensor) -> Tensor:
        arm, weight = (part.to(x.device) for part in self._nodes)

        def log_prob(part: Tensor) -> Tensor:
            (f, e), (g, h) = (smoothed_box(part[:, i, None] - arm[:, i], WIDTH, self.noise) for i in (0, 1))
            exponent = e + h
            least = exponent.detach().amin(-1, keepdim=True)
            return (weight * f * g * (least - exponent).exp()).sum(-1).log() - least.squeeze(-1)

        return in_parts(log_prob, x.double(), len(arm))

    @cached_property
    def _nodes(self) -> tuple[Tensor, Tensor]:
        node, weight = np.polynomial.legendre.leggauss(16)
        n = np.linspace(0, LAST, 10_001)
        length = (n * np.sqrt(1 + n**2) + np.arcsinh(n)) / 6
        n_panels = math.ceil(length[-1] / (9 * self.noise))  # each about 9 `noise` long
        ends = np.interp(np.linspace(0, length[-1], n_panels + 1), length, n)
        half = np.diff(ends)[:, None] / 2
        n = ends[:-1, None] + half * (node + 1)
        share = half * weight * 2 * n / LAST**2
        return _arm(torch.from_numpy(n.ravel())), torch.from_numpy(share.ravel())


def _arm(n: Tensor) -> Tensor:
    return torch.stack([-n * n.cos(), n * n.sin()], -1).div_(3)


def smoothed_box(y: Tensor, width: float, std: float) -> tuple[Tensor, Tensor]:
    """The density of width u + std z, u uniform on [0, 1) and z normal, (Phi(y / std) - Phi((y - width) / std)) / width, as f e^-c.

    It returns (f, c). c is 0 except in the far tail, where erfc underflows and its asymptotic series is exact to 1e-8.
    """
    y = (y - width / 2).abs()  # the density is even: use the tail in which differences of erfc do not cancel
    near, far = (y - width / 2) / (math.sqrt(2) * std), (y + width / 2) / (math.sqrt(2) * std)
    beyond = near.clamp(min=TAIL)
    t = beyond**-2
    series = (1 + t * (-0.5 + t * (0.75 - 1.875 * t))) / beyond
    f = (torch.erfc(near.clamp(max=TAIL)) - torch.erfc(far)) * series
    return f / (2 * width * SERIES), beyond.square() - TAIL**2
