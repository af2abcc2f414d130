"""Bounds of log Z in any dimension, by annealed importance sampling. Neal 2001; Grosse, Ghahramani & Adams 2015, arXiv:1511.02543.

    p_k(u) ~ exp((1 - b_k) log q(x) - b_k E(x)),    x = mean + scale u,    0 = b_0 < ... < b_K = 1,    b_k a sigmoid of k

is a path from the reference q of the run to the model, with one exact transition at each temperature. Let w be the sum over k of
(b_{k+1} - b_k) (-log q(x) - E(x)), evaluated before the transition at b_{k+1}. The means over chains

    log Z >= log mean exp(w),  upwards from u_0 ~ q          log Z <= -log mean exp(-w),  downwards from u_K ~ the model

bound log Z in expectation. Each bound is estimated `n_repeats` = R times. Its `_error` is half the 95 % Student t interval of the mean,
the t quantile with R - 1 degrees of freedom times the standard error. The interval from lower - error to upper + error contains log Z
with a probability of at least 95 %, if the estimates are normal. The bounds of the NLL already include their errors, also that of the
mean energy over held-out points: the squared half-widths are summed, each with its own quantile, which covers with at least 95 %
(Banerjee 1961). The upper bound needs draws from the model. With one or two coordinates they come from the grid of the quadrature;
otherwise they are the samples of the run, and the bound is only as good as these. A pilot run determines the step sizes, which are then
fixed, because adaptive chains would not be exact. `ais_ess` is the effective sample size of the upward weights W = exp(w), as a
fraction of their number: (sum W)^2 / (n sum W^2). The cost is 2 `n_repeats` `n_chains` `n_temperatures` transitions, and half as many
for the pilot run. It does not apply to networks that output the score.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge
from torch import Tensor

from ebm_cli.core import chain
from ebm_cli.core.contracts import Sampler
from ebm_cli.core.metric import Metric, MetricContext
from ebm_cli.core.pointwise import beside
from ebm_cli.core.rng import Rng
from ebm_cli.core.standardize import event_scale
from ebm_cli.core.student_t import quantile
from ebm_cli.core.wrappers import AnnealingPath, Wrapper
from ebm_cli.metrics.quadrature import Quadrature, at_data
from ebm_cli.types import Best, Count, Params

SPREAD = 4.0  # the sigmoid schedule covers the range -SPREAD .. SPREAD
PILOT_RATE = 1.0  # the rate at which the pilot run adapts step sizes
N_DATA = 10_000  # maximum number of points from which moments are computed
FEW = 0.02  # with a smaller effective sample size, as a fraction of their number, weights have degenerated
GRIDDED = 2  # maximum number of coordinates for which draws from the model come from a grid


@dataclass(frozen=True)
class AnnealedImportanceSampling(Metric):
    """`n_repeats` estimates from `n_chains` chains each, with `n_temperatures` transitions of an exact `sampler`."""

    sampler: Sampler
    n_chains: Count
    n_temperatures: Count
    n_repeats: Annotated[int, Ge(2)]
    requires: ClassVar[frozenset[str]] = frozenset({"energy", "unconditional"})
    units: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("ais_log_z_lower", "ais_log_z_lower_error", "ais_log_z_upper", "ais_log_z_upper_error"), "nats"),
        **dict.fromkeys(("ais_nll_lower", "ais_nll_upper"), "nats"),
        "ais_ess": "",
    }
    headline: ClassVar[Sequence[str]] = ("ais_nll_lower", "ais_nll_upper")
    best: ClassVar[Mapping[str, Best]] = {"ais_nll_upper": "min"}  # a loose lower bound is low too
    unaveraged: ClassVar[Sequence[str]] = ("ais_log_z_lower_error", "ais_log_z_upper_error")
    final_only: ClassVar[bool] = True

    def __call__(self, context: MetricContext) -> dict[str, float | str] | str:
        if not self.sampler.exact or self.sampler.has_memory:
            return "annealed importance sampling needs a sampler that leaves each distribution invariant, such as mh, mala or hmc"
        found = self.estimates(context)
        if isinstance(found, str):
            return found
        if not all(values.isfinite().all() for values in found):
            return "some of the repeated estimates of log Z are not finite"
        (lower, lower_error), (upper, upper_error) = map(mean_and_error, found[:2])
        ess = found[2].mean().item()
        if not lower - lower_error <= upper + upper_error:
            what = f"the bounds of log Z cross, {lower:.4g} +- {lower_error:.2g} and {upper:.4g} +- {upper_error:.2g}"
            context.warn(f"ais: {what}: the samples do not follow the model, or metric.ais.n_temperatures is too small")
        if ess < FEW:
            what = f"the effective sample size is only {ess:.2%} of the number of chains, and the lower bound may be loose"
            context.warn(f"ais: {what}: increase metric.ais.n_temperatures")
        return {
            **{"ais_log_z_lower": lower, "ais_log_z_lower_error": lower_error},
            **{"ais_log_z_upper": upper, "ais_log_z_upper_error": upper_error},
            **nll(at_data(context), (lower, lower_error), (upper, upper_error)),
            "ais_ess": ess,
        }

    def estimates(self, context: MetricContext) -> tuple[Tensor, Tensor, Tensor] | str:
        """The lower and upper bounds, in nats and data units, and the effective sample size as a fraction, each (n_repeats,)."""
        reference, rng = context.reference, context.rng.at("ais")
        path, params = AnnealingPath(context.model, reference.reference), context.params | reference.named | self._coordinates(context)
        ends = self._of_model(context, params)
        if not ends.isfinite().all():
            return "the samples are not finite"
        betas, n = schedule(self.n_temperatures).to(ends), self.n_repeats * self.n_chains
        steps = self._pilot(path, params, in_coordinates(params, reference.draw(n, rng.at("pilot"))), betas, rng.at("pilot"))
        starts = in_coordinates(params, reference.draw(n, rng))
        up, _ = self._weights(path, params, starts, betas, steps, rng.at("up"), upwards=True)
        down, _ = self._weights(path, params, ends, betas, steps, rng.at("down"), upwards=False)
        return self._bounds(up, down, context.dataset.standardization.log_det)

    def _bounds(self, up: Tensor, down: Tensor, constant: Tensor | float) -> tuple[Tensor, Tensor, Tensor]:
        """The lower and upper bounds and the effective sample size of each repeat, from all weights, (n_repeats * n_chains,)."""
        up, down = up.view(self.n_repeats, -1), down.view(self.n_repeats, -1)
        ess = (2 * up.logsumexp(-1) - (2 * up).logsumexp(-1)).exp() / up.shape[-1]
        return log_mean_exp(up) + constant, constant - log_mean_exp(-down), ess

    def _coordinates(self, context: MetricContext) -> Params:
        """The mean and scale of the path's coordinates. Real events are standardized by the training data."""
        x = beside(context.model, context.params, context.split("train", N_DATA))
        if "real" not in context.dataset.provides:
            return {"wrapper.mean": torch.zeros_like(x[0]), "wrapper.scale": torch.ones_like(x[0])}
        return {"wrapper.mean": x.mean(0), "wrapper.scale": event_scale(x, len(context.dataset.shape))}

    def _of_model(self, context: MetricContext, params: Params) -> Tensor:
        """Draws from the model, from which the downward chains start, (n_repeats * n_chains, *d) in the coordinates of the path."""
        n, rng = self.n_repeats * self.n_chains, context.rng.at("ais").at("of_model")
        grid = "no grid"
        if "real" in context.dataset.provides and len(context.dataset.shape) == 1 and context.dataset.shape[0] <= GRIDDED:
            grid = Quadrature(tolerance=0.01, margin=1.5).on_grid(context)
        if isinstance(grid, str):
            points = context.samples.flatten(0, 1)
            x = points[rng.permutation("rows", len(points))[torch.arange(n, device=points.device) % len(points)]]
        else:
            x = grid.draw(n, rng)
        return in_coordinates(params, x.to(params["wrapper.mean"]))

    def _pilot(self, path: AnnealingPath, params: Params, u: Tensor, betas: Tensor, rng: Rng) -> list[Tensor | None]:
        """A step size for each temperature, adapted to the acceptance in an upward run; None if the sampler has nothing to adapt."""
        if self.sampler.target_acceptance is None:
            return [None] * (len(betas) - 1)
        step_size, found = u.new_tensor(self.sampler.step_size), []
        for k, beta in enumerate(betas[1:]):
            u, acceptance = self._move(path, params, beta, step_size, u, rng.at(k))
            step_size = chain.adapted(step_size, acceptance, self.sampler.target_acceptance, rate=PILOT_RATE)
            found.append(step_size)
        return found

    def _weights(
        self, path: Wrapper, params: Params, u: Tensor, betas: Tensor, steps: list[Tensor | None], rng: Rng, *, upwards: bool
    ) -> tuple[Tensor, Tensor]:
        """w of each chain, (n,), in double precision on the CPU, and the final states, (n, *d)."""
        w = torch.zeros(len(u), dtype=torch.double, device=u.device)
        for k in range(len(steps)) if upwards else reversed(range(len(steps))):
            if not upwards:
                u, _ = self._move(path, params, betas[k + 1], steps[k], u, rng.at(k))
            w += path.fall(params, u, betas[k], betas[k + 1])
            if upwards:
                u, _ = self._move(path, params, betas[k + 1], steps[k], u, rng.at(k))
        return w.cpu(), u

    def _move(
        self, path: Wrapper, params: Params, beta: Tensor, step_size: Tensor | None, u: Tensor, rng: Rng
    ) -> tuple[Tensor, Tensor | None]:
        """The state after one transition at a temperature, and the mean acceptance rate."""
        params = params | {"wrapper.beta": beta}
        state = self.sampler.init(path, params, u)
        if step_size is not None:
            state = state._replace(step_size=step_size)
        noise = tuple(part.squeeze(0) for part in self.sampler.noise(rng, state, 1))
        state, info = self.sampler.step(path, params, state, noise)
        return state.x, info["acceptance_rate"].to(u.dtype).mean() if "acceptance_rate" in info else None


