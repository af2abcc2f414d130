"""What a metric is given: one trained model, the data, and samples drawn from it."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor

from ebm_cli.core.model import Model
from ebm_cli.core.rng import Rng
from ebm_cli.types import Dataset, Params

Value = TypeVar("Value")


@dataclass(frozen=True)
class MetricContext:
    """`samples`: (n_chains, n_draws, *d) in the model's units, at the end of training. `final`: take the time for error estimates.
    `rng`: that of the run, by which the dataset knows the points that it was trained on."""

    model: Model
    params: Params
    dataset: Dataset
    rng: Rng
    samples: Tensor | None = None
    final: bool = True
    warn: Callable[[str], None] = lambda line: None  # tell the user what a number does not show
    _known: dict[Hashable, Any] = field(default_factory=dict)

    def held_out(self, n: int) -> Tensor:
        """At most n points that the model has not seen, (n, *d): of the test split at the end, of the validation split before."""
        return self.dataset.split("test" if self.final else "validation", n, self.rng)

    def drawn(self, n: int) -> Tensor:
        """At most n of the samples, spread evenly over chains and draws, (n, *d)."""
        points = self.samples.flatten(0, 1)
        n = min(n, len(points))
        return points[(2 * torch.arange(n, device=points.device) + 1) * len(points) // (2 * n)]

    def once(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """What several metrics need is made by the first of them."""
        if key not in self._known:
            self._known[key] = make()
        return self._known[key]
