"""Measure a trained model, or every model of a stack, and summarize the numbers over the seeds."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from torch import Tensor

from ebm_cli import console
from ebm_cli.config import compatibility
from ebm_cli.core.contracts import Dataset, Objective
from ebm_cli.core.metric import Metric, MetricContext, NoEvents, no_events
from ebm_cli.core.student_t import interval, mean
from ebm_cli.runner import estimators
from ebm_cli.runner.trained_model import TrainedModel
from ebm_cli.runs.run import Run
from ebm_cli.types import Best, Numbers

N_TEST = 4096  # maximum number of test points for the loss
LOSS = {"test_loss": "", "log_z_learned": "nats", "selected_step": "", "selected_validation": ""}  # the numbers of `test_loss`
BEST: dict[str, Best] = {"test_loss": "min"}  # ranks runs of one objective only: different objectives have losses on different scales

Tell = Callable[[str], None]


def evaluate_models(
    trained: TrainedModel,
    dataset: Dataset,
    metrics: Mapping[str, Metric],
    samples: Tensor | None,
    *,
    final: bool,
    warn: Tell = lambda line: None,
    tell: Tell = lambda part: None,
) -> list[Numbers]:
    """One set of numbers for each seed. Metrics with `final_only` are measured only at the end of training. `tell` gets their names."""
    rows, measured = [], {name: metric for name, metric in metrics.items() if final or not metric.final_only}
    for k, seed in enumerate(trained.rng.seed_list):
        model, row, sums = trained.select(k), {}, set()
        part = samples[k] if samples is not None and trained.rng.model_shape else samples
        context = MetricContext(model.model, model.params, dataset, model.rng, part, final, warn, model.reference)
        provides = model.model.provides | dataset.provides
        for i, (name, metric) in enumerate(measured.items(), start=1):
            tell(f"{name} ({i} of {len(measured)}{f', seed {seed}' if trained.rng.model_shape else ''})")
            lacking = compatibility.lacking(requirements(metric), provides)
            try:
                found = lacking or metric(context)
            except NoEvents as reason:
                found = str(reason)
            expected = () if lacking else metric.expected(dataset)
            found = dict.fromkeys(metric.units, found) if isinstance(found, str) else found
            row = joined(row, found, expected, sums, is_sum=name in estimators.EXACT)
        rows.append(row)
    return rows


def joined(row: Numbers, found: Numbers, expected: Collection[str], sums: set[str], *, is_sum: bool) -> Numbers:
    """A row with the numbers of one more metric, some of which another metric may have given: both have a `kl`, for example.

    A number of an exact sum, whose names are collected in `sums`, stays, and has no error of another metric beside it. Otherwise the last
    metric that is expected to have it on this dataset gives it.
    """
    if is_sum:
        new = {key for key in found if _number(found[key]) is not None}
        row = {key: value for key, value in row.items() if key.removesuffix("_error") not in new}
        sums |= new
    else:
        found = {key: value for key, value in found.items() if key.removesuffix("_error") not in sums}
    return row | {key: value for key, value in found.items() if key in expected or key not in row}


def exact(metrics: Mapping[str, Metric], trained: TrainedModel, dataset: Dataset) -> str:
    """The name of the metric whose log Z a row contains as `log_z`: the last that applies, as in `evaluate_models`."""
    provides, found = trained.model.provides | dataset.provides, "quadrature"
    for name in [name for name in metrics if name in estimators.EXACT]:
        if not compatibility.lacking(requirements(metrics[name]), provides) and "log_z" in metrics[name].expected(dataset):
            found = name
    return found


def requirements(metric: Metric) -> frozenset[str]:
    """The requirements of a metric and of its sampler, if it has one."""
    sampler = getattr(metric, "sampler", None)
    return metric.requires | (frozenset() if sampler is None else sampler.requires)


def test_loss(trained: TrainedModel, dataset: Dataset, objective: Objective) -> list[Numbers]:
    """The mean loss of the objective on the test split, and what training found: log Z, the selected step and its number."""
    rows = []
    for k, _ in enumerate(trained.rng.seed_list):
        model, row = trained.select(k), {}
        x, y = dataset.split("test", N_TEST, model.rng)
        if not len(x):
            row["test_loss"] = no_events("test")
        elif objective.loss_is_comparable:
            params = model.params | ({"label": y} if model.network.takes_labels else {})
            aux, _, _ = objective.prepare(model.network, params, model.carry, x, model.rng.at("test_loss"))
            loss, _ = objective.loss(model.network, params, x, aux)
            row["test_loss"] = loss.detach().cpu().double().mean().item()
        else:
            row["test_loss"] = "the loss of this objective does not measure the fit"
        if "log_z" in model.params:
            row["log_z_learned"] = model.params["log_z"].item() + model.standardization.log_det
        if model.selection is not None:
            number = model.selection["number"].item()
            known = number if math.isfinite(number) else "the number on the validation events was not known at any step"
            row |= {"selected_step": int(model.selection["step"]), "selected_validation": known}
        rows.append(row)
    return rows


def summarize(rows: Sequence[Numbers], *, stacked: bool, unaveraged: Collection[str] = ()) -> dict[str, Any]:
    """The numbers as summary.json stores them. A missing number is null, with a reason in `reasons`.

    A stack has the mean over its seeds, `per_seed`, `ci95` (the 95 % Student t interval of the mean), and a reason for each seed without a
    number. If a seed has no number, there is no mean either. Numbers in `unaveraged` are given for each seed only: a mean of p-values is
    not a p-value, and a mean of standard errors is not the standard error of the mean.
    """
    values = columns(rows)
    missing = [key for key in values if None in values[key]]
    reasons = {key: [None if _number(row.get(key)) is not None else _reason(row.get(key)) for row in rows] for key in missing}
    if not stacked:
        return {key: values[key][0] for key in values} | {"reasons": {key: reasons[key][0] for key in missing}}
    means = {key: None if key in unaveraged else mean(values[key]) for key in values}
    return means | {
        "per_seed": values,
        "ci95": {key: interval(values[key]) for key in values if means[key] is not None},
        "reasons": reasons,
    }


def columns(rows: Sequence[Numbers]) -> dict[str, list[float | None]]:
    """Every number for each seed; None for a missing number."""
    keys = dict.fromkeys(key for row in rows for key in row)
    return {key: [_number(row.get(key)) for row in rows] for key in keys}


def stored_numbers(run: Run, trained: TrainedModel, model: int) -> dict[str, Any]:
    """The summary of a run if it was measured on the parameters of this model; {} with a warning if it was measured on others.

    So log Z is never joined with the energy of another checkpoint.
    """
    summary = run.read("summary.json")
    if not summary or summary.get("parameters", [])[model : model + 1] == [trained.digest]:
        return summary
    console.say(
        f"warning: the numbers of {run.path.name} were measured on other parameters than those of its checkpoint, so log Z is unknown; "
        f"`ebm evaluate {run.id}` measures them again"
    )
    return {}


def _number(value: float | str | None) -> float | None:
    return value if isinstance(value, (int, float)) and math.isfinite(value) else None


def _reason(value: float | str | None) -> str:
    return value if isinstance(value, str) else f"the value is {value}"
