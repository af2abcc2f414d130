"""The coordinates of events that are made from columns of categories and from columns with missing values.

A column of categories becomes a coordinate `column=value` for each of its values in the training rows, which is 1 where the column has
this value and 0 elsewhere. Two values need one coordinate only, that of the last value. A missing number is replaced by the median of the
training rows, and a coordinate `column_missing` is 1 where this was done; if several of these are equal in all training rows, the first
one is kept. A missing category has 0 in all coordinates of its column.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Coding:
    """`columns` are those of the file. `values` are the known values of columns of categories, and `shown` those with a coordinate.

    `filled` are the numbers that replace missing ones, and `marked` the columns that have a coordinate `column_missing`.
    """

    columns: Sequence[str]
    values: Mapping[str, Sequence[str]]
    shown: Mapping[str, Sequence[str]]
    filled: Mapping[str, float]
    marked: Sequence[str]

    @classmethod
    def fit(cls, columns: Sequence[str], values: np.ndarray, categories: Mapping[str, Sequence[str]], train: np.ndarray) -> "Coding | None":
        """The coding of the values (N, D) of a table, fitted to its rows `train`; None if nothing has to be coded.

        `categories` are the values of columns of categories, whose numbers are positions in these lists.
        """
        missing = np.isnan(values)
        if not categories and not missing.any():
            return None
        known, shown, filled = {}, {}, {}
        for j, name in enumerate(columns):
            present = values[train, j][~missing[train, j]]
            if name in categories:
                known[name] = [categories[name][int(code)] for code in np.unique(present)]
                shown[name] = known[name][1:] if len(categories[name]) == 2 == len(known[name]) else known[name]
            elif missing[:, j].any():
                filled[name] = float(np.median(present)) if len(present) else np.nan
        _, first = np.unique(missing[train], axis=1, return_index=True)
        marked = [name for j, name in enumerate(columns) if missing[train, j].any() and j in first]
        return cls(list(columns), known, shown, filled, marked)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any] | None) -> "Coding | None":
        return None if stored is None else cls(**stored)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def names(self) -> list[str]:
        """The names of the coordinates."""
        parts = ([f"{name}={value}" for value in self.shown[name]] if name in self.shown else [name] for name in self.columns)
        return [*(name for part in parts for name in part), *(f"{name}_missing" for name in self.marked)]

    @property
    def sources(self) -> list[int]:
        """The column, by its position, from which each coordinate is made."""
        own = [j for j, name in enumerate(self.columns) for _ in self.shown.get(name, [name])]
        return own + [self.columns.index(name) for name in self.marked]

    def apply(self, values: np.ndarray, categories: Mapping[str, Sequence[str]]) -> np.ndarray:
        """The coordinates (N, K) of the values (N, D) of a table with these categories."""
        missing, parts = np.isnan(values), []
        for j, name in enumerate(self.columns):
            if name in self.shown:
                position = {value: k for k, value in enumerate(categories[name])}
                parts += [values[:, j] == position.get(value, np.inf) for value in self.shown[name]]
            else:
                parts.append(np.where(missing[:, j], self.filled.get(name, np.nan), values[:, j]))
        parts += [missing[:, self.columns.index(name)] for name in self.marked]
        return np.stack(parts, -1).astype(np.float64)
