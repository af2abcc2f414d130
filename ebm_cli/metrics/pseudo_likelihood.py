"""The negative log-pseudo-likelihood of held-out discrete events, in nats: the mean of -sum_i log p(x_i | the other coordinates).

All coordinates of every event are used, so that it is exact for these events, and log Z is not needed. It is not a likelihood: it measures
how well a coordinate is predicted from the others, and says nothing about the relative weights of distant groups of states. For independent
coordinates it equals the NLL. Besag 1975. Cost: 1 + D (K - 1) energies for an event of D coordinates with K values.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import softplus

from ebm_cli.core.metric import Metric, MetricContext
from ebm_cli.core.pointwise import beside, in_chunks
from ebm_cli.core.states import differences, levels, neighbors
from ebm_cli.types import Best, Count

AT_ONCE = 1 << 22  # numbers in the states that are evaluated at once


@dataclass(frozen=True)
class PseudoLikelihood(Metric):
    """`n_points` is the maximum number of held-out events."""

    n_points: Count
    requires: ClassVar[frozenset[str]] = frozenset({"discrete", "energy", "unconditional"})
    units: ClassVar[Mapping[str, str]] = {"pseudo_nll": "nats"}
    headline: ClassVar[Sequence[str]] = ("pseudo_nll",)
    best: ClassVar[Mapping[str, Best]] = {"pseudo_nll": "min"}

    def __call__(self, context: MetricContext) -> dict[str, float | str] | str:
        model, params, x = context.model, context.params, context.held_out(self.n_points)

        def of(part: Tensor) -> Tensor:
            _, change = differences(model, params, part, neighbors(model, part))
            return softplus(torch.logsumexp(-change.double(), -1)).sum(-1)

        x, d = beside(model, params, x), x[0].numel()
        n = max(1, AT_ONCE // (d * d * (max(levels(context.dataset.space, d)) - 1)))
        value = torch.cat([in_chunks(of, part) for part in x.split(n)]).mean().item()
        return {"pseudo_nll": value if value < float("inf") else "the energy is not finite at some events"}
