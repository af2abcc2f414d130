"""Many wells: a product of double wells and Gaussians, in pairs of coordinates (x, y). There are 2^(d/2) modes of known weights.

    E = sum over pairs of  x^4 - 6 x^2 - x/2 + y^2/2,    log Z of a pair = 10.29348,    log p = -E - (d/2) log Z

The barrier is 8.15 nats high from the shallow well, at x = -1.71, and 9.88 from the deep one, at x = 1.75. Draws of x invert the
distribution function. Its values at the nodes of a fine grid come from Simpson's rule, and the density is linear between nodes: the
draws follow p up to a total variation distance below 1e-6, which is less than their rounding to single precision changes. Draws of y
are normal. Noe et al. 2019 (doi:10.1126/science.aaw1147); Midgley et al. 2023 (arXiv:2208.01893), who use 16 pairs.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor

from ebm_cli.core.log_densities import LOG_2PI
from ebm_cli.core.rng import Rng
from ebm_cli.core.structured_density import StructuredDensity
from ebm_cli.errors import bad
from ebm_cli.types import Params

REACH = 4.0  # the density of x outside is below 1e-60
N_CELLS = 1 << 15
BITS = 52  # of a uniform number in double precision: with the 24 bits of single precision, x would have few values in its tails
MAX_COUNTED = 6  # pairs up to which modes are counted: 64 modes


def well(x: Tensor) -> Tensor:
    """The energy of the first coordinate of a pair."""
    return x**4 - 6 * x.square() - x / 2


@dataclass(frozen=True)
class ManyWell(StructuredDensity):
    """`dim` coordinates, an even number: x_1, y_1, x_2, y_2, ..."""

    dim: Annotated[int, Ge(2)]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dim % 2:
            raise bad(f"dataset.dim: {self.dim} is odd, and every well has a pair of coordinates", f"dataset.dim={self.dim + 1}")

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.dim,)

    @property
    def box(self) -> list[tuple[float, float]]:
        return [(-3.0, 3.0), (-6.5, 6.5)] * (self.dim // 2)

    @property
    def frame(self) -> list[tuple[float, float]]:
        return [(-2.7, 2.7), (-3.5, 3.5)] * (self.dim // 2)

    @property
    def length_scale(self) -> float:
        """The width 1 / sqrt(E'') of the deep well."""
        return 0.2

    @property
    def log_z(self) -> float:
        """log Z of the unnormalized energy E, in nats."""
        return self.dim // 2 * (self.fixed["log_z_well"].item() + 0.5 * LOG_2PI)

    @property
    def n_modes(self) -> int | None:
        """2^(d/2) for up to six pairs; with more, most modes would have no draw in a sample."""
        return 2 ** (self.dim // 2) if self.dim // 2 <= MAX_COUNTED else None

    @property
    def mode_weights(self) -> Tensor | None:
        if self.n_modes is None:
            return None
        right = self.fixed["right"]
        choice = torch.arange(self.n_modes).unsqueeze(-1) >> torch.arange(self.dim // 2) & 1
        return torch.where(choice == 1, right, 1 - right).prod(-1)

    def mode(self, x: Tensor) -> Tensor:
        """The sum of 2^i over the pairs i with x_i > 0."""
        return ((x[..., ::2] > 0) << torch.arange(self.dim // 2, device=x.device)).sum(-1)

    def make(self) -> Params:
        """The nodes of the grid with the density and the distribution function of x, and P(x > 0)."""
        fine = torch.linspace(-REACH, REACH, 2 * N_CELLS + 1, dtype=torch.double)
        density = (-well(fine)).exp()
        mass = (density[:-2:2] + 4 * density[1:-1:2] + density[2::2]) * (REACH / N_CELLS / 3)
        total = mass.sum()
        below = torch.cat([torch.zeros(1, dtype=torch.double), mass.cumsum(0)]) / total
        right = 1 - below[N_CELLS // 2]
        return {"node": fine[::2].contiguous(), "density": density[::2] / total, "below": below, "log_z_well": total.log(), "right": right}

    def draw_one(self, n: int, rng: Rng) -> Tensor:
        u = (rng.integers("wells", 1 << BITS, n, self.dim // 2).double() + 0.5) / (1 << BITS)
        return torch.stack([self.quantile(u).to(torch.get_default_dtype()), rng.normal("others", n, self.dim // 2)], -1).flatten(-2)

    def quantile(self, u: Tensor) -> Tensor:
        """The inverse distribution function of x, for u in (0, 1) in double precision. In a cell with the densities p and q at its ends,
        the share v of its mass lies below the share v (p + q) / (p + sqrt(p^2 + v (q^2 - p^2))) of its width."""
        grid = self.fixed_like(u)
        cell = (torch.searchsorted(grid["below"], u, right=True) - 1).clamp(0, N_CELLS - 1)
        low, high, p, q = grid["below"][cell], grid["below"][cell + 1], grid["density"][cell], grid["density"][cell + 1]
        v = (u - low) / (high - low)
        return grid["node"][cell] + (2 * REACH / N_CELLS) * v * (p + q) / (p + (p.square() + v * (q.square() - p.square())).sqrt())

    def log_prob(self, x: Tensor) -> Tensor:
        x = x.double()
        return -(well(x[..., ::2]) + 0.5 * x[..., 1::2].square()).sum(-1) - self.log_z
