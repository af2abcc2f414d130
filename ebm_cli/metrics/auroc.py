"""How well the energy, and the norm of the score, tell anomalies from other events. Fawcett 2006; Davis & Goadrich 2006.

    auroc = P(a > b) + P(a = b) / 2,    a the score of an anomaly, b that of another event

is the area under the ROC curve: 0.5 for a score that knows nothing, 1 if every anomaly has a greater score than every other event. An
anomaly is unlikely, and so its energy is high. `average_precision` is the mean, over the anomalies, of the fraction of anomalies among the
events whose score is at least as great; the fraction of anomalies is its value for a score that knows nothing. Both are computed for the
energy E(x), and as `..._score_norm` for |grad E(x)| in the coordinates of the model. The events are those of the test split, or, without
one (`dataset.test` = 0), all events. They are scored as they are in the file, without the noise that was added to columns on a grid
(core/grids.py): equal rows have equal scores, which are those that `ebm score` writes. The labels are used in no other way: a model is
neither trained nor selected by them. The cost is one energy and one score per event, and a sort.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch import Tensor

from ebm_cli.core.metric import Metric, MetricContext
from ebm_cli.core.pointwise import score_of
from ebm_cli.types import Best

PARTS = {"": "energy", "_score_norm": "norm of the score"}


@dataclass(frozen=True)
class Auroc(Metric):
    """It has no parameters."""

    requires: ClassVar[frozenset[str]] = frozenset({"anomalies", "unconditional"})
    units: ClassVar[Mapping[str, str]] = {f"{name}{part}": "" for part in PARTS for name in ("auroc", "average_precision")}
    headline: ClassVar[Sequence[str]] = ("auroc",)
    best: ClassVar[Mapping[str, Best]] = dict.fromkeys(units, "max")
    final_only: ClassVar[bool] = True

    def __call__(self, context: MetricContext) -> dict[str, float | str] | str:
        data = context.dataset
        split = "test" if len(data.is_anomaly("test")) else "all"
        is_anomaly = data.is_anomaly(split)
        if is_anomaly.all() or not is_anomaly.any():
            return f"{'all' if is_anomaly.any() else 'none'} of the {len(is_anomaly)} events are anomalies: both kinds are needed"
        x = data.exact(split)
        energy: Tensor | str = "the network outputs the score itself: there is no energy"
        if "energy" in context.model.provides:
            energy = context.energy(x)
        norm = score_of(context.model, context.params, x).norm(dim=-1)
        return numbers(energy, is_anomaly, "") | numbers(norm, is_anomaly, "_score_norm")


def numbers(score: Tensor | str, is_anomaly: np.ndarray, part: str) -> dict[str, float | str]:
    """Both numbers of a score (N,), which is greater for anomalies; or the reason why there is none."""
    if isinstance(score, str) or score.isnan().any():
        found = (score if isinstance(score, str) else f"the {PARTS[part]} is not a number at some events",) * 2
    else:
        found = auroc(score.numpy(), is_anomaly), average_precision(score.numpy(), is_anomaly)
    return {f"auroc{part}": found[0], f"average_precision{part}": found[1]}


def auroc(score: np.ndarray, positive: np.ndarray) -> float:
    """P(a > b) + P(a = b) / 2 for a positive a and a negative b, from the midranks of all scores (Mann-Whitney)."""
    _, inverse, counts = np.unique(score, return_inverse=True, return_counts=True)
    midrank = (counts.cumsum() - (counts - 1) / 2)[inverse]  # from 1
    n, m = int(positive.sum()), int((~positive).sum())
    return float((midrank[positive].sum() - n * (n + 1) / 2) / (n * m))


def average_precision(score: np.ndarray, positive: np.ndarray) -> float:
    """The mean over the positives of the precision at their score as a threshold: equal scores are taken together."""
    _, inverse = np.unique(-score, return_inverse=True)
    hits, size = np.bincount(inverse, weights=positive), np.bincount(inverse)
    return float((hits * hits.cumsum() / size.cumsum()).sum() / positive.sum())
