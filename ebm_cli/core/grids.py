"""The grid of a column: the largest step h such that all values are offset + integer * h. Uria, Murray & Larochelle 2013, arXiv:1306.0186.

A column of integers, or of numbers with two decimals, has no density: a model that concentrates on the grid has an unbounded likelihood.
With noise, y = x + h (v - 1/2), v uniform on [0, 1), it has one, and its log-likelihood is a lower bound of that of the grid points:

    E log p(y) <= log P(x) - sum log h,    P(x) = int over the cell around x of p(y) dy

by Jensen's inequality (Theis, van den Oord & Bethge 2016, arXiv:1511.01844).
"""

from collections.abc import Sequence

import numpy as np

from ebm_cli.errors import MOST_NAMED

TIES = 0.05  # a column is on a grid only if at least this fraction of its values occurs more than once
DECIMALS = 9  # maximum number of decimals of the values
ROUNDED = 1e-3  # maximum rounding error of a value, in units of its last decimal
COARSE = 8  # a step is at least this many times the rounding error of the largest value
EVEN = 1e4  # the same for steps that are not decimal numbers, which are found by their spacing alone


def step(values: np.ndarray, precision: float) -> float | None:
    """The step of the grid of values (N,); None if they are on no grid. `precision` is the relative rounding error of a value."""
    distinct, counts = np.unique(values, return_counts=True)
    if len(distinct) < 2 or counts[counts > 1].sum() < TIES * len(values):
        return None
    found = _decimal(distinct, precision) or _even(distinct, precision)
    return found if found and found >= COARSE * precision * np.abs(distinct).max() else None


def noise(steps: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Uniform noise h (v - 1/2) for n rows of columns with steps h (D,), (n, D)."""
    return steps * (np.random.default_rng([seed, 1]).random((n, len(steps))) - 0.5)


def note(steps: np.ndarray, names: Sequence[str]) -> str:
    """A sentence with the columns on a grid and their steps. The entries of an array have one step."""
    found = [f"{name} ({step:g})" for name, step in zip(names, steps, strict=False) if step]
    what = ", ".join(found[:MOST_NAMED]) + (f" and {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else "")
    what = f"all entries (step {steps[0]:g})" if len(steps) < len(names) else what
    return f"values on a grid are dequantized with uniform noise as wide as its step: {what}; dataset.dequantize=false adds none"


def _decimal(distinct: np.ndarray, precision: float) -> float | None:
    """The step of values with at most DECIMALS decimals, exactly: the greatest common divisor of the differences of integers."""
    size = np.abs(distinct).max()
    for decimals in range(DECIMALS + 1):
        scaled = distinct * 10.0**decimals
        whole = np.rint(scaled)
        rounding = 2 * precision * np.abs(scaled)  # that of the value and that of the product
        exact = decimals == 0 and size < 2**53 and (scaled == whole).all()
        if exact or (2 * precision * size * 10**decimals < ROUNDED and (np.abs(scaled - whole) <= rounding).all()):
            whole = whole.astype(np.int64)
            return float(np.gcd.reduce(whole - whole[0])) / 10.0**decimals
    return None


def _even(distinct: np.ndarray, precision: float) -> float | None:
    """The step of evenly spaced values of which two are adjacent, such as k / 255."""
    places = np.rint((distinct - distinct[0]) / np.diff(distinct).min())
    found = (distinct[-1] - distinct[0]) / places[-1]
    off = np.abs(distinct - distinct[0] - places * found)
    rounding = precision * np.abs(distinct).max()
    return float(found) if off.max() <= 4 * rounding and found >= EVEN * rounding else None
