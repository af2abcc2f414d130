"""Effective sample size of the chains. Vehtari et al. 2021, without ranks; Geyer 1992; Gelman et al. 2013, section 11.5.

    ESS = M N / tau,    tau = -1 + 2 sum_k P_k,    P_k = rho_2k + rho_2k+1,    rho_t = 1 - V_t / (2 v)

for M chains of N draws and each coordinate; the smallest ESS is reported. V_t is the mean of (x_{i+t} - x_i)^2, and
v = W (N - 1) / N + B / N is the variance including that between the chains, so that chains in different places have a small ESS. The P_k
are summed as long as they are positive, each truncated to its predecessor (Geyer's initial monotone sequence). No evaluations of the
model are needed. The estimate is unreliable for chains of a few draws, because the sum then ends before the correlation has decayed.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ebm_cli.core.metric import Metric, MetricContext
from ebm_cli.types import Best

FEWEST = 4  # minimum number of draws per chain


@dataclass(frozen=True)
class EffectiveSampleSize(Metric):
    units: ClassVar[Mapping[str, str]] = {"ess": "", "ess_per_draw": ""}
    best: ClassVar[Mapping[str, Best]] = {"ess": "max", "ess_per_draw": "max"}
    final_only: ClassVar[bool] = True

    def __call__(self, context: MetricContext) -> dict[str, float | str] | str:
        x = context.samples.flatten(2).cpu().double()
        if reason := unfit(x):
            return reason
        ess = effective_sample_size(x).min().item()
        return {"ess": ess, "ess_per_draw": ess / x[..., 0].numel()}


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
