"""The number by which the runs of a sweep are compared: `sweep.metric` or, if it is null, a number that all of its runs will have."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ebm_cli.config import compatibility, schema
from ebm_cli.core.contracts import Dataset
from ebm_cli.core.metric import Metric
from ebm_cli.errors import Problem, nearest
from ebm_cli.runner import evaluate, results
from ebm_cli.types import Best

USUAL = "kl"  # a table that is sorted by it needs no note
LOSS = "test_loss"
LAST = "train_seconds"  # every run has it


@dataclass
class Ranking:
    """The number, after the lines of the sweep have been checked."""

    metric: str = ""
    best: Best = "min"
    _common: dict[str, Best] = field(default_factory=dict)  # the numbers that all lines so far will have and that have a best value
    _objectives: list[Any] = field(default_factory=list)  # the different objectives of these lines

    def check(self, typed: Mapping[str, Any], dataset: Dataset) -> list[Problem]:
        """The problem of a line that will not have the number."""
        metrics = {name: schema.build(node) for name, node in typed["metric"].items()}
        direction, found = typed["sweep"]["direction"], expected(typed, metrics, dataset)
        known = {key: direction if direction is not None else results.best_of(metrics).get(key) for key in found}
        first, self._objectives = not self._objectives, [node for node in self._objectives if node != typed["objective"]]
        self._objectives.append(typed["objective"])
        ranked = {key: best for key, best in known.items() if best is not None}
        self._common = {key: best for key, best in ranked.items() if first or key in self._common}
        self.metric = typed["sweep"]["metric"] or ""
        if not self.metric:
            return []
        if self.metric not in (units := results.units_of(metrics)):
            return [Problem(f"sweep.metric={self.metric}: no run will have this metric", nearest(self.metric, units))]
        if self.metric not in known:
            message = f"sweep.metric={self.metric}: runs with these data, this objective and metric=[{','.join(metrics)}] will not have it"
            others = " or ".join(key for key in ranked if key not in results.COSTS) or LAST
            return [Problem(message, f"add a metric, or choose {others}")]
        if known[self.metric] is None:
            message = f"sweep.metric={self.metric}: this metric has no direction of its own"
            return [Problem(message, "add sweep.direction=min or sweep.direction=max")]
        self.best = known[self.metric]
        return []

    def choose(self, *, search: bool) -> tuple[str, list[Problem]]:
        """A note about the number that was chosen, "" if it is the usual one or was given; and the problem of a search without one."""
        if self.metric or not self._objectives:
            return "", []
        usable = [key for key in self._common if key not in results.COSTS and (key != LOSS or len(self._objectives) == 1)]
        if not usable and search:
            message = "sweep.metric: the runs of this search have no number in common that measures the fit"
            return "", [Problem(message, "add a metric, for example metric=[sliced_wasserstein], or choose a number: sweep.metric=NAME")]
        fault = "" if usable else "no number that all runs have measures the fit: "
        self.metric = usable[0] if usable else LAST
        self.best = self._common[self.metric]
        return (
            "" if self.metric == USUAL else f"{fault}the runs are compared by {self.metric}; sweep.metric=NAME chooses another number",
            [],
        )


def expected(typed: Mapping[str, Any], metrics: Mapping[str, Metric], dataset: Dataset) -> list[str]:
    """The numbers that a run of a config will have, unless one of them cannot be computed: the headlines first."""
    provides = compatibility.provides(typed)
    usable = [metric for metric in metrics.values() if not compatibility.lacking(evaluate.requirements(metric), provides)]
    measured = [key for metric in usable for key in metric.expected(dataset)]
    headlines = [key for metric in usable for key in metric.headline if key in measured]
    comparable = compatibility.class_of(typed["objective"], "objective").loss_is_comparable
    others = [key for key in (*evaluate.LOSS, *results.COSTS) if key != LOSS or comparable]
    return list(dict.fromkeys([*headlines, *measured, *others]))
