"""A density of the plane as a distribution of bits: a grid of 2^n x 2^n cells, whose rows and columns have Gray codes.

    p(cell) = density at the middle of the cell / sum over all cells,    x = (code of the column, code of the row), 2n bits

Neighboring cells differ in one bit of x (Gray 1953, US patent 2,632,058). The grid covers `frame` of the density. p is normalized by a sum
over all cells, so that log p is exact, and events are drawn from p itself. Dai et al. 2020 (arXiv:2011.05363) and later papers on discrete
energies round draws of the density to such a grid instead, which gives the same distribution up to the variation of the density within a
cell. The modes are those of the density.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

import torch
from annotated_types import Ge, Le
from torch import Tensor

from ebm_cli.core.contracts import Dataset
from ebm_cli.core.discrete_density import DiscreteDensity
from ebm_cli.core.rng import Rng
from ebm_cli.core.states import number
from ebm_cli.errors import bad
from ebm_cli.types import Space

FINE = 1 << 24  # a uniform number in single precision has this many values


@dataclass(frozen=True)
class BinaryPlane(DiscreteDensity):
    """`plane` is a density of two coordinates, and `n_bits` the number n of bits of each."""

    plane: Dataset
    n_bits: Annotated[int, Ge(2), Le(11)]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.plane.shape != (2,) or "density" not in self.plane.provides:
            raise bad("dataset.plane: it must be a dataset with a known density of two coordinates", "dataset=binary_moons")

    @property
    def space(self) -> Space:
        return Space((2 * self.n_bits,), "binary")

    @property
    def n_modes(self) -> int | None:
        return self.plane.n_modes

    @property
    def mode_weights(self) -> Tensor | None:
        """The probability of the cells of each mode."""
        if self.n_modes is None:
            return None
        return torch.zeros(self.n_modes, dtype=torch.double).index_add(0, self.plane.mode(self._middles), self._log_p.exp())

    def mode(self, x: Tensor) -> Tensor:
        return self.plane.mode(self.to_plane(x))

    def draw(self, n: int, rng: Rng) -> Tensor:
        u = (rng.uniform("cell", n).double() * FINE).floor().add(rng.uniform("fine", n)) / FINE  # cells of probability 1e-5 need it
        cell = torch.searchsorted(self._cumulative.to(u.device), u * self._cumulative[-1].item(), right=True)
        return self.coded(cell.clamp(max=4**self.n_bits - 1)).to(torch.get_default_dtype())

    def log_prob(self, x: Tensor) -> Tensor:
        return self._log_p.to(x.device)[self.cell(x)]

    def cell(self, x: Tensor) -> Tensor:
        """The number of a cell, 2^n column + row, (..., 2n) -> (...)."""
        bits = x.unflatten(-1, (2, self.n_bits)).cumsum(-1) % 2  # the inverse of the Gray code: each bit is the parity of those before it
        return number(bits.flatten(-2), self.space)

    def coded(self, cell: Tensor) -> Tensor:
        """The bits of a cell, (...) -> (..., 2n)."""
        along = torch.stack([cell >> self.n_bits, cell & (2**self.n_bits - 1)], -1)
        places = torch.arange(self.n_bits - 1, -1, -1, device=cell.device)
        return ((along ^ (along >> 1)).unsqueeze(-1) >> places & 1).flatten(-2)

    def to_plane(self, x: Tensor) -> Tensor:
        """The middle of the cell of each event, (..., 2n) -> (..., 2), in double precision."""
        return self._middles.to(x.device)[self.cell(x)]

    @property
    def grid(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """The ranges of both coordinates that the cells cover."""
        return tuple(tuple(map(float, ends)) for ends in self.plane.frame)

    @cached_property
    def _middles(self) -> Tensor:
        """The middles of all cells, (4^n, 2)."""
        part = (torch.arange(2**self.n_bits, dtype=torch.double) + 0.5) / 2**self.n_bits
        return torch.cartesian_prod(*(low + (high - low) * part for low, high in self.grid))

    @cached_property
    def _log_p(self) -> Tensor:
        return self.plane.log_prob(self._middles).double().log_softmax(0)

    @cached_property
    def _cumulative(self) -> Tensor:
        return self._log_p.exp().cumsum(0)
