"""Wells of equal depth at the corners of a cube: four in two dimensions, 2^d in d dimensions.

    E(x) = sum_i (x_i^2 - 1)^2 / T,    log Z = d log int exp(-(t^2 - 1)^2 / T) dt

The barrier between neighboring wells is 1/T nats high: a chain crosses it in a fraction of about exp(-1/T) of its attempts. The
integral is a trapezoidal sum, which is accurate to double precision for such functions.
"""

import math

import numpy as np
import torch
from torch import Tensor

from ebm_cli.energies.analytic import Analytic
from ebm_cli.types import Count, Positive

START = 0.4  # chains start between the wells: far outside, where the gradient grows as x^3, proposals overshoot and are rejected


class FourWells(Analytic):
    """x (B, d) -> E(x) (B,)."""

    def __init__(self, *, dim: Count, temperature: Positive) -> None:
        super().__init__(torch.zeros(dim), torch.full((dim,), START))
        self.temperature = temperature
        reach = where(30.0, temperature)
        self.box, self.length_scale = [(-reach, reach)] * dim, width(temperature)

    @property
    def log_z(self) -> float:
        return len(self.box) * log_z_of_two_wells(self.temperature)

    def forward(self, x: Tensor) -> Tensor:
        return two_wells(x, self.temperature).sum(-1)


def two_wells(t: Tensor, temperature: float) -> Tensor:
    """(t^2 - 1)^2 / T."""
    return (t * t - 1).square() / temperature


def where(energy: float, temperature: float) -> float:
    """The t > 1 at which (t^2 - 1)^2 / T equals `energy`."""
    return math.sqrt(1 + math.sqrt(energy * temperature))


def width(temperature: float) -> float:
    """The standard deviation in a well, about sqrt(T/8); for large T, that of the flat bottom between the wells."""
    return min(math.sqrt(temperature / 8), 0.5)


def log_z_of_two_wells(temperature: float) -> float:
    """The log of the integral of exp(-(t^2 - 1)^2 / T)."""
    reach = where(80.0, temperature)
    t = np.linspace(-reach, reach, max(4096, math.ceil(10 * reach / width(temperature))))
    return math.log(np.exp(-((t * t - 1) ** 2) / temperature).sum() * (t[1] - t[0]))
