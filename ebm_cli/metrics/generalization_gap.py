"""The difference of the negative log-likelihood (NLL) between held-out and training points, in nats.

    gap = mean E(held out) - mean E(train) = NLL(held out) - NLL(train)

log Z cancels and is not needed. If the density of the data is known, E + log p replaces E: the gap has the same expectation and a smaller
variance, because the random difference of the two sets of points cancels. `generalization_gap_error` is the standard error over the
points. The gap measures overfitting, not the quality of the model: a model that has learned nothing has no gap.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ebm_cli.core.metric import Metric, MetricContext
from ebm_cli.types import Count


@dataclass(frozen=True)
class GeneralizationGap(Metric):
    """Up to `n_points` points of each set are used."""

    n_points: Count
    requires: ClassVar[frozenset[str]] = frozenset({"energy", "unconditional"})
    units: ClassVar[Mapping[str, str]] = dict.fromkeys(("generalization_gap", "generalization_gap_error"), "nats")
    unaveraged: ClassVar[Sequence[str]] = ("generalization_gap_error",)

    def __call__(self, context: MetricContext) -> dict[str, float | str] | str:
        if context.dataset.n_train is None:
            return "every batch is a fresh draw: there is no training set"

        def excess(x: Tensor) -> Tensor:
            energy = context.energy(x)
            return energy + context.dataset.log_prob(x).cpu() if "density" in context.dataset.provides else energy

        sets = [excess(x) for x in (context.held_out(self.n_points), context.split("train", self.n_points))]
        gap = (sets[0].mean() - sets[1].mean()).item()
        if min(map(len, sets)) < 2:
            return {"generalization_gap": gap, "generalization_gap_error": "a single point has no standard error"}
        return {"generalization_gap": gap, "generalization_gap_error": sum(values.var() / len(values) for values in sets).sqrt().item()}
