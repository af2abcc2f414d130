"""Checks of the columns of a table before it is modeled: columns without a density, and values that the map to the
coordinates of the model cannot repair.

Columns are mapped in double precision and then modeled in single precision. With a linear map, a single huge value therefore makes all
others equal.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np

ROUNDING = 1e-12  # a column whose range is smaller, relative to its largest value, is constant up to rounding
COLLAPSED = 1e-4  # if the other rows have less than this fraction of the scale, single precision no longer tells them apart well
DOMINANT = 0.5  # a row with more than this fraction of a column's variance determines its scale
FEW = 20  # among fewer rows, one often has most of the variance
NEARBY = 1e-5  # the projections of two columns that differ by a millionth of their scale are closer, in units of sqrt(N)
FAR = 1e9  # in standard deviations; the square of a larger value is not accurate in single precision
SMALLEST = 1e-150  # the variance of a column with a smaller scale underflows


class Dominant(NamedTuple):
    """A row that determines the scale of a column, and the standard deviation of the other rows relative to that of all."""

    row: int
    column: int
    rest: float


def constant(rows: np.ndarray) -> np.ndarray:
    """Which columns of rows (N, D) are constant up to rounding, (D,)."""
    low, high = rows.min(0), rows.max(0)
    with np.errstate(over="ignore"):
        return high - low <= ROUNDING * np.maximum(np.abs(low), np.abs(high))


def repeated(z: np.ndarray) -> dict[int, int]:
    """The columns of standardized rows z (N, D) that are linear functions of an earlier column, {column: that column}.

    Two columns are so if the absolute value of their correlation is 1 up to ROUNDING, that is if they differ by a millionth of their
    scale. Only columns with almost the same projection on a random direction are compared, which takes O(N D) and not O(N D^2).
    """
    if len(z) < 3:  # two rows are always on a line
        return {}
    projection = np.abs(np.random.default_rng(0).standard_normal(len(z)) @ z)
    order = np.argsort(projection, kind="stable").tolist()
    groups = [order[:1]]
    for a, b in pairwise(order):
        close = projection[b] - projection[a] <= NEARBY * len(z) ** 0.5
        same = close and abs(z[:, a] @ z[:, b]) / len(z) > 1 - ROUNDING
        if same:
            groups[-1].append(b)
        else:
            groups.append([b])
    return dict(sorted((column, min(group)) for group in groups for column in group if column != min(group)))


def dominant(rows: np.ndarray, z: np.ndarray) -> list[Dominant]:
    """The columns of rows (N, D), standardized z, whose variance is mostly that of a single row. Columns of other equal values are fine."""
    found = []
    if len(z) < FEW:
        return found
    largest = np.abs(z).argmax(0)
    for column in np.flatnonzero(np.abs(z).max(0) ** 2 > DOMINANT * len(z)):
        row = int(largest[column])
        rest = np.delete(rows[:, column], row)
        if rest.min() < rest.max():
            found.append(Dominant(row, int(column), float(rest.std() / rows[:, column].std())))
    return found


def far(z: np.ndarray) -> tuple[int, int] | None:
    """The row and column of the first standardized value that is too large for single precision."""
    places = np.argwhere(~(np.abs(z) <= FAR))
    return (int(places[0][0]), int(places[0][1])) if len(places) else None
