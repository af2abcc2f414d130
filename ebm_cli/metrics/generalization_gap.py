"""By how much the model fits the points that it was trained on better than others of their law, in nats.

    gap = mean E(held out) - mean E(train) = NLL(held out) - NLL(train)

Both NLLs have the same log Z, so none is needed. Where the density of the data is known, E + log p stands for E: its gap has the same
expectation, and less noise, for what the two sets of points differ by themselves is taken out. `generalization_gap_error` is a standard
error, of the points. A model that has learned nothing has no gap: it says how far to trust a fit, not how good it is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ebm_cli.core.densities import Density
from ebm_cli.core.metric_context import MetricContext
from ebm_cli.metrics.quadrature import energy_of
from ebm_cli.types import Count, Metric


@dataclass(frozen=True)
class GeneralizationGap(Metric):
    """`n_points` of each set at most."""

    n_points: Count
    units: ClassVar[Mapping[str, str]] = dict.fromkeys(("generalization_gap", "generalization_gap_error"), "nats")
    unaveraged: ClassVar[Sequence[str]] = ("generalization_gap_error",)

    def __call__(self, context: MetricContext) -> dict[str, float | str] | str:
        if "energy" not in context.model.provides:
            return "a score network has no energy"
        if context.dataset.n_train is None:
            return "every batch is drawn fresh: there is no training set"

        def excess(x: Tensor) -> Tensor:
            energy = energy_of(context.model, context.params, x)
            return energy + context.dataset.log_prob(x).cpu() if isinstance(context.dataset, Density) else energy

        sets = [excess(x) for x in (context.held_out(self.n_points), context.dataset.split("train", self.n_points, context.rng))]
        gap = (sets[0].mean() - sets[1].mean()).item()
        if min(map(len, sets)) < 2:
            return {"generalization_gap": gap, "generalization_gap_error": "of one point there is no standard error"}
        return {"generalization_gap": gap, "generalization_gap_error": sum(one.var() / len(one) for one in sets).sqrt().item()}
