"""log Z in any dimension between two bounds, by annealed importance sampling. Neal 2001; Grosse, Ghahramani & Adams 2015, arXiv:1511.02543.

    p_k(u) ~ exp(-(1 - b_k) |u|^2 / 2 - b_k E(mean + scale u)),    0 = b_0 < ... < b_K = 1,    b_k a sigmoid of k

from the Gaussian of the training data's moments to the model, one exact transition at each. With w the sum over k of
(b_{k+1} - b_k) (E_0(u) - E(u)), E_0 = |u|^2 / 2, taken before the move at b_{k+1}, the means over chains

    log Z >= log mean exp(w),  u_0 from the Gaussian, upwards          log Z <= -log mean exp(-w),  u_K from the model, downwards

bound log Z in expectation (up to the Gaussian's own constant). Each is repeated; `_error` is half of the 95 % Student t interval of the
mean over R = `n_repeats`, the t quantile of R - 1 degrees of freedom times the standard error: lower - error to upper + error covers
log Z with 95 % at least, so far as the repeats are normal. The NLL's bounds are given with theirs taken off and put on, that of the mean
energy over held-out points included: in squares each with its own quantile, which covers with 95 % at least (Banerjee 1961). The upper
bound needs draws from the model: with one or two coordinates they come from the quadrature's grid, else they are the run's samples, and
it is as good as these. Step sizes are found by a pilot run and then fixed: chains that adapt would not be exact. `ais_ess` is the share of
upward weights that count, (sum w)^2 / (n sum w^2).
Cost: 2 `n_repeats` `n_chains` `n_temperatures` transitions, and half as many for the pilot. Not for networks that output the score.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge
from torch import Tensor

from ebm_cli.core.metric_context import MetricContext
from ebm_cli.core.rng import Rng
from ebm_cli.core.student_t import quantile
from ebm_cli.core.wrappers import AnnealingPath
from ebm_cli.metrics.quadrature import Quadrature, at_data
from ebm_cli.types import Count, Metric, Params, Sampler

SPREAD = 4.0  # of the sigmoid
PACE = 1.0  # of the pilot's step sizes: log eps += PACE (a - a*)
N_DATA = 10_000  # points that moments are taken over
FEW = 0.02  # a share of weights below which they have degenerated
GRIDDED = 2  # coordinates up to which draws of the model come from a grid


@dataclass(frozen=True)
class AnnealedImportanceSampling(Metric):
    """`n_repeats` estimates of `n_chains` chains each, over `n_temperatures` steps, with the transitions of an exact `sampler`."""

    sampler: Sampler
    n_chains: Count
    n_temperatures: Count
    n_repeats: Annotated[int, Ge(2)]
    units: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("ais_log_z_lower", "ais_log_z_lower_error", "ais_log_z_upper", "ais_log_z_upper_error"), "nats"),
        **dict.fromkeys(("ais_nll_lower", "ais_nll_upper"), "nats"),
        "ais_ess": "",
    }
    headline: ClassVar[Sequence[str]] = ("ais_nll_lower", "ais_nll_upper")
    best: ClassVar[Mapping[str, str | float]] = {"ais_nll_upper": "least"}  # a loose lower bound is low too
    unaveraged: ClassVar[Sequence[str]] = ("ais_log_z_lower_error", "ais_log_z_upper_error")
    waits: ClassVar[bool] = True

    def __call__(self, context: MetricContext) -> dict[str, float | str] | str:
        if "energy" not in context.model.provides:
            return "a score network has no energy"
        if self.sampler.target_acceptance is None or self.sampler.has_memory:
            return "annealed importance sampling needs transitions that leave each law as it is: those of mh, mala or hmc"
        found = self.estimates(context)
        if isinstance(found, str):
            return found
        if not all(values.isfinite().all() for values in found):
            return "the weights of some repeats are not finite"
        (lower, lower_error), (upper, upper_error) = map(mean_and_error, found[:2])
        ess = found[2].mean().item()
        if not lower - lower_error <= upper + upper_error:
            what = f"the bounds of log Z cross, {lower:.4g} +- {lower_error:.2g} and {upper:.4g} +- {upper_error:.2g}"
            context.warn(f"ais: {what}: the samples are not yet of the model, or metric.ais.n_temperatures is too small")
        if ess < FEW:
            context.warn(f"ais: only {ess:.2%} of the weights count, the lower bound may be far off: more metric.ais.n_temperatures")
        return {
            **{"ais_log_z_lower": lower, "ais_log_z_lower_error": lower_error},
            **{"ais_log_z_upper": upper, "ais_log_z_upper_error": upper_error},
            **nll(at_data(context), (lower, lower_error), (upper, upper_error)),
            "ais_ess": ess,
        }

    def estimates(self, context: MetricContext) -> tuple[Tensor, Tensor, Tensor] | str:
        """From below and from above, in nats and data units, and the share of weights that count, each (n_repeats,)."""
        bridge, params = AnnealingPath(context.model), context.params | self._ends(context)
        starts, rng = self._of_model(context, params), context.rng.at("ais")
        if not starts.isfinite().all():
            return "the samples are not finite"
        betas = schedule(self.n_temperatures).to(starts)
        steps = self._pilot(bridge, params, betas, rng.at("pilot"))
        noise = rng.normal("start", *starts.shape)
        up = self._weights(bridge, params, noise, betas, steps, rng.at("up"), upwards=True).view(self.n_repeats, -1)
        down = self._weights(bridge, params, starts, betas, steps, rng.at("down"), upwards=False).view(self.n_repeats, -1)
        constant = 0.5 * starts[0].numel() * math.log(2 * math.pi) + params["wrapper.scale"].double().log().sum().item()
        constant += context.dataset.standardization.log_det
        ess = (2 * up.logsumexp(-1) - (2 * up).logsumexp(-1)).exp() / up.shape[-1]
        return log_mean_exp(up) + constant, constant - log_mean_exp(-down), ess

    def _ends(self, context: MetricContext) -> Params:
        """Where the bridge begins: the moments of the training data."""
        x = context.dataset.split("train", N_DATA, context.rng).to(context.params[context.model.names[0]])
        return {"wrapper.mean": x.mean(0), "wrapper.scale": x.std(0)}

    def _of_model(self, context: MetricContext, params: Params) -> Tensor:
        """Draws from the model for the ways down, (n_repeats * n_chains, *d) in the bridge's units."""
        n, rng = self.n_repeats * self.n_chains, context.rng.at("ais").at("of_model")
        grid = "no grid"
        if len(context.dataset.shape) == 1 and context.dataset.shape[0] <= GRIDDED:
            grid = Quadrature(tolerance=0.01, margin=1.5).on_grid(context)
        if isinstance(grid, str):
            points = context.samples.flatten(0, 1)
            x = points[rng.permutation("rows", len(points))[torch.arange(n, device=points.device) % len(points)]]
        else:
            x = grid.draw(n, rng)
        return (x.to(params["wrapper.mean"]) - params["wrapper.mean"]) / params["wrapper.scale"]

    def _pilot(self, bridge: AnnealingPath, params: Params, betas: Tensor, rng: Rng) -> Tensor:
        """A step size for each temperature, (K,), by one way up, on which it follows the acceptance."""
        u = rng.normal("start", self.n_repeats * self.n_chains, *params["wrapper.mean"].shape)
        step_size, found = u.new_tensor(self.sampler.step_size), []
        for k, beta in enumerate(betas[1:]):
            u, acceptance = self._move(bridge, params, beta, step_size, u, rng.at(k))
            step_size = step_size * (PACE * (acceptance - self.sampler.target_acceptance)).exp()
            found.append(step_size)
        return torch.stack(found)

    def _weights(
        self, bridge: AnnealingPath, params: Params, u: Tensor, betas: Tensor, steps: Tensor, rng: Rng, *, upwards: bool
    ) -> Tensor:
        """w of each chain, (n,), in double precision on the CPU."""
        w = torch.zeros(len(u), dtype=torch.double, device=u.device)
        for k in range(len(steps)) if upwards else reversed(range(len(steps))):
            if not upwards:
                u, _ = self._move(bridge, params, betas[k + 1], steps[k], u, rng.at(k))
            w += (betas[k + 1] - betas[k]) * bridge.gap(params, u)
            if upwards:
                u, _ = self._move(bridge, params, betas[k + 1], steps[k], u, rng.at(k))
        return w.cpu()

    def _move(self, bridge: AnnealingPath, params: Params, beta: Tensor, step_size: Tensor, u: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
        """One transition at a temperature, and the mean acceptance."""
        params = params | {"wrapper.beta": beta}
        state = self.sampler.init(bridge, params, u)._replace(step_size=step_size)
        noise = tuple(part.squeeze(0) for part in self.sampler.noise(rng, state, 1))
        state, info = self.sampler.step(bridge, params, state, noise)
        return state.x, info["acceptance_rate"].to(u.dtype).mean()


def schedule(n: int) -> Tensor:
    """b_0 = 0 .. b_n = 1, (n + 1,), dense at both ends."""
    sigmoid = torch.sigmoid(SPREAD * torch.linspace(-1, 1, n + 1, dtype=torch.double))
    return (sigmoid - sigmoid[0]) / (sigmoid[-1] - sigmoid[0])


def log_mean_exp(w: Tensor) -> Tensor:
    """(R, n) -> (R,)."""
    return w.logsumexp(-1) - math.log(w.shape[-1])


def nll(energy: Tensor, lower: tuple[float, float], upper: tuple[float, float]) -> dict[str, float | str]:
    """Bounds from the energies at held-out points, (N,), and those of log Z with their errors."""
    if len(energy) < 2:
        return dict.fromkeys(("ais_nll_lower", "ais_nll_upper"), f"the mean energy of {len(energy)} held-out points has no error")
    if not energy.isfinite().all():
        return dict.fromkeys(("ais_nll_lower", "ais_nll_upper"), "the energy is not finite at some held-out points")
    mean, error = mean_and_error(energy)
    return {"ais_nll_lower": mean + lower[0] - math.hypot(error, lower[1]), "ais_nll_upper": mean + upper[0] + math.hypot(error, upper[1])}


def mean_and_error(values: Tensor) -> tuple[float, float]:
    """With half of the 95 % Student t interval of the mean, of two values at least."""
    n = len(values)
    return values.mean().item(), quantile(n - 1) * (values.std() / n**0.5).item()
