"""log Z and the NLL in any dimension, by importance sampling from the reference of the run.

    log Z = log mean w,    w_i = exp(-E(x_i)) / q(x_i),    x_1 .. x_n ~ q

An energy that is tilted by q has weights exp(-f), which vary little if the model is close to q. `importance_ess` is their effective
sample size, (sum w)^2 / sum w^2, as a fraction of n. The `_error` is half the 95 % interval of log Z, 1.96 times the relative standard
error of the mean weight. That of the NLL also contains the error of the mean energy over the held-out points. `importance_k_hat` is the
shape of the tail of the weights (core/pareto.py): above 0.7 the estimate is refused, since its error is not known. Importance sampling
cannot notice a region where the model has mass and q gives no draws. The cost is n energies and n densities of q.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge
from torch import Tensor

from ebm_cli.core.contracts import Dataset
from ebm_cli.core.metric import Metric, MetricContext
from ebm_cli.core.pareto import RELIABLE, tail_shape
from ebm_cli.core.pointwise import beside, energy_of, in_chunks
from ebm_cli.core.student_t import quantile
from ebm_cli.metrics.quadrature import at_data
from ebm_cli.types import Best

BLOCK = 16384  # draws at a time


@dataclass(frozen=True)
class ImportanceSampling(Metric):
    """`n_draws` is the number n of draws from the reference."""

    n_draws: Annotated[int, Ge(1000)]
    requires: ClassVar[frozenset[str]] = frozenset({"energy", "unconditional"})
    units: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("importance_nll", "importance_nll_error", "importance_log_z", "importance_log_z_error"), "nats"),
        **{"importance_ess": "", "importance_k_hat": ""},
    }
    headline: ClassVar[Sequence[str]] = ("nll",)
    best: ClassVar[Mapping[str, Best]] = {"nll": "min"}
    unaveraged: ClassVar[Sequence[str]] = ("importance_nll_error", "importance_log_z_error")
    final_only: ClassVar[bool] = True

    def expected(self, dataset: Dataset) -> Collection[str]:
        return ("nll", "log_z", *self.units)

    def __call__(self, context: MetricContext) -> dict[str, float | str] | str:
        weight = self.log_weights(context)
        if not (weight < math.inf).all():  # also without NaN
            return "the energy is not finite at some draws from the reference"
        k, ess = tail_shape(weight), (2 * weight.logsumexp(0) - (2 * weight).logsumexp(0)).exp().item() / len(weight)
        of_weights = {"importance_ess": ess, "importance_k_hat": k if math.isfinite(k) else "the weights have no tail"}
        if k > RELIABLE:
            reason = f"the importance weights have a heavy tail, with Pareto k = {k:.2f} (up to {RELIABLE} is reliable)"
            return dict.fromkeys(self.units, reason) | of_weights
        log_z = weight.logsumexp(0).item() - math.log(len(weight)) + context.dataset.standardization.log_det
        relative = (weight - weight.max()).exp()
        error = quantile(1000) * (relative.std() / relative.mean()).item() / math.sqrt(len(weight))
        return {**nll(at_data(context), log_z, error), "importance_log_z": log_z, "importance_log_z_error": error} | of_weights

    def log_weights(self, context: MetricContext) -> Tensor:
        """log w of every draw, (n_draws,), in double precision."""
        reference, rng, found = context.reference, context.rng.at("importance"), []
        for start in range(0, self.n_draws, BLOCK):
            x = beside(context.model, context.params, reference.draw(min(BLOCK, self.n_draws - start), rng.at(start)))
            log_q = in_chunks(reference.log_prob, x)
            found.append(-energy_of(context.model, context.params, x) - log_q)
        return torch.cat(found)


def nll(energy: Tensor, log_z: float, error: float) -> dict[str, float | str]:
    """The NLL and its error, from the energies at held-out points, (N,), and log Z with its error."""
    keys = ("importance_nll", "importance_nll_error")
    if len(energy) < 2:
        return dict.fromkeys(keys, f"{len(energy)} held-out points are too few for an error estimate")
    if not energy.isfinite().all():
        return dict.fromkeys(keys, "the energy is not finite at some held-out points")
    of_mean = quantile(len(energy) - 1) * (energy.std() / len(energy) ** 0.5).item()
    return {keys[0]: energy.mean().item() + log_z, keys[1]: math.hypot(of_mean, error)}