def in_coordinates(params: Params, x: Tensor) -> Tensor:
    """The coordinates of the path, u = (x - mean) / scale."""
    return (x - params["wrapper.mean"]) / params["wrapper.scale"]


def schedule(n: int) -> Tensor:
    """b_0 = 0, ..., b_n = 1, (n + 1,), with smaller steps at both ends."""
    sigmoid = torch.sigmoid(SPREAD * torch.linspace(-1, 1, n + 1, dtype=torch.double))
    return (sigmoid - sigmoid[0]) / (sigmoid[-1] - sigmoid[0])


def log_mean_exp(w: Tensor) -> Tensor:
    """The log of the mean of exp(w), (R, n) -> (R,)."""
    return w.logsumexp(-1) - math.log(w.shape[-1])


def nll(energy: Tensor, lower: tuple[float, float], upper: tuple[float, float]) -> dict[str, float | str]:
    """Bounds of the NLL, from the energies at held-out points, (N,), and the bounds of log Z with their errors."""
    if len(energy) < 2:
        return dict.fromkeys(("ais_nll_lower", "ais_nll_upper"), f"{len(energy)} held-out points are too few for an error estimate")
    if not energy.isfinite().all():
        return dict.fromkeys(("ais_nll_lower", "ais_nll_upper"), "the energy is not finite at some held-out points")
    mean, error = mean_and_error(energy)
    lows, highs = zip(*((bound - math.hypot(error, half), bound + math.hypot(error, half)) for bound, half in (lower, upper)), strict=True)
    return {
        "ais_nll_lower": mean + min(lows),
        "ais_nll_upper": mean + max(highs),
    }  # also if the bounds cross, by chance or by biased samples


def mean_and_error(values: Tensor) -> tuple[float, float]:
    """The mean of at least two values, and half its 95 % Student t interval."""
    n = len(values)
    return values.mean().item(), quantile(n - 1) * (values.std() / n**0.5).item()
