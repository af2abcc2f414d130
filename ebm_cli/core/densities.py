"""Real datasets with an exact density: log p(x) can be evaluated.

A subclass defines `shape`, `box`, `length_scale`, `draw` and `log_prob`. A subclass with modes also defines `n_modes` and `mode`; a
subclass with a discontinuous density defines `jumps`.
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from ebm_cli.core import log_densities
from ebm_cli.core.known_density import KnownDensity
from ebm_cli.core.rng import Rng
from ebm_cli.types import Space

AT_ONCE = {"cpu": 1 << 16, "cuda": 1 << 24}  # numbers in a temporary tensor: on a CPU, half a MiB stays in the cache of a core
N_MOMENTS = 10_000  # number of draws from which `start` computes its moments


@dataclass(frozen=True)
class Density(KnownDensity):
    """A density on real events."""

    provides: ClassVar[frozenset[str]] = frozenset({"real", "density"})

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """The shape of one event, d."""

    @property
    @abstractmethod
    def box(self) -> Sequence[tuple[float, float]]:
        """Bounds for each coordinate; the probability outside is below 1e-9."""

    @property
    @abstractmethod
    def length_scale(self) -> float:
        """The smallest length over which the density changes. A quadrature must resolve it."""

    @property
    def jumps(self) -> Sequence[Sequence[float]]:
        """The positions of discontinuities for each coordinate: no cell of a quadrature may contain one."""
        return ()

    @property
    def start(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation, (*d), of the Gaussian from which chains start when they sample this exact density."""
        x = self.draw(N_MOMENTS, Rng(0).at("exact"))
        return x.mean(0), x.std(0)

    @property
    def frame(self) -> Sequence[tuple[float, float]]:
        """The range of each coordinate in a picture of the exact density."""
        return self.box

    @cached_property
    def space(self) -> Space:
        return Space(self.shape)


def log_mixture(x: Tensor, center: Tensor, log_weight: Tensor, std: Tensor | float) -> Tensor:
    """log sum_k w_k N(x; c_k, std_k^2 I) in double precision: x (..., d), centers (K, d), log weights (K,), std () or (K,) -> (...)."""
    center, log_weight = center.to(x.device), log_weight.to(x.device)
    std = std.to(x.device) if isinstance(std, Tensor) else std
    return in_parts(lambda part: log_densities.mixture(part, center, log_weight, std), x.double(), len(center))


def in_parts(log_prob: Callable[[Tensor], Tensor], x: Tensor, width: int) -> Tensor:
    """log_prob at x (..., d) -> (...), evaluated in parts of bounded size; one point needs temporaries of `width` numbers."""
    parts = x.reshape(-1, x.shape[-1]).split(max(1, AT_ONCE.get(x.device.type, 1 << 20) // width))
    return torch.cat([log_prob(part) for part in parts]).view(x.shape[:-1])


def nearest(x: Tensor, center: Tensor) -> Tensor:
    """The index of the center (K, d) that is nearest to each point, (..., d) -> (...)."""
    return in_parts(lambda part: torch.cdist(part, center).argmin(-1), x.to(center), len(center))
