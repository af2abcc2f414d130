"""Datasets whose distribution is known: they are drawn from it, and log p(x) can be evaluated.

`Density` (densities.py) is the base class of those with real events, and `DiscreteDensity` (discrete_density.py) of the others.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Annotated, Any

import torch
from annotated_types import Ge
from torch import Tensor

from ebm_cli.core.contracts import Dataset
from ebm_cli.core.minibatches import Minibatches
from ebm_cli.core.rng import Rng
from ebm_cli.core.standardize import Standardization
from ebm_cli.types import Batch, SplitName


@dataclass(frozen=True)
class KnownDensity(ABC, Dataset):
    """`n_train` is the size of the training set, which is fixed per seed; with null, every batch is a fresh draw."""

    n_train: Annotated[int, Ge(2)] | None

    def __post_init__(self) -> None:
        """Convert lists of the config to tuples: a density must be hashable because it is the key of cached values."""
        for field in fields(self):
            object.__setattr__(self, field.name, _frozen(getattr(self, field.name)))

    @abstractmethod
    def draw(self, n: int, rng: Rng) -> Tensor:
        """Independent draws, (*m, n, *d)."""

    @abstractmethod
    def log_prob(self, x: Tensor) -> Tensor:
        """Exact log p(x) in nats, in double precision, (..., *d) -> (...)."""

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


def _frozen(value: Any) -> Any:
    return tuple(_frozen(entry) for entry in value) if isinstance(value, list) else value
