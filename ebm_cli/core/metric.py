"""The interface of metrics, and their input: one trained model, the data, and samples drawn from the model."""

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, TypeVar

import torch
from torch import Tensor

from ebm_cli.core.contracts import Dataset
from ebm_cli.core.fitted_reference import FittedReference
from ebm_cli.core.model import Model
from ebm_cli.core.pointwise import energy_of
from ebm_cli.core.rng import Rng
from ebm_cli.types import Best, Params, SplitName

Value = TypeVar("Value")


class NoEvents(Exception):
    """A split is empty. The message is the reason that replaces the numbers of a metric that needs it."""


@dataclass(frozen=True)
class MetricContext:
    """`samples` are (n_chains, n_draws, *d), in the coordinates of the model; they exist at the end of training only.

    `final` is true at the end of training, when there is time for error estimates. `rng` is the random number generator of the run: with
    it, the dataset returns the points on which the model was trained. `reference` is the fitted reference of the run.
    """

    model: Model
    params: Params
    dataset: Dataset
    rng: Rng
    samples: Tensor | None = None
    final: bool = True
    warn: Callable[[str], None] = lambda line: None  # show the user a warning about a number
    reference: FittedReference | None = None
    _known: dict[Hashable, Any] = field(default_factory=dict)

    def held_out(self, n: int) -> Tensor:
        """Up to n points that were not used in training, (n, *d): from the test split at the end, from the validation split before."""
        return self.split(self.held_out_name, n)

    @property
    def held_out_name(self) -> SplitName:
        """The split of the held-out points."""
        return "test" if self.final else "validation"

    def split(self, name: SplitName, n: int) -> Tensor:
        """Up to n points of a split, (n, *d). Raises `NoEvents` if the split is empty."""
        points = self.dataset.split(name, n, self.rng).x
        if not len(points):
            raise NoEvents(no_events(name))
        return points

    def energy(self, x: Tensor) -> Tensor:
        """The energy in data units at points x (N, *d) in the coordinates of the model, (N,), in nats: -E - log Z is log p of the data.

        It differs from the energy of the model if a column is transformed by a map that is not linear (core/standardize.py).
        """
        return energy_of(self.model, self.params, x) - self.log_warp(x)

    def log_warp(self, x: Tensor) -> Tensor:
        """The part of the log-Jacobian that depends on the point, at points x (N, *d) in the coordinates of the model, (N,); mostly 0."""
        units = self.dataset.standardization
        return units.log_warp(units.to_data(x) if units.changes_energy else x)

    def drawn(self, n: int) -> Tensor:
        """Up to n of the samples, spread evenly over chains and draws, (n, *d)."""
        points = self.samples.flatten(0, 1)
        n = min(n, len(points))
        return points[(2 * torch.arange(n, device=points.device) + 1) * len(points) // (2 * n)]

    def once(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """A value that several metrics need. It is computed once and cached under `key`."""
        if key not in self._known:
            self._known[key] = make()
        return self._known[key]


def no_events(name: SplitName) -> str:
    """The reason for a number that needs events of an empty split."""
    return f"there are no {name} rows (dataset.{name}=0)"


class Metric(Protocol):
    """A measurement of one trained model."""

    requires: ClassVar[frozenset[str]] = frozenset()  # what it needs of data and model; if it is missing, a reason replaces the numbers
    units: ClassVar[Mapping[str, str]]  # the unit of each of its numbers, in display order; "" for a number without a unit
    headline: ClassVar[Sequence[str]] = ()  # the numbers that lists of runs show
    best: ClassVar[Mapping[str, Best]] = {}  # which value is best, for the numbers that rank models
    unaveraged: ClassVar[Sequence[str]] = ()  # p-values and standard errors, which are not averaged over seeds
    final_only: ClassVar[bool] = False  # whether it is measured only at the end of training: it needs samples, or is slow

    def expected(self, dataset: Dataset) -> Collection[str]:
        """The names of its numbers that can exist on this dataset. A sweep ranks its runs only by numbers that are expected."""
        return self.units

    def __call__(self, context: MetricContext) -> dict[str, float | str] | str:
        """Its numbers. A sentence with the reason replaces a number, or all of them, that cannot be computed.

        If `NoEvents` is raised, its message is the reason for all numbers.
        """
        ...
