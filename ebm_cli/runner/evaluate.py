"""Measure a trained model, or every model of a stack, and sum up over the seeds."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from torch import Tensor

from ebm_cli.core.metric_context import MetricContext
from ebm_cli.core.student_t import interval
from ebm_cli.runner.trained_model import TrainedModel
from ebm_cli.types import Dataset, Metric, Objective

N_TEST = 4096  # test points of the loss
LOSS = {"test_loss": "", "log_z_learned": "nats"}  # what `test_loss` gives, with units
BEST = {"test_loss": "least"}  # of one objective: the losses of two are two scales

Warn = Callable[[str], None]
Numbers = dict[str, float | str]  # where a metric does not apply: the sentence that says why


def evaluate_models(
    trained: TrainedModel,
    dataset: Dataset,
    metrics: Mapping[str, Metric],
    samples: Tensor | None,
    *,
    final: bool,
    warn: Warn = lambda line: None,
) -> list[Numbers]:
    """One set of numbers per seed; before the end of training those of metrics that do not wait for it."""
    rows = []
    for k, _ in enumerate(trained.rng.seed_list):
        one, row = trained.select(k), {}
        part = samples[k] if samples is not None and trained.rng.model_shape else samples
        context = MetricContext(one.model, one.params, dataset, one.rng, part, final, warn)
        for metric in metrics.values():
            if final or not metric.waits:
                found = metric(context)
                row |= dict.fromkeys(metric.units, found) if isinstance(found, str) else found
        rows.append(row)
    return rows


def test_loss(trained: TrainedModel, dataset: Dataset, objective: Objective) -> list[Numbers]:
    """The objective's mean loss on the test split, with the log Z that it learned."""
    rows = []
    for k, _ in enumerate(trained.rng.seed_list):
        one, row = trained.select(k), {}
        if objective.loss_is_comparable:
            x = dataset.split("test", N_TEST, one.rng)
            aux, _, _ = objective.prepare(one.network, one.params, one.carry, x, one.rng.at("test_loss"))
            loss, _ = objective.loss(one.network, one.params, x, aux)
            row["test_loss"] = loss.detach().cpu().double().mean().item()
        else:
            row["test_loss"] = "the value of this objective's loss says nothing about the fit"
        if "log_z" in one.params:
            row["log_z_learned"] = one.params["log_z"].item() + one.standardization.log_det
        rows.append(row)
    return rows


def summarise(rows: Sequence[Numbers], *, stacked: bool, unaveraged: Collection[str] = ()) -> dict[str, Any]:
    """Numbers as they stand in summary.json: null with its reason where there is none.

    Of a stack: the mean over seeds, with `per_seed` and `ci95`, the 95 % Student t interval of the mean; a reason for each seed that has
    no number. One seed without a number leaves the mean without one too: a mean over those that did well would flatter. What is
    `unaveraged` stands under its seeds alone: a mean of p-values is no p-value, and one of standard errors not the mean's.
    """
    values = columns(rows)
    lack = [key for key in values if None in values[key]]
    reasons = {key: [None if _number(row.get(key)) is not None else _reason(row.get(key)) for row in rows] for key in lack}
    if not stacked:
        return {key: values[key][0] for key in values} | {"reasons": {key: reasons[key][0] for key in lack}}
    means = {key: None if key in reasons or key in unaveraged else sum(values[key]) / len(rows) for key in values}
    return means | {
        "per_seed": values,
        "ci95": {key: interval(values[key]) for key in values if means[key] is not None},
        "reasons": reasons,
    }


def columns(rows: Sequence[Numbers]) -> dict[str, list[float | None]]:
    """Each metric's number for every seed; None where there is none."""
    keys = dict.fromkeys(key for row in rows for key in row)
    return {key: [_number(row.get(key)) for row in rows] for key in keys}


def of_model(summary: Mapping[str, Any], key: str, model: int) -> float | None:
    """A number of one model of a stack, or of the only one."""
    return summary["per_seed"][key][model] if key in summary.get("per_seed", ()) else summary.get(key)


def log_z(summary: Mapping[str, Any], model: int) -> tuple[float | None, float | None, str]:
    """log Z of one model, its error where there is one, both in nats, and whence they come: quadrature, else AIS, else the objective.

    Of the stochastic bounds of AIS the middle of lower - its error .. upper + its error, and half the width: the error of a 95 % interval.
    """
    found = of_model(summary, "log_z", model)
    if found is not None:
        return found, of_model(summary, "log_z_error", model), "by quadrature"
    ends = [of_model(summary, f"ais_log_z_{name}", model) for name in ("lower", "lower_error", "upper", "upper_error")]
    learned = of_model(summary, "log_z_learned", model), None, "as learned by the objective"
    if None in ends:
        return learned
    lower, lower_error, upper, upper_error = ends
    low, high = lower - lower_error, upper + upper_error
    return ((low + high) / 2, (high - low) / 2, "between the bounds of annealed importance sampling") if low <= high else learned


def _number(value: float | str | None) -> float | None:
    return value if isinstance(value, (int, float)) and math.isfinite(value) else None


def _reason(value: float | str | None) -> str:
    return value if isinstance(value, str) else f"the value is {value}"
