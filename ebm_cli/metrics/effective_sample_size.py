"""Effective sample size of the chains. Vehtari et al. 2021, without ranks; Geyer 1992; Gelman et al. 2013, section 11.5.

    ESS = M N / tau,    tau = -1 + 2 sum_k P_k,    P_k = rho_2k + rho_2k+1,    rho_t = 1 - V_t / (2 v)

for M chains of N draws and each coordinate; the smallest ESS is reported. V_t is the mean of (x_{i+t} - x_i)^2, and
v = W (N - 1) / N + B / N is the variance including that between the chains, so that chains in different places have a small ESS. The P_k
are summed as long as they are positive, each truncated to its predecessor (Geyer's initial monotone sequence). No evaluations of the
model are needed. The estimate is unreliable for chains of a few draws, because the sum then ends before the correlation has decayed.

A bit is a poor observable: it may be constant (the border of a digit), or mix fast while the phase of all bits does not. For bits and
categories the coordinates are therefore replaced by signs of observables that all coordinates enter,

    sign(m - median m),    sign(w_k'(s - mean s)) with w_k ~ N(0, I), k = 1 .. `n_projections`,    sign(E - median E)

with the magnetization m = sum_i s_i, spins s of bits (indicators of categories, without m), and the energy if the model has one. Signs have
bounded variance whatever the distribution of the observable. Observables that do not change are left out.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ebm_cli.core.indicators import columns
from ebm_cli.core.metric import Metric, MetricContext
from ebm_cli.core.pointwise import energy_of
from ebm_cli.core.states import is_discrete
from ebm_cli.types import Best, Count

FEWEST = 4  # minimum number of draws per chain


@dataclass(frozen=True)
class EffectiveSampleSize(Metric):
    """`n_projections` random directions for bits and categories."""

    n_projections: Count
    units: ClassVar[Mapping[str, str]] = {"ess": "", "ess_per_draw": ""}
    best: ClassVar[Mapping[str, Best]] = {"ess": "max", "ess_per_draw": "max"}
    final_only: ClassVar[bool] = True

    def __call__(self, context: MetricContext) -> dict[str, float | str] | str:
        x = context.samples.flatten(2).cpu().double()
        if context.dataset is not None and is_discrete(context.dataset.space) and x.isfinite().all():
            x = signs(context, self.n_projections)
        if reason := unfit(x):
            return reason
        ess = effective_sample_size(x).min().item()
        return {"ess": ess, "ess_per_draw": ess / x[..., 0].numel()}


def signs(context: MetricContext, n: int) -> Tensor:
    """The signs of observables of bits or categories that change, (M, N, K); K = 1 and a constant if none changes."""
    space, shape = context.dataset.space, context.samples.shape[:2]
    s = columns(context.samples, space).cpu()
    directions = context.rng.at("effective_sample_size").normal("directions", s.shape[-1], n).cpu().double()
    found = [s @ directions]
    found[0] = found[0] - found[0].mean((0, 1))
    if space.kind == "binary":
        m = s.sum(-1, keepdim=True)
        found.append(m - m.median())
    if {"energy", "unconditional"} <= context.model.provides:
        energy = energy_of(context.model, context.params, context.samples.flatten(0, 1)).cpu().double().view(*shape, 1)
        found.append(energy - energy.median())
    observable = (torch.cat(found, -1) > 0).double()
    changes = ~(observable == observable[:1, :1]).all(0).all(0)
    return observable[..., changes] if changes.any() else observable[..., :1]


def unfit(x: Tensor) -> str | None:
    """The reason why convergence diagnostics do not apply to chains (M, N, D); None if they apply."""
    if not x.isfinite().all():
        return "the samples are not finite"
    if x.shape[1] < FEWEST:
        return f"chains of {x.shape[1]} draws are too short: decrease n_chains or increase n_samples"
    if (x == x[:, :1]).all(0).all(0).any():
        return "the chains do not move"
    return None


def effective_sample_size(x: Tensor) -> Tensor:
    """The effective sample size of each coordinate, (M, N, D) -> (D,)."""
    n_chains, n = x.shape[:2]
    x = x - x.mean((0, 1))
    within = x.var(1).mean(0)
    between = x.mean(1).var(0) if n_chains > 1 else torch.zeros_like(within)
    rho = 1 - variogram(x) / (2 * (within * (n - 1) / n + between))
    pairs = rho[: n - n % 2].unflatten(0, (-1, 2)).sum(1)
    pairs = torch.where((pairs > 0).cumprod(0) > 0, pairs, 0).cummin(0).values
    tau = (2 * pairs.sum(0) - 1).clamp(min=1 / math.log10(n_chains * n))  # a bound for antithetic chains, as in Stan
    return n_chains * n / tau


def variogram(x: Tensor) -> Tensor:
    """V_t, the mean of (x_{i+t} - x_i)^2 over i and chains, for t = 0 .. N - 1: (M, N, D) -> (N, D)."""
    n = x.shape[1]
    spectrum = torch.fft.rfft(x, 2 * n, dim=1).abs().square().mean(0)
    product = torch.fft.irfft(spectrum, 2 * n, dim=0)[:n]  # the sum of x_i x_{i+t}
    square = x.square().mean(0)
    first, last = square.cumsum(0).flip(0), square.flip(0).cumsum(0).flip(0)  # the sums over i < N - t and over i >= t
    return (first + last - 2 * product) / torch.arange(n, 0, -1, dtype=x.dtype).unsqueeze(-1)
