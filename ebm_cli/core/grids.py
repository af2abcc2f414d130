"""The grid of a column: the largest step h such that its values are offset + integer * h. Uria, Murray & Larochelle 2013, arXiv:1306.0186.

A column of integers, or of numbers with two decimals, has no density: a model that concentrates on the grid has an unbounded likelihood.
With noise, y = x + h (v - 1/2), v uniform on [0, 1), it has one, and its log-likelihood is a lower bound of that of the grid points:

    E log p(y) <= log P(x) - sum log h,    P(x) = int over the cell around x of p(y) dy

by Jensen's inequality (Theis, van den Oord & Bethge 2016, arXiv:1511.01844). A few values may be off the grid, because files have
some values such as 9.899999 among many with two decimals; they have the same noise.
"""

from collections.abc import Sequence

import numpy as np

from ebm_cli.errors import MOST_NAMED

TIES = 0.05  # a column is on a grid only if at least this fraction of its values occurs more than once
ROWS = 0.95  # at least this fraction of the rows is on the grid ...
VALUES = 2 / 3  # ... and at least this fraction of the distinct values, so that a frequent value alone makes no grid ...
LEVELS = 10  # ... and at least as many different values, unless all are
DECIMALS = 9  # maximum number of decimals of the values
ROUNDED = 1e-3  # maximum rounding error of a value, in units of its last decimal
COARSE = 8  # a step is at least this many times the rounding error of the largest value
EVEN = 1e4  # the same for steps that are not decimal numbers, which are found by their spacing alone


def step(values: np.ndarray, precision: float) -> float | None:
    """The step of the grid of values (N,); None if they are on no grid. `precision` is the relative rounding error of a value."""
    distinct, counts = np.unique(values, return_counts=True)
    if len(distinct) < 2 or counts[counts > 1].sum() < TIES * len(values):
        return None
    found = _decimal(distinct, counts, precision) or _even(distinct, precision)
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


def _decimal(distinct: np.ndarray, counts: np.ndarray, precision: float) -> float | None:
    """The step of values with at most DECIMALS decimals, exactly: the greatest common divisor of the differences of integers."""
    size = np.abs(distinct).max()
    for decimals in range(DECIMALS + 1):
        scaled = distinct * 10.0**decimals
        whole = np.rint(scaled)
        rounding = 2 * precision * np.abs(scaled)  # that of the value and that of the product
        if 2 * precision * size * 10**decimals < ROUNDED:
            on = np.abs(scaled - whole) <= rounding
        elif decimals == 0 and size < 2**53:
            on = scaled == whole
        else:
            return None
        if _enough(on, counts):
            return _coarsest(whole.astype(np.int64), on, counts) / 10.0**decimals
    return None


def _coarsest(whole: np.ndarray, on: np.ndarray, counts: np.ndarray) -> float:
    """The greatest common divisor of the differences of the integers that are `on` the grid, times 10 while enough values stay on it."""
    places = whole - whole[on][0]
    step = int(np.gcd.reduce(places[on]))
    while step:  # it is 0 if the values differ by rounding errors only
        offsets, at = np.unique(places[on] % (10 * step), return_inverse=True)
        closer = on & (places % (10 * step) == offsets[np.bincount(at, counts[on]).argmax()])
        if not _enough(closer, counts):
            return float(step)
        on, step = closer, 10 * step
    return 0.0


def _enough(on: np.ndarray, counts: np.ndarray) -> bool:
    """Whether enough rows and enough distinct values are `on` the grid."""
    n_on, n_rows = on.sum(), counts[on].sum()
    return bool(on.all() or (n_rows >= ROWS * counts.sum() and n_on >= max(VALUES * len(on), LEVELS)))


def _even(distinct: np.ndarray, precision: float) -> float | None:
    """The step of evenly spaced values of which two are adjacent, such as k / 255."""
    places = np.rint((distinct - distinct[0]) / np.diff(distinct).min())
    found = (distinct[-1] - distinct[0]) / places[-1]
    off = np.abs(distinct - distinct[0] - places * found)
    rounding = precision * np.abs(distinct).max()
    return float(found) if off.max() <= 4 * rounding and found >= EVEN * rounding else None
