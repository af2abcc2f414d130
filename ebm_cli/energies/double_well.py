"""Two wells in one coordinate, Gaussian in the others: a target with a single barrier.

    E(x) = (x_0^2 - 1)^2 / T + 1/2 sum_{i>0} x_i^2,    log Z = log int exp(-(t^2 - 1)^2 / T) dt + (d - 1)/2 log 2 pi

The barrier is 1/T nats high for every d. More coordinates only make the moves of a chain smaller.
"""

import math

import torch
from torch import Tensor

from ebm_cli.energies.analytic import Analytic, Box
from ebm_cli.energies.four_wells import START, log_z_of_two_wells, two_wells, where, width
from ebm_cli.types import Count, Positive


class DoubleWell(Analytic):
    """x (B, d) -> E(x) (B,)."""

    def __init__(self, *, dim: Count, temperature: Positive) -> None:
        super().__init__(torch.zeros(dim), torch.tensor([START, *[1.0] * (dim - 1)]))
        self.temperature = temperature
        reach = where(30.0, temperature)
        self.box = [(-reach, reach), *[(-7.0, 7.0)] * (dim - 1)]
        self.length_scale = width(temperature)

    @property
    def frame(self) -> Box:
        return [self.box[0], *[(-3.5, 3.5)] * (len(self.box) - 1)]

    @property
    def log_z(self) -> float:
        return log_z_of_two_wells(self.temperature) + 0.5 * (len(self.box) - 1) * math.log(2 * math.pi)

    def forward(self, x: Tensor) -> Tensor:
        return two_wells(x[..., 0], self.temperature) + 0.5 * x[..., 1:].square().sum(-1)
