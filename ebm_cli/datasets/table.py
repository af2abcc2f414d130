"""A table from a file, with one event per row: CSV, TSV, ARFF, KEEL, NPY, NPZ or Parquet. An array (N, *d) holds N events of shape d.

`split_seed` alone determines which rows are used for training, validation and test. Columns are standardized by the mean and standard
deviation of the training rows, or by the map that `transform` names (core/standardize.py); arrays of higher rank have one map for all
entries. With `dequantize`, uniform noise is added to columns on a grid (core/grids.py), the same for every run with this `split_seed`:
the model is of the noisy data, and rows that are scored are not changed. With `n_components` = K
the model is of the first K principal components of the standardized columns, each with unit variance: samples are mapped back to all
columns, scored rows are projected, and log-densities are those of the K components, not of the columns. The true density is unknown, so
results are measured on the test rows.

Columns of categories and missing values become coordinates as io/coding.py describes. A column of labels is not part of the events.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ebm_cli.core import column_checks, grids, splits
from ebm_cli.core.finite_dataset import FiniteDataset
from ebm_cli.core.standardize import Standardization, Transform
from ebm_cli.errors import MOST_NAMED, bad, nearest, override
from ebm_cli.io import file_contents, hashes, table_files, text_tables
from ebm_cli.io.cells import Keys
from ebm_cli.io.coding import Coding
from ebm_cli.io.table_files import Categories, Missing
from ebm_cli.types import Count, Space


@dataclass(frozen=True)
class TableDataset(FiniteDataset):
    """`columns` are names or positions; null means all columns. `n_components` is the number of principal components; null means none.

    `header` says whether the first row of a text file holds the names of the columns; null finds out (see io/text_tables.py). `label` is
    the column of labels, `anomaly` the labels of anomalies, and with `train_on` = "normal" these are left out of training and
    validation. `missing` and `categories` say what happens to missing values and to columns of text. `equal_rows` says whether equal rows
    are kept in the same split.
    """

    path: str
    header: bool | None
    columns: Sequence[str | int] | None
    n_components: Count | None
    missing: Missing
    categories: Categories
    equal_rows: Literal["together", "apart"]
    label: str | int | None
    anomaly: Sequence[str | bool | int | float] | None
    train_on: Literal["all", "normal"]
    dequantize: bool
    transform: Transform

    def __post_init__(self) -> None:
        object.__setattr__(self, "provides", self.provided(vars(self)))

    @classmethod
    def provided(cls, node: Mapping[str, Any]) -> frozenset[str]:
        labels = {"labels"} if node.get("label") is not None else set()
        return cls.provides | labels | ({"anomalies"} if labels and node.get("anomaly") else set())

    @cached_property
    def table(self) -> table_files.Table:
        """The table. The file is read once, at first use."""
        keys = Keys("dataset.path", *(f"dataset.{name}" for name in ("columns", "header", "missing", "categories", "label")))
        options = {"label": self.label, "missing": self.missing, "categories": self.categories}
        table = table_files.read(self.path, self.columns, header=self.header, keys=keys, **options, text=False)
        if not table.chosen or len(set(table.chosen)) < len(table.chosen):
            hint = "name each column once, or use null for all columns"
            raise bad(f"dataset.columns: {list(self.columns or ())} is empty or names a column twice", hint)
        if table.names and len(set(table.names)) < len(table.names):
            hint = "rename them in the file, or choose other columns; if the first row is data: dataset.header=false"
            raise bad(f"dataset.columns: two of the columns {', '.join(table.names)} have the same name", hint)
        return table

    @cached_property
    def fingerprint(self) -> str:
        """The sha256 hash of the file."""
        return hashes.of_file(self.path, "dataset.path", file_contents.KINDS)

    @property
    def notes(self) -> Sequence[str]:
        _ = self.standardization
        return (*self.table.notes, *self._notes)

    @cached_property
    def _notes(self) -> list[str]:
        return []

    @cached_property
    def events(self) -> np.ndarray:
        table = self.table
        return table.events if self.coding is None else self.coding.apply(table.values, table.categories)

    @cached_property
    def coding(self) -> Coding | None:
        """How the columns become coordinates; None if all of them are numbers."""
        table = self.table
        coding = Coding.fit(table.column_names, table.values, table.categories, self._rows["train"])
        for name in coding.filled if coding else ():
            if coding.filled[name] != coding.filled[name]:
                raise bad(
                    f"dataset.missing: column {name} has no value in the training rows", "choose other columns: dataset.columns=[...]"
                )
        return coding

    @cached_property
    def groups(self) -> np.ndarray:
        values = self.table.values
        if self.equal_rows == "apart":
            return np.arange(len(values))
        groups = splits.equal_rows(values)
        if n_equal := int((np.bincount(groups) - 1).clip(0).sum()):
            self._notes.append(
                f"{n_equal} of {len(values)} rows repeat another row, and equal rows are kept in the same split; "
                "if they are independent measurements on a coarse grid: dataset.equal_rows=apart"
            )
        return groups

    @cached_property
    def label_names(self) -> list[str]:
        """The sorted values of the column of labels; the label of an event is a position in this list."""
        found = {*self.table.label}
        return sorted(found, key=float) if all(map(text_tables.is_number, found)) else sorted(found)

    @cached_property
    def labels(self) -> np.ndarray | None:
        if self.label is None:
            return None
        position = {name: i for i, name in enumerate(self.label_names)}
        return np.array([position[name] for name in self.table.label])

    @cached_property
    def anomalies(self) -> np.ndarray | None:
        if not self.anomaly:
            if self.train_on == "normal":
                raise bad("dataset.train_on: normal needs the labels of anomalies", "dataset.label=COLUMN dataset.anomaly=[VALUE]")
            return None
        if self.label is None:
            raise bad("dataset.anomaly: there is no column of labels", "dataset.label=COLUMN")
        places = {_plain(name): i for i, name in enumerate(self.label_names)}
        if unknown := [value for value in self.anomaly if _plain(value) not in places]:
            raise bad(f"dataset.anomaly: no row has the label {unknown[0]!r}", nearest(str(unknown[0]), self.label_names))
        found = np.isin(self.labels, [places[_plain(value)] for value in self.anomaly])
        out = f"; they are left out of training and validation (dataset.train_on={self.train_on})" if self.train_on == "normal" else ""
        self._notes.append(f"{found.sum()} of {len(found)} rows are anomalies{out}")
        return found

    @property
    def omitted(self) -> np.ndarray | None:
        return self.anomalies if self.train_on == "normal" else None

    @property
    def facts(self) -> dict[str, Any]:
        labels = {} if self.label is None else {"labels": self.label_names}
        return labels | ({} if self.coding is None else {"coding": self.coding.to_json()})

    @cached_property
    def steps(self) -> np.ndarray:
        """The step of the grid of each column, (D,), or that of all entries of an array, (1,); 0 if they are on no grid."""
        cells, columns = self.table.cells, self.events if self.events.ndim == 2 else self.events.reshape(-1, 1)
        dtype = cells.dtype if isinstance(cells, np.ndarray) and cells.dtype.kind == "f" else np.dtype(float)
        return np.array([grids.step(column, np.finfo(dtype).eps / 2) or 0.0 for column in columns.T])

    @cached_property
    def dequantized(self) -> bool:
        return self.dequantize and bool(self.steps.any())

    @cached_property
    def continuous(self) -> np.ndarray:
        if not self.dequantized:
            return self.events
        columns = self.events.reshape(-1, len(self.steps))
        return (columns + grids.noise(self.steps, len(columns), self.split_seed)).reshape(self.events.shape)

    @cached_property
    def space(self) -> Space:
        shape = self.table.shape if self.coding is None else (len(self.coding.names),)
        return Space((self.n_components,) if self.n_components else shape)

    @property
    def column_names(self) -> list[str]:
        return self.table.column_names if self.coding is None else self.coding.names

    @property
    def named(self) -> bool:
        return self.table.names is not None

    @cached_property
    def standardization(self) -> Standardization:
        _ = self.anomalies  # refuses labels that do not exist
        exact, rows = self.rows("train"), torch.from_numpy(self.continuous[self._rows["train"]])
        if exact.ndim == 2:
            self._without("columns that are constant in the training rows have no density", np.flatnonzero(column_checks.constant(exact)))
        elif column_checks.constant(exact.reshape(-1, 1)).all():
            raise bad("dataset.path: training arrays that are all constant have no density", "use data that vary")
        fitted = Standardization.of(rows, self.transform)
        if not fitted.scale.isfinite().all():
            raise bad("dataset.path: some values are so large that their variance is not finite", "rescale the columns")
        if self.transform == "robust" and not (fitted.scale > 0).all():
            column = "the arrays" if exact.ndim > 2 else f"column {self.column_names[int((fitted.scale > 0).int().argmin())]}"
            message = f"dataset.transform: half of the values of {column} are equal, so that the interquartile range is 0"
            raise bad(message, "dataset.transform=standard, or quantile")
        if exact.ndim == 2:
            self._check_columns(torch.from_numpy(exact), fitted)
        self._check_far(fitted)
        if self.dequantized:
            self._notes.append(grids.note(self.steps, self.column_names))
        return fitted if self.n_components is None else self._project(fitted, rows)

    def _check_columns(self, rows: Tensor, fitted: Standardization) -> None:
        """Refuse columns without a density, and columns that single precision cannot represent beside one of their values.

        `rows` have no noise, which would hide that two columns are equal.
        """
        names = self.column_names
        if len(small := np.flatnonzero(fitted.scale.numpy() < column_checks.SMALLEST)):
            raise bad(f"dataset.path: the values of column {names[small[0]]} are so small that their variance is 0", "rescale the column")
        if self.dequantized or self.transform == "robust":  # the checks need a mean of 0 and a variance of 1
            fitted = Standardization.of(rows, "quantile" if self.transform == "quantile" else "standard")
        z = fitted.from_data(rows).numpy()
        same = column_checks.repeated(z) if self.n_components is None else {}
        if same:
            pairs = ", ".join(f"{names[column]} (of {names[other]})" for column, other in [*same.items()][:MOST_NAMED])
            self._without(f"columns that are linear functions of others have no joint density: {pairs}", [*same], listed=False)
        for row, column, rest in column_checks.dominant((rows if fitted.warp is None else fitted.warp(rows)).numpy(), z):
            cell = self._cell(self._rows["train"][row], column)
            if rest < column_checks.COLLAPSED:
                message = f"dataset.path: {cell} is so far from all other values of the column that they become equal in single precision"
                raise bad(message, self._cure)
            self._notes.append(f"{cell} alone has most of the variance of the column, and determines its scale")

    def _without(self, what: str, faulty: Sequence[int], *, listed: bool = True) -> None:
        """Refuse these columns, with a hint that chooses all others."""
        if not len(faulty):
            return
        sources = self.coding.sources if self.coding else range(len(self.column_names))
        kept = [i for i in range(len(self.table.column_names)) if i not in {sources[j] for j in faulty}]
        columns = [self.table.column_names[i] if self.named else self.table.chosen[i] for i in kept]
        found = f": {', '.join(self.column_names[i] for i in faulty[:MOST_NAMED])}" if listed else ""
        raise bad(f"dataset.columns: {what}{found}", override("dataset.columns", columns) if kept else "choose columns that vary")

    def _cell(self, row: int, column: int) -> str:
        place = f"{Path(self.path).name}, {self.table.place(row)}, column {self.column_names[column]}"
        return f"{place}: {self.events.reshape(len(self.events), -1)[row, column]:g}"

    def _check_far(self, fitted: Standardization) -> None:
        """Refuse an event, of any split, with a value that is not accurate in single precision."""
        place = column_checks.far(fitted.from_data(torch.from_numpy(self.events)).flatten(1).numpy())
        if place is not None:
            far = f"more than {column_checks.FAR:g} standard deviations of the training rows from their mean"
            raise bad(f"dataset.path: {self._cell(*place)} is {far}", self._cure)

    @property
    def _cure(self) -> str:
        """What can be done about a value that is far from all others."""
        return "correct or remove this row" + ("" if self.transform == "quantile" else ", or use dataset.transform=quantile")

    def _project(self, fitted: Standardization, rows: Tensor) -> Standardization:
        n, most = self.n_components, min(len(rows) - 1, len(self.column_names))
        if rows.ndim > 2:
            message = f"dataset.n_components: principal components need a table of columns, but the events have shape {self.table.shape}"
            raise bad(message, "use dataset.n_components=null")
        if n <= most:
            fitted = fitted.principal(rows, n)
            most = int((fitted.matrix != 0).any(0).sum())
        if n > most:
            message = f"dataset.n_components: {n} principal components are requested, but the training rows have only {most}"
            raise bad(message, f"use dataset.n_components={most}")
        return fitted


def _plain(value: object) -> str | float:
    """A label for comparison: a number as a number, so that 1 is equal to 1.0, and true and false in lower case."""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return float(text) if text_tables.is_number(text) else text
