"""log Z, NLL and KL in any dimension, by bridge sampling. Bennett 1976; Meng & Wong 1996; Crooks 1999, cond-mat/9901352.

Draws of a normalized distribution p are compared with the samples of the model. p is the distribution of the data if their density is
known, and otherwise the reference of the run. Let l = -E(x) - log p(x). The density of l under the model is e^{l - log Z} times its density
under p. Therefore, for any shares s_p + s_m = 1, with M = log(s_m / s_p) and the logistic function S,

    s_p E_p S(l - c + M) = s_m E_model S(c - M - l)    at c = log Z.

The left side decreases in c and the right side increases, so the root is unique. With the shares of both kinds among the draws, its
variance is the smallest. No weight exceeds one: both distributions need draws in a common region, but neither has to cover the other.
`bridge_overlap` is

    O = integral of p m / (s_p p + s_m m),    m = e^{-E} / Z,

which is 1 if the distributions are equal and 0 if they are disjoint. If the density of the data is known,

    KL(p || model) = log Z - E_p l,        NLL = log Z + E_p E

are computed from the same draws of p, which are held-out points, so that errors partly cancel. `kl` is given for events without a grid
(metrics/quadrature.py). Let k be the shape of the lower tail of l (core/pareto.py). From k = 1/2 on, l has no variance, and the interval of
its mean is too narrow: it is made three times as wide, with which it covers up to k = 0.7 (tests/metrics/test_bridge.py). Above, `kl` is
refused: the KL divergence may be infinite.

Every `_error` is half a 95 % interval. It is computed from the influence of each draw of p and of each chain on the number (the
infinitesimal jackknife): chains must be independent, but the draws of a chain need not be. The chains must follow the model. This is
tested: at other values of M the equation has the same root. The change of the root is added to the errors, and the numbers are refused if
it is larger than chance explains and than `tolerance`. The test cannot notice a region with mass of the model in which there are no draws.
The cost is one energy and one density for each draw.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, NamedTuple

import torch
from annotated_types import Ge
from torch import Tensor
from torch.nn.functional import logsigmoid

from ebm_cli.core.contracts import Dataset
from ebm_cli.core.metric import Metric, MetricContext, NoEvents
from ebm_cli.core.pareto import RELIABLE, tail_shape
from ebm_cli.core.pointwise import beside, energy_of, in_chunks
from ebm_cli.core.student_t import quantile
from ebm_cli.metrics.quadrature import at_data, has_grid
from ebm_cli.types import Best, Positive

FEWEST = 10  # smallest effective number of draws of p, and of chains, in the common region
OTHER = 3.0  # the test compares the roots for M - OTHER and M + OTHER
BEYOND_CHANCE = 3.0  # standard errors
HEAVY = 0.5  # from this shape of its tail on, l has no variance
ROUNDING = 1e-3  # nats; a smaller spread of l is that of single precision
WIDER = 3.0  # factor on the error of the KL divergence then


class Root(NamedTuple):
    """The root for one M. `by_draw`, (n,), and `by_chain`, (C,), are its changes by single draws of p and single chains, times n or C."""

    log_z: float
    overlap: float
    by_draw: Tensor
    by_chain: Tensor
    n_draws: float  # effective number of draws of p in the common region
    n_chains: float  # effective number of chains there

    def error(self, more: Tensor | float = 0.0) -> float:
        """Half the 95 % interval of log Z plus the mean over draws of p of `more`, (n,). Both standard errors have their own quantile."""
        by_draw, by_chain = standard_error(self.by_draw + more), standard_error(self.by_chain)
        return math.hypot(quantile(int(self.n_draws) - 1) * by_draw, quantile(int(self.n_chains) - 1) * by_chain)


class Bridge(NamedTuple):
    """The root for the best M, and how much the errors grow because it changes with M, in nats."""

    root: Root
    change: float


@dataclass(frozen=True)
class BridgeSampling(Metric):
    """`n_draws` is the number of draws of p. `tolerance`, in nats, is the change of log Z that is accepted when M is changed."""

    n_draws: Annotated[int, Ge(1000)]
    tolerance: Positive
    requires: ClassVar[frozenset[str]] = frozenset({"energy", "unconditional"})
    units: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("kl", "kl_error", "bridge_nll", "bridge_nll_error", "bridge_log_z", "bridge_log_z_error"), "nats"),
        "bridge_overlap": "",
    }
    headline: ClassVar[Sequence[str]] = ("kl", "nll")
    best: ClassVar[Mapping[str, Best]] = {"kl": "min", "nll": "min"}
    unaveraged: ClassVar[Sequence[str]] = ("kl_error", "bridge_nll_error", "bridge_log_z_error")
    final_only: ClassVar[bool] = True

    def expected(self, dataset: Dataset) -> Collection[str]:
        own = ["nll", "log_z", *(key for key in self.units if key.startswith("bridge"))]
        return [*own, "kl", "kl_error"] if "density" in dataset.provides and not has_grid(dataset.shape) else own

    def __call__(self, context: MetricContext) -> dict[str, float | str] | str:
        found = self._numbers(context)
        return found if isinstance(found, str) else {key: found[key] for key in self.units if key in found}

    def _numbers(self, context: MetricContext) -> dict[str, float | str] | str:
        known, samples, constant = "density" in context.dataset.provides, context.samples, context.dataset.standardization.log_det
        if len(samples) < FEWEST:
            return f"the samples come from {len(samples)} chains, and an error estimate needs at least {FEWEST}: increase draws.n_chains"
        if not samples.isfinite().all():
            return "the samples are not finite"
        draws = context.held_out(self.n_draws) if known else context.reference.draw(self.n_draws, context.rng.at("bridge"))
        energy, of_p = energy_and_ratio(context, draws)
        own_energy, of_model = energy_and_ratio(context, samples.flatten(0, 1))
        if not (own_energy.isfinite().all() and (energy > -math.inf).all()):
            return "the energy is not finite at some of the draws"
        found = bridge(of_p, of_model.view(samples.shape[:2]), self.tolerance)
        if isinstance(found, str):
            return found
        root, change = found
        spare = change + torch.finfo(beside(context.model, context.params, draws).dtype).eps * own_energy.abs().mean().item()
        numbers = {"bridge_log_z": root.log_z + constant, "bridge_log_z_error": root.error() + spare, "bridge_overlap": root.overlap}
        numbers |= paired_nll(root, energy, constant, spare) if known else separate_nll(context, root, constant, spare)
        if has_grid(context.dataset.shape):
            return numbers
        return numbers | (kl(root, of_p, spare) if known else both("kl", "the true density of this dataset is not known"))


def energy_and_ratio(context: MetricContext, x: Tensor) -> tuple[Tensor, Tensor]:
    """E and l = -E - log p at points, (N, *d) -> (N,), in double precision."""
    x = beside(context.model, context.params, x)
    log_p = context.dataset.log_prob if "density" in context.dataset.provides else context.reference.log_prob
    energy = energy_of(context.model, context.params, x)
    return energy, -energy - in_chunks(log_p, x)


def bridge(of_p: Tensor, of_model: Tensor, tolerance: float) -> Bridge | str:
    """The bridge from l at the draws of p, (n,), and at those of the model, (C, n_draws). l may be infinite.

    A sentence with the reason is returned if the root cannot be trusted.
    """
    m = math.log(of_model.numel() / len(of_p))
    root = solve(of_p, of_model, m)
    if not (root.n_draws >= FEWEST and root.n_chains >= FEWEST):  # also without NaN
        return "the model and the distribution that it is compared with do not overlap enough"
    low, high = (solve(of_p, of_model, m + shift) for shift in (-OTHER, OTHER))
    moved = abs(low.log_z - high.log_z)
    chance = math.hypot(standard_error(low.by_draw - high.by_draw), standard_error(low.by_chain - high.by_chain))
    if not moved <= max(tolerance, BEYOND_CHANCE * chance):
        what = f"two estimates of log Z differ by {moved:.2g} nats, with a standard error of {chance:.2g}"
        return f"the samples do not follow the model: {what}"
    return Bridge(root, math.sqrt(max(moved**2 - chance**2, 0.0)))


def solve(of_p: Tensor, of_model: Tensor, m: float) -> Root:
    """The root for l at the draws of p, (n,), and at those of the model, (C, n_draws), in double precision, by bisection."""
    model = of_model.flatten()

    def excess(c: float) -> float:
        return (log_mean(logsigmoid(of_p - c + m)) - log_mean(logsigmoid(c - m - model)) - m).item()

    finite = torch.cat([of_p[of_p.isfinite()], model[model.isfinite()], of_p.new_zeros(1)])
    spare = math.log(len(of_p) + len(model))  # without infinite l the root lies between the smallest and the largest l
    low, high = finite.min().item() - spare, finite.max().item() + spare
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if excess(middle) > 0 else (low, middle)
    a, b = (of_p - high + m).sigmoid(), (high - m - of_model).sigmoid()
    slope = (a * (1 - a)).mean() / a.mean() + (b * (1 - b)).mean() / b.mean()
    by_draw, by_chain = (a / a.mean() - 1) / slope, (1 - b.mean(1) / b.mean()) / slope
    return Root(high, (a.mean() * (1 + math.exp(-m))).item(), by_draw, by_chain, n_effective(a), n_effective(b.mean(1)))


def kl(root: Root, of_p: Tensor, spare: float) -> dict[str, float | str]:
    """KL(p || model), from the root and l at the draws of p, (n,), and its error, to which `spare` is added."""
    if not of_p.isfinite().all():
        return both("kl", "the energy is not finite at some held-out points")
    excess = of_p.max() - of_p
    k = tail_shape(excess.log()) if excess.max() > ROUNDING else 0.0  # a constant l has rounding errors, whose tail means nothing
    if k >= RELIABLE:
        return both("kl", f"log p + E has a heavy tail at the held-out points (Pareto k = {k:.2f}): the KL divergence may be infinite")
    error = root.error(of_p.mean() - of_p) * (WIDER if k >= HEAVY else 1.0)
    return {"kl": root.log_z - of_p.mean().item(), "kl_error": error + spare}


def paired_nll(root: Root, energy: Tensor, constant: float, spare: float) -> dict[str, float | str]:
    """The NLL in data units, from the energies at the draws of p from which the root was computed, (n,)."""
    if not energy.isfinite().all():
        return both("bridge_nll", "the energy is not finite at some held-out points")
    value = energy.mean().item() + root.log_z + constant
    return {"bridge_nll": value, "bridge_nll_error": root.error(energy - energy.mean()) + spare}


def separate_nll(context: MetricContext, root: Root, constant: float, spare: float) -> dict[str, float | str]:
    """The NLL in data units at the held-out points, and its error; the reason if there are none."""
    try:
        return nll(root, at_data(context), constant, spare)
    except NoEvents as reason:
        return both("bridge_nll", str(reason))


def nll(root: Root, energy: Tensor, constant: float, spare: float) -> dict[str, float | str]:
    """The NLL in data units, from the energies at held-out points, (N,), which are independent of the root."""
    if len(energy) < 2:
        return both("bridge_nll", f"{len(energy)} held-out points are too few for an error estimate")
    if not energy.isfinite().all():
        return both("bridge_nll", "the energy is not finite at some held-out points")
    error = math.hypot(root.error(), quantile(len(energy) - 1) * standard_error(energy))
    return {"bridge_nll": energy.mean().item() + root.log_z + constant, "bridge_nll_error": error + spare}


def both(key: str, reason: str) -> dict[str, str]:
    """The reason in place of a number and its error."""
    return {key: reason, f"{key}_error": reason}


def standard_error(values: Tensor) -> float:
    """The standard error of the mean of independent values, (n,)."""
    return (values.std() / len(values) ** 0.5).item()


def n_effective(weight: Tensor) -> float:
    """The effective number of weights >= 0, (sum w)^2 / sum w^2. (Kish 1965, 11.7.)"""
    return (weight.sum().square() / weight.square().sum()).item()


def log_mean(w: Tensor) -> Tensor:
    """The log of the mean of exp(w), (n,) -> ()."""
    return w.logsumexp(0) - math.log(len(w))
