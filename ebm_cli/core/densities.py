"""Exact densities: a dataset that knows its log p(x). A subclass gives `shape`, `box`, `length_scale`, `draw` and `log_prob`; one that
has modes gives `mode_weights` and `mode`, and one that is not smooth its `jumps`."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Ge
from torch import Tensor

from ebm_cli.core import log_densities
from ebm_cli.core.minibatches import Minibatches
from ebm_cli.core.rng import Rng
from ebm_cli.core.standardize import Standardization
from ebm_cli.types import SplitName

AT_ONCE = {"cpu": 1 << 16, "cuda": 1 << 24}  # numbers of a temporary: half a MiB stays in a core's cache


@dataclass(frozen=True)
class Density(ABC):
    """`n_train`: the size of the training set, fixed per seed; null draws fresh points for ever."""

    n_train: Annotated[int, Ge(2)] | None
    fingerprint: ClassVar[str] = ""
    named: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Lists of a config become tuples: what is measured on a grid is remembered by its density."""
        for field in fields(self):
            object.__setattr__(self, field.name, _frozen(getattr(self, field.name)))

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """d."""

    @property
    @abstractmethod
    def box(self) -> Sequence[tuple[float, float]]:
        """Per coordinate, bounds outside which the mass is below 1e-9."""

    @property
    @abstractmethod
    def length_scale(self) -> float:
        """The smallest length over which the density changes: what a quadrature must resolve."""

    @abstractmethod
    def draw(self, n: int, rng: Rng) -> Tensor:
        """Independent draws, (*m, n, *d)."""

    @abstractmethod
    def log_prob(self, x: Tensor) -> Tensor:
        """Exact log p(x) in nats, in double precision, (..., *d) -> (...)."""

    @property
    def jumps(self) -> Sequence[Sequence[float]]:
        """Per coordinate, where the density jumps: a quadrature has no cell across it."""
        return ()

    @property
    def mode_weights(self) -> Tensor | None:
        """The share of every mode, (K,) in double precision, where there are modes that can be told apart."""
        return None

    def mode(self, x: Tensor) -> Tensor:
        """The number of the mode that a point belongs to, (..., *d) -> (...)."""
        raise NotImplementedError(f"{type(self).__name__} has no modes")

    @cached_property
    def standardization(self) -> Standardization:
        return Standardization.identity(self.shape)

    @property
    def column_names(self) -> list[str]:
        return [f"x{i}" for i in range(self.shape[0])]

    @cached_property
    def _train(self) -> dict[tuple[int, ...] | int, Minibatches]:
        return {}

    def batch(self, step: int, n: int, rng: Rng) -> Tensor:
        """(*m, n, *d): fresh draws, or a minibatch of the training set."""
        if self.n_train is None:
            return self.draw(n, rng.at("data").at(step))
        if rng.seeds not in self._train:
            self._train[rng.seeds] = Minibatches(self.draw(self.n_train, rng.at("split").at("train")))
        return self._train[rng.seeds].batch(step, n, rng.at("data"), event_ndim=len(self.shape))

    def split(self, name: SplitName, n: int, rng: Rng) -> Tensor:
        """(*m, n, *d). Validation and test points are draws of streams of their own."""
        if name != "train" or self.n_train is None:
            return self.draw(n, rng.at("split").at(name))
        return self.draw(self.n_train, rng.at("split").at(name)).narrow(-1 - len(self.shape), 0, min(n, self.n_train))


def log_mixture(x: Tensor, centre: Tensor, log_weight: Tensor, std: float) -> Tensor:
    """log sum_k w_k N(x; c_k, std^2 I) in double precision: x (..., d), centres (K, d), log weights (K,) -> (...)."""
    centre, log_weight = centre.to(x.device), log_weight.to(x.device)
    return in_parts(lambda part: log_densities.mixture(part, centre, log_weight, std), x.double(), len(centre))


def in_parts(log_prob: Callable[[Tensor], Tensor], x: Tensor, width: int) -> Tensor:
    """log_prob at x (..., d) -> (...), a few points at once: each takes temporaries of `width` numbers."""
    parts = x.reshape(-1, x.shape[-1]).split(max(1, AT_ONCE.get(x.device.type, 1 << 20) // width))
    return torch.cat([log_prob(part) for part in parts]).view(x.shape[:-1])


def nearest(x: Tensor, centre: Tensor) -> Tensor:
    """The number of the nearest of the centres (K, d), (..., d) -> (...)."""
    return in_parts(lambda part: torch.cdist(part, centre).argmin(-1), x.to(centre), len(centre))


def _frozen(value: Any) -> Any:
    return tuple(_frozen(one) for one in value) if isinstance(value, list) else value
