"""Datasets with an exact density: log p(x) can be evaluated.

A subclass defines `shape`, `box`, `length_scale`, `draw` and `log_prob`. A subclass with modes also defines `n_modes` and `mode`; a
subclass with a discontinuous density defines `jumps`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Ge
from torch import Tensor

from ebm_cli.core import log_densities
from ebm_cli.core.contracts import Dataset
from ebm_cli.core.minibatches import Minibatches
from ebm_cli.core.rng import Rng
from ebm_cli.core.standardize import Standardization
from ebm_cli.types import Batch, Space, SplitName

AT_ONCE = {"cpu": 1 << 16, "cuda": 1 << 24}  # numbers in a temporary tensor: on a CPU, half a MiB stays in the cache of a core
N_MOMENTS = 10_000  # number of draws from which `start` computes its moments


@dataclass(frozen=True)
class Density(ABC, Dataset):
    """`n_train` is the size of the training set, which is fixed per seed; with null, every batch is a fresh draw."""

    n_train: Annotated[int, Ge(2)] | None
    provides: ClassVar[frozenset[str]] = frozenset({"real", "density"})

    def __post_init__(self) -> None:
        """Convert lists of the config to tuples: a density must be hashable because it is the key of cached grids."""
        for field in fields(self):
            object.__setattr__(self, field.name, _frozen(getattr(self, field.name)))

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

    @abstractmethod
    def draw(self, n: int, rng: Rng) -> Tensor:
        """Independent draws, (*m, n, *d)."""

    @abstractmethod
    def log_prob(self, x: Tensor) -> Tensor:
        """Exact log p(x) in nats, in double precision, (..., *d) -> (...)."""

    @property
    def jumps(self) -> Sequence[Sequence[float]]:
        """The positions of discontinuities for each coordinate: no cell of a quadrature may contain one."""
        return ()

    @property
    def n_modes(self) -> int | None:
        """The number of modes; None if the modes are not defined or not separated."""
        return None

    @property
    def mode_weights(self) -> Tensor | None:
        """The probability of each mode, (K,), in double precision. By default they are equal."""
        return None if self.n_modes is None else torch.full((self.n_modes,), 1 / self.n_modes, dtype=torch.double)

    def mode(self, x: Tensor) -> Tensor:
        """The index of the mode that a point belongs to, (..., *d) -> (...)."""
        raise TypeError(f"{type(self).__name__} has no modes")

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

    @cached_property
    def standardization(self) -> Standardization:
        return Standardization.identity(self.shape)

    @cached_property
    def _train(self) -> dict[tuple[tuple[int, ...] | int, torch.device], Minibatches]:
        return {}

    def batch(self, step: int, n: int, rng: Rng) -> Batch:
        """Fresh draws, or a minibatch of the training set, (*m, n, *d)."""
        if self.n_train is None:
            return Batch(self.draw(n, rng.at("data").at(step)))
        key = rng.seeds, rng.generator.device
        if key not in self._train:
            self._train[key] = Minibatches(self.draw(self.n_train, rng.at("split").at("train")))
        return self._train[key].batch(step, n, rng.at("data"), event_ndim=len(self.shape))

    def split(self, name: SplitName, n: int, rng: Rng) -> Batch:
        """The points of a split, (*m, n, *d). Validation and test points are drawn from separate random streams."""
        if name != "train" or self.n_train is None:
            return Batch(self.draw(n, rng.at("split").at(name)))
        return Batch(self.draw(self.n_train, rng.at("split").at(name)).narrow(-1 - len(self.shape), 0, min(n, self.n_train)))


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


def _frozen(value: Any) -> Any:
    return tuple(_frozen(entry) for entry in value) if isinstance(value, list) else value
