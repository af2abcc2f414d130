"""The NLL of two densities without training, at the held-out points where that of the model is measured.

`gaussian_nll` is that of a Gaussian with the mean and covariance of the training points, and `reference_nll` that of the reference of the
run, for example a mixture. A model is worth its training if its NLL is lower. Both are exact, in nats and data units. The cost is that of
fitting a Gaussian.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from ebm_cli.core.fitted_reference import FittedReference
from ebm_cli.core.metric import Metric, MetricContext
from ebm_cli.core.pointwise import in_chunks
from ebm_cli.references.full_gaussian import FullGaussian
from ebm_cli.types import Best, Count


@dataclass(frozen=True)
class Baselines(Metric):
    """`n_points` is the maximum number of training points, and of held-out points."""

    n_points: Count
    requires: ClassVar[frozenset[str]] = frozenset({"real", "unconditional"})
    units: ClassVar[Mapping[str, str]] = {"reference_nll": "nats", "gaussian_nll": "nats"}
    best: ClassVar[Mapping[str, Best]] = {}  # they do not measure the model
    final_only: ClassVar[bool] = True

    def __call__(self, context: MetricContext) -> dict[str, float | str] | str:
        x, held_out = context.split("train", self.n_points), context.held_out(self.n_points)
        if not len(held_out):
            return "there are no held-out points"
        gaussian = FittedReference.fit(FullGaussian(), x.double(), context.dataset.shape, context.rng)
        constant = context.dataset.standardization.log_det
        of_reference, of_gaussian = in_chunks(context.reference.log_prob, held_out), in_chunks(gaussian.log_prob, held_out.double())
        return {"reference_nll": constant - of_reference.mean().item(), "gaussian_nll": constant - of_gaussian.mean().item()}
