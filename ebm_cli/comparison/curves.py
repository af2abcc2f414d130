"""The numbers of a group of runs in the course of training: the mean over the seeds of each row, with its 95 % Student t interval.

A row has the runs that differ only in their seed (comparison/compare.py). At a step its mean is over all seeds; if a seed has no number
there, the mean is missing, since a mean over the others would be biased. The cost of a point is the mean cost of the seeds at that step.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ebm_cli.comparison.compare import Row
from ebm_cli.comparison.record import RunRecord
from ebm_cli.core import student_t

COSTS = {"step": "training step", "seconds": "seconds per seed", "evaluations": "evaluations of energies and scores per seed"}
EVALUATIONS = ("n_energy_evaluations", "n_score_evaluations", "n_hvp_evaluations")


class Curve(NamedTuple):
    """Points of one row, (n,) each. A number that is unknown is NaN; so are both ends of the interval of a single seed."""

    label: str
    cost: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


def of_row(row: Row, key: str, cost: str) -> Curve:
    """The curve of a metric against a cost of COSTS."""
    steps: dict[int, list[tuple[float, float | None]]] = {}  # the costs and numbers of the seeds, by step
    for entry in row.entries:
        for measured in entry.evaluated:
            if key in measured and (spent := cost_of(entry, measured, cost)) is not None:
                found = measured[key]
                steps.setdefault(measured["step"], []).extend((spent, value) for value in (found if isinstance(found, list) else [found]))
    whole = [points for _, points in sorted(steps.items()) if len(points) == len(row.seeds)]
    numbers = [[number for _, number in points] for points in whole]
    known = [None if None in values else values for values in numbers]
    ends = [student_t.interval(values) or [math.nan] * 2 if values else [math.nan] * 2 for values in known]
    low, high = np.array(ends, dtype=float).reshape(-1, 2).T
    mean = [sum(values) / len(values) if values else math.nan for values in known]
    return Curve(row.label, np.array([np.mean([spent for spent, _ in points]) for points in whole]), np.array(mean), low, high)


def cost_of(entry: RunRecord, measured: dict[str, Any], cost: str) -> float | None:
    """The cost of one seed up to a row of the log; None if it is unknown.

    The seconds of a stack are those of all its seeds together, and its counts are per seed.
    """
    if cost == "step":
        return measured["step"]
    if cost == "seconds":
        return measured["seconds"] / len(entry.seeds)
    n_steps = entry.summary.get("n_steps", 0)
    return sum(entry.summary[name] for name in EVALUATIONS) * measured["step"] / n_steps if n_steps else None


def swept(rows: Sequence[Row]) -> dict[str, list[str]]:
    """The settings in which the rows differ, and the values of each in order: numbers by size, other values as they appear."""
    keys = dict.fromkeys(key for row in rows for key in row.differs)
    found = {key: list(dict.fromkeys(row.differs[key] for row in rows if key in row.differs)) for key in keys}
    return {key: in_order(values) for key, values in found.items()}


def in_order(values: Sequence[str]) -> list[str]:
    """Numbers by size; other values by their letters."""
    try:
        return sorted(values, key=float)
    except ValueError:
        return sorted(values)
