"""log Z and the NLL of a model, from the first of the estimators that has a number.

Each estimator is a metric with numbers of its own, `importance_log_z` for example. A summary also has `log_z`, `log_z_error`, `nll` and
`nll_error`, whatever was measured: those of an exact sum (a quadrature, or on discrete events an enumeration), else of importance sampling,
bridge sampling or annealed importance sampling, in this order. `log_z_by` names the estimator. AIS gives stochastic bounds with errors: the
smallest interval that contains the 95 % intervals of both bounds is taken, its middle as the number and half its width as the error. If the
bounds cross by less than their errors, it still contains both intervals, since the upper bound is too low if the samples do not quite
follow the model.
"""

from collections.abc import Mapping
from typing import Any

from ebm_cli.types import Numbers

COMMON = ("nll", "nll_error", "log_z", "log_z_error")
UNITS = dict.fromkeys(COMMON, "nats")
EXACT = {  # metrics whose numbers have the names in COMMON
    "quadrature": "by quadrature",
    "enumeration": "by an exact sum",
}
SOURCES = EXACT | {
    "importance": "by importance sampling from the reference",
    "bridge": "by bridge sampling",
    "ais": "between the bounds of annealed importance sampling",
}
UNMEASURED = f"none of the metrics {', '.join([*SOURCES][:-1])} and {[*SOURCES][-1]} was selected"


def adopt(row: Numbers, exact: str = "quadrature") -> tuple[Numbers, str]:
    """A row of numbers with those of COMMON, and the name of the estimator they come from; "" if log Z is unknown.

    `exact` is the metric that the numbers with the names in COMMON come from.
    """
    sources = [exact, *(name for name in SOURCES if name not in EXACT)]
    for name in sources:
        found = _of_estimator(row, name)
        if _is_number(found.get("log_z")):
            return row | {key: found.get(key) for key in COMMON if key in found}, name
    reasons = [found["log_z"] for found in (_of_estimator(row, name) for name in sources) if isinstance(found.get("log_z"), str)]
    return row | dict.fromkeys(COMMON, reasons[-1] if reasons else UNMEASURED), ""


def _of_estimator(row: Numbers, name: str) -> dict[str, Any]:
    """The numbers of an estimator, or the reasons for their absence, by their names in COMMON; {} if it was not selected."""
    if name in EXACT:
        return {key: row[key] for key in COMMON if key in row}
    if name != "ais":
        return {key: row[f"{name}_{key}"] for key in COMMON if f"{name}_{key}" in row}
    if "ais_log_z_lower" not in row:
        return {}
    ends = [row[f"ais_log_z_{end}"] for end in ("lower", "lower_error", "upper", "upper_error")]
    if not all(map(_is_number, ends)):
        return {"log_z": next(end for end in ends if not _is_number(end))}
    lower, lower_error, upper, upper_error = ends
    if not lower - lower_error <= upper + upper_error:
        return {"log_z": "the bounds of annealed importance sampling cross"}
    found = _middle("log_z", min(lower - lower_error, upper - upper_error), max(upper + upper_error, lower + lower_error))
    if all(map(_is_number, nll := [row["ais_nll_lower"], row["ais_nll_upper"]])):
        found |= _middle("nll", *nll)
    return found


def _middle(key: str, low: float, high: float) -> dict[str, float]:
    """The middle of an interval and half its width."""
    return {key: (low + high) / 2, f"{key}_error": (high - low) / 2}


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float))


def log_z(summary: Mapping[str, Any], model: int) -> tuple[float | None, float | None, str]:
    """The measured log Z of one model of a run, its error if it is not exact, both in nats, and the metric that it is from.

    None if it was not measured. A log Z that the objective learned has no error estimate, and is wrong before training has converged.
    """
    found = of_model(summary, "log_z", model)
    if found is None:
        return None, None, ""
    by = dict(enumerate(summary.get("log_z_by", ()))).get(model, "")
    return found, of_model(summary, "log_z_error", model), SOURCES.get(by, "by an unknown estimator")


def of_model(summary: Mapping[str, Any], key: str, model: int) -> float | None:
    """A number of one model of a stack, or of a run with a single model."""
    if key not in (per_seed := summary.get("per_seed", {})):
        return summary.get(key)
    return per_seed[key][model] if model < len(per_seed[key]) else None
