"""The magnetization of samples of bits, with its autocorrelation, beside that of the data.

    m = mean over the bits of an event of s_i = 2 x_i - 1

`magnetization` is the mean of m, which is 0 for an Ising model without a field, and `magnetization_error` its standard error, the standard
deviation of m divided by the square root of the effective sample size (Geyer 1992). `abs_magnetization` is the mean of |m|, the order
parameter, and that of the held-out data stands beside it. `magnetization_time` is the integrated autocorrelation time of m in kept draws,
M N / ESS for M chains of N draws: 1 for independent draws. If chains stay in different states, it is of the order of their length or above.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ebm_cli.core.metric import Metric, MetricContext, no_events
from ebm_cli.metrics.effective_sample_size import FEWEST, effective_sample_size
from ebm_cli.types import Best, Count

SHORT = f"chains of fewer than {FEWEST} draws are too short: decrease n_chains or increase n_samples"


@dataclass(frozen=True)
class Magnetization(Metric):
    """Up to `n_points` held-out events."""

    n_points: Count
    requires: ClassVar[frozenset[str]] = frozenset({"binary"})
    units: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("magnetization", "magnetization_error", "abs_magnetization", "abs_magnetization_data", "magnetization_time"), ""
    )
    headline: ClassVar[Sequence[str]] = ("abs_magnetization", "magnetization_time")
    best: ClassVar[Mapping[str, Best]] = {"magnetization_time": "min"}
    unaveraged: ClassVar[Sequence[str]] = ("magnetization_error",)
    final_only: ClassVar[bool] = True

    def __call__(self, context: MetricContext) -> dict[str, float | str] | str:
        m = of_events(context.samples, 2).cpu()  # (n_chains, n_draws)
        if not m.isfinite().all():
            return "the samples are not finite"
        data = context.dataset.split("test", self.n_points, context.rng).x
        of_data = of_events(data, 1).abs().mean().item() if len(data) else no_events("test")
        short = m.shape[1] < FEWEST
        reason = SHORT if short else "the magnetization does not change" if (m == m.flatten()[0]).all() else None
        ess = None if reason else effective_sample_size(m.unsqueeze(-1)).item()
        return {
            "magnetization": m.mean().item(),
            "magnetization_error": reason or m.std().item() / ess**0.5,
            "abs_magnetization": m.abs().mean().item(),
            "abs_magnetization_data": of_data,
            "magnetization_time": reason or m.numel() / ess,
        }


def of_events(x: Tensor, batch: int) -> Tensor:
    """m of every event, (B, ..., *d) -> (B, ...), with `batch` axes before the event."""
    return (2 * x.flatten(batch).double() - 1).mean(-1)
