"""Exact densities with fixed matrices (covariances, mixings, weights), which depend on the keys of the dataset but not on the run's seed.

The matrices are made once, in double precision on the CPU, and copied once to each device and precision. The functions below draw the
matrices that several datasets share.
"""

from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ebm_cli.core.densities import Density
from ebm_cli.core.rng import Rng
from ebm_cli.types import Params


@dataclass(frozen=True)
class StructuredDensity(Density):
    """A subclass defines `make` and `draw_one`, in addition to the properties of a density."""

    @abstractmethod
    def make(self) -> Params:
        """The fixed tensors by name, in double precision on the CPU."""

    @abstractmethod
    def draw_one(self, n: int, rng: Rng) -> Tensor:
        """Independent draws for one model, (n, *d)."""

    def draw(self, n: int, rng: Rng) -> Tensor:
        """Models are drawn one at a time: a matrix product of a whole stack has other rounding errors than that of one model."""
        if not rng.model_shape:
            return self.draw_one(n, rng)
        return torch.stack([self.draw_one(n, rng.of(m)) for m in range(len(rng.seed_list))])

    @cached_property
    def fixed(self) -> Params:
        """The fixed tensors, in double precision on the CPU."""
        return self.make()

    def fixed_like(self, x: Tensor) -> Params:
        """The fixed tensors with the device of x; those of floating point also with its precision."""
        key = x.device, x.dtype
        if key not in self._copies:
            self._copies[key] = {name: value.to(x if value.is_floating_point() else x.device) for name, value in self.fixed.items()}
        return self._copies[key]

    @cached_property
    def _copies(self) -> dict[tuple[torch.device, torch.dtype], Params]:
        return {}


def rotation(rng: Rng, stream: str, dim: int) -> Tensor:
    """A random orthogonal matrix, (d, d), uniform in the sense of Haar: Q of a Gaussian matrix, with the signs of R. Mezzadri 2007."""
    q, r = torch.linalg.qr(rng.normal(stream, dim, dim).double())
    return q * r.diagonal().sign()


def spectrum(dim: int, condition: float) -> Tensor:
    """d positive numbers from `condition`^-1/2 to `condition`^1/2, equally spaced in their logarithms: their product is 1."""
    exponent = torch.linspace(-0.5, 0.5, dim, dtype=torch.double)
    return condition ** (exponent - exponent.mean())


def covariance_factor(rng: Rng, stream: str, dim: int, condition: float) -> Tensor:
    """A with A A' = Q diag(spectrum) Q', (d, d): a full covariance of determinant 1 with a given condition number and a random Q."""
    return rotation(rng, stream, dim) * spectrum(dim, condition).sqrt()
