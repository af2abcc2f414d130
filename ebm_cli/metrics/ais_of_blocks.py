"""Annealed importance sampling by block Gibbs transitions, for example of RBMs. Salakhutdinov & Murray 2008; Grosse et al. 2015.

The path of metrics/ais.py is here that of core/block_gibbs.py: it begins at independent bits with the smoothed marginals of the training
data, and for an RBM it anneals the joint energy of coordinates and hidden units. A transition is one sweep.

The downward estimate is a bound only if its chains start at exact draws of the model. They are exact if the energy has a sum for log Z
(`has_log_partition`). Otherwise `ais_log_z_upper` is an estimate, and a warning says so: the first half of the repeats starts at the
samples of the run, and the other half at the final states of the upward chains, drawn with their weights. If the means of the two halves
differ by more than their 95 % intervals, a reason replaces the estimate.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ebm_cli.core.block_gibbs import BlockGibbsPath, log_odds
from ebm_cli.core.metric import MetricContext
from ebm_cli.core.rng import Rng
from ebm_cli.metrics.ais import N_DATA, AnnealedImportanceSampling, mean_and_error, schedule
from ebm_cli.types import Params

FEWEST_REPEATS = 4  # two in each half
UPPER = ("ais_log_z_upper", "ais_log_z_upper_error", "ais_nll_lower", "ais_nll_upper")  # the numbers that need the downward estimate
ESTIMATE = "ais: the upper end of log Z is an estimate, not a bound: its chains start at samples of the model that are not exact draws"


@dataclass(frozen=True)
class AnnealedImportanceSamplingOfBlocks(AnnealedImportanceSampling):
    """The same settings as those of the base class; there is no pilot run, because there is no step size."""

    requires: ClassVar[frozenset[str]] = frozenset({"binary", "energy", "unconditional", "block_gibbs"})

    def __call__(self, context: MetricContext) -> dict[str, float | str] | str:
        if self.n_repeats < FEWEST_REPEATS:
            return f"two independent sets of repeats need metric.ais_of_blocks.n_repeats of at least {FEWEST_REPEATS}"
        found = super().__call__(context)
        if isinstance(found, str) or is_exact(context):
            return found
        disagreement = context.once("ais of blocks", str)
        if disagreement:
            return found | dict.fromkeys(UPPER, disagreement)
        context.warn(f"{ESTIMATE}; two independent sets of samples agree")
        return found

    def estimates(self, context: MetricContext) -> tuple[Tensor, Tensor, Tensor] | str:
        rng, path, n = context.rng.at("ais"), BlockGibbsPath(context.model), self.n_repeats * self.n_chains
        params = self._path(context)
        bias, betas = params["wrapper.bias"], schedule(self.n_temperatures).to(params["wrapper.bias"])
        starts, steps = (rng.uniform("start", n, *bias.shape) < bias.sigmoid()).to(bias), [None] * self.n_temperatures
        up, annealed = self._weights(path, params, starts, betas, steps, rng.at("up"), upwards=True)
        if not up.isfinite().all():
            return "some of the weights are not finite"
        ends = exact_draws(context, n, rng) if is_exact(context) else self._two_sets(context, annealed, up, rng)
        if not ends.isfinite().all():
            return "the samples are not finite"
        down, _ = self._weights(path, params, ends.to(bias), betas, steps, rng.at("down"), upwards=False)
        found = self._bounds(up, down, path.log_z_of_start(params).double().item())
        context.once("ais of blocks", lambda: "" if is_exact(context) else disagreement_of(found[1]))
        return found

    def _path(self, context: MetricContext) -> Params:
        """The tensors of the model and of the path."""
        x = context.split("train", N_DATA).to(context.params[context.model.names[0]])
        bias = log_odds(x.mean(0), len(x))
        return context.params | {"wrapper.bias": bias, "wrapper.beta": torch.zeros((), dtype=bias.dtype, device=bias.device)}

    def _two_sets(self, context: MetricContext, annealed: Tensor, up: Tensor, rng: Rng) -> Tensor:
        """Samples of the run for the first half of the repeats, and annealed states drawn with their weights for the others, (n, *d)."""
        n_first = (self.n_repeats // 2) * self.n_chains
        n_others, points = len(up) - n_first, context.samples.flatten(0, 1)
        rows = rng.permutation("rows", len(points))[torch.arange(n_first, device=points.device) % len(points)]
        place = rng.uniform("place", n_others).double().cpu() + torch.arange(n_others)  # systematic resampling has less variance
        index = torch.searchsorted((up - up.logsumexp(0)).exp().cumsum(0), place / n_others).clamp(max=len(up) - 1)
        order = rng.permutation("order", n_others)  # equal states are spread over the repeats
        return torch.cat([points[rows].to(annealed), annealed[index.to(annealed.device)][order]])


def is_exact(context: MetricContext) -> bool:
    """Whether exact draws of the model exist."""
    return getattr(context.model.module, "has_log_partition", False) and hasattr(context.model.module, "draw")


def exact_draws(context: MetricContext, n: int, rng: Rng) -> Tensor:
    """Independent draws of the model, (n, *d)."""
    coarse, fine = (rng.uniform(name, n).double() for name in ("coarse", "fine"))
    place = (coarse + fine * 2.0**-24).clamp(max=1 - 2.0**-50)  # more digits than one number in single precision has
    return context.model.call(context.params, "draw", place, rng.uniform("draw", n, context.model.module.n_uniforms)).detach()


def disagreement_of(upper: Tensor) -> str:
    """The reason why the downward estimates of log Z, (n_repeats,), are not used; "" if both halves agree."""
    halves = upper[: len(upper) // 2], upper[len(upper) // 2 :]
    (first, error), (second, other) = map(mean_and_error, halves)
    if abs(first - second) <= math.hypot(error, other):
        return ""
    return f"two sets of samples of the model give different estimates of log Z, {first:.5g} and {second:.5g}: they do not follow the model"
