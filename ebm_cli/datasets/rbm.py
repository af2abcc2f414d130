"""Draws of a known restricted Boltzmann machine (RBM) with random weights. The distribution is exact: see core/rbm.py.

    p(v) ~ sum_h exp((v - 1/2)'W (h - 1/2) + r'v),    W_ij ~ N(0, `std`^2),    r_i ~ N(0, `bias_std`^2)

With r = 0 every bit is one with probability 1/2, and only correlations are left to learn. The parameters are a function of `weight_seed`.
Draws are independent: a state of the smaller side by inversion of its distribution function, and then the visible bits.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ebm_cli.core import rbm
from ebm_cli.core.discrete_density import DiscreteDensity
from ebm_cli.core.rng import Rng
from ebm_cli.errors import bad
from ebm_cli.types import Count, Natural, NonNegative, Space


@dataclass(frozen=True)
class RBMData(DiscreteDensity):
    """`n_visible` bits and `n_hidden` hidden units, of which one number is at most 20."""

    n_visible: Count
    n_hidden: Count
    std: NonNegative
    bias_std: NonNegative
    weight_seed: Natural

    def __post_init__(self) -> None:
        super().__post_init__()
        if not rbm.can_be_summed(self.n_visible, self.n_hidden):
            message = f"dataset.n_hidden: an RBM of {self.n_visible} x {self.n_hidden} units has no exact distribution"
            raise bad(message, f"the smaller side has at most {rbm.MOST_SUMMED} units, for example dataset.n_hidden=10")

    @property
    def space(self) -> Space:
        return Space((self.n_visible,), "binary")

    @cached_property
    def parameters(self) -> tuple[Tensor, Tensor, Tensor]:
        """W (D, H), b (D,) and c (H,) of E(v, h) = -b'v - c'h - v'W h, in double precision."""
        generator = torch.Generator().manual_seed(self.weight_seed)
        weight = self.std * torch.randn(self.n_visible, self.n_hidden, generator=generator, dtype=torch.double)
        own = self.bias_std * torch.randn(self.n_visible, generator=generator, dtype=torch.double)
        return weight, own - 0.5 * weight.sum(1), -0.5 * weight.sum(0)

    @cached_property
    def log_z(self) -> float:
        """log Z in nats of these parameters."""
        return rbm.log_partition(*self.parameters).item()

    def draw(self, n: int, rng: Rng) -> Tensor:
        device, (coarse, fine) = rng.generator.device, (rng.uniform(name, n).double() for name in ("coarse", "fine"))
        place = (coarse + fine * 2.0**-24).clamp(max=1 - 2.0**-50)  # more digits than one number in single precision has
        u = rng.uniform("units", n, self.n_visible + self.n_hidden)
        x = rbm.draw(*(part.to(device) for part in self.parameters), place.flatten(), u.flatten(0, -2))
        return x.to(torch.get_default_dtype()).view(*place.shape, self.n_visible)

    def log_prob(self, x: Tensor) -> Tensor:
        return -rbm.free_energy(x.double(), *(part.to(x.device) for part in self.parameters)) - self.log_z
