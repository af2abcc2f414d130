"""Measure a trained model, or every model of a stack, and summarise over the seeds."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from torch import Tensor

from ebm_cli.config import compatibility
from ebm_cli.core.contracts import Dataset, Objective
from ebm_cli.core.metric import Metric, MetricContext
from ebm_cli.core.student_t import interval, mean
from ebm_cli.runner.trained_model import TrainedModel
from ebm_cli.types import Best

N_TEST = 4096  # test points of the loss
LOSS = {"test_loss": "", "log_z_learned": "nats"}  # the numbers of `test_loss`, with units
BEST: dict[str, Best] = {"test_loss": "min"}  # within one objective: the losses of two objectives are on two scales

Warn = Callable[[str], None]
Numbers = dict[str, float | str]  # where a number does not apply: a sentence with the reason


def evaluate_models(
    trained: TrainedModel,
    dataset: Dataset,
    metrics: Mapping[str, Metric],
    samples: Tensor | None,
    *,
    final: bool,
    warn: Warn = lambda line: None,
) -> list[Numbers]:
    """One set of numbers per seed; before the end of training without the metrics that are `final_only`."""
    rows = []
    for k, _ in enumerate(trained.rng.seed_list):
        model, row = trained.select(k), {}
        part = samples[k] if samples is not None and trained.rng.model_shape else samples
        context = MetricContext(model.model, model.params, dataset, model.rng, part, final, warn, model.reference)
        provides = model.model.provides | dataset.provides
        for metric in metrics.values():
            if final or not metric.final_only:
                found = compatibility.lacking(requirements(metric), provides) or metric(context)
                row |= dict.fromkeys(metric.units, found) if isinstance(found, str) else found
        rows.append(row)
    return rows


def requirements(metric: Metric) -> frozenset[str]:
    """What a metric requires, and the sampler inside it."""
    sampler = getattr(metric, "sampler", None)
    return metric.requires | (frozenset() if sampler is None else sampler.requires)


def test_loss(trained: TrainedModel, dataset: Dataset, objective: Objective) -> list[Numbers]:
    """The objective's mean loss on the test split, with the log Z that it learned."""
    rows = []
    for k, _ in enumerate(trained.rng.seed_list):
        model, row = trained.select(k), {}
        if objective.loss_is_comparable:
            x, y = dataset.split("test", N_TEST, model.rng)
            params = model.params | ({"label": y} if model.network.takes_labels else {})
            aux, _, _ = objective.prepare(model.network, params, model.carry, x, model.rng.at("test_loss"))
            loss, _ = objective.loss(model.network, params, x, aux)
            row["test_loss"] = loss.detach().cpu().double().mean().item()
        else:
            row["test_loss"] = "the loss of this objective is no measure of the fit"
        if "log_z" in model.params:
            row["log_z_learned"] = model.params["log_z"].item() + model.standardization.log_det
        rows.append(row)
    return rows


def summarise(rows: Sequence[Numbers], *, stacked: bool, unaveraged: Collection[str] = ()) -> dict[str, Any]:
    """Numbers as they are in summary.json: null with its reason where there is none.

    Of a stack: the mean over seeds, with `per_seed` and `ci95`, the 95 % Student t interval of the mean, and a reason for each seed that
    has no number. If one seed has no number, the mean has none either. Numbers that are `unaveraged` are given per seed only: a mean of
    p-values is not a p-value, and a mean of standard errors is not the standard error of the mean.
    """
    values = columns(rows)
    lack = [key for key in values if None in values[key]]
    reasons = {key: [None if _number(row.get(key)) is not None else _reason(row.get(key)) for row in rows] for key in lack}
    if not stacked:
        return {key: values[key][0] for key in values} | {"reasons": {key: reasons[key][0] for key in lack}}
    means = {key: None if key in unaveraged else mean(values[key]) for key in values}
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
    """log Z of one model, its error where there is one, both in nats, and its source: quadrature, else AIS, else the objective.

    Of the stochastic bounds of AIS: the middle of lower - its error .. upper + its error, and half the width, the error of a 95 % interval.
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
