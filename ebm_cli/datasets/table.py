"""A table of numbers from a file, with one event per row: CSV, TSV, NPY, NPZ or Parquet. An array (N, *d) holds N events of shape d.

`split_seed` alone determines which rows are used for training, validation and test. Columns are standardized by the mean and standard
deviation of the training rows; arrays of higher rank have one mean and one standard deviation for all entries. With `n_components` = K
the model is of the first K principal components of the standardized columns, each with unit variance: samples are mapped back to all
columns, scored rows are projected, and log-densities are those of the K components, not of the columns. The true density is unknown, so
results are measured on the test rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import file_digest
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ebm_cli.core import column_checks
from ebm_cli.core.finite_dataset import FiniteDataset
from ebm_cli.core.standardize import Standardization
from ebm_cli.errors import MOST_NAMED, bad, override
from ebm_cli.io import table_files
from ebm_cli.types import Count, Space


@dataclass(frozen=True)
class TableDataset(FiniteDataset):
    """`columns` are names or positions; null means all columns. `n_components` is the number of principal components; null means none.

    `header` says whether the first row of a text file holds the names of the columns; null finds out (see io/text_tables.py).
    """

    path: str
    header: bool | None
    columns: Sequence[str | int] | None
    n_components: Count | None

    @cached_property
    def table(self) -> table_files.Table:
        """The table. The file is read once, at first use."""
        keys = {"key": "dataset.path", "columns_key": "dataset.columns", "header_key": "dataset.header"}
        table = table_files.read(self.path, self.columns, header=self.header, **keys)
        if not table.chosen or len(set(table.chosen)) < len(table.chosen):
            hint = "name each column once, or use null for all columns"
            raise bad(f"dataset.columns: {list(self.columns or ())} is empty or names a column twice", hint)
        if table.names and len(set(table.names)) < len(table.names):
            hint = "rename them in the file, or choose other columns"
            raise bad(f"dataset.columns: two of the columns {', '.join(table.names)} have the same name", hint)
        return table

    @cached_property
    def fingerprint(self) -> str:
        """The sha256 hash of the file."""
        if not Path(self.path).expanduser().is_file():
            raise bad(f"dataset.path: there is no file {self.path!r}", "give the path of a .csv, .tsv, .npy, .npz or .parquet file")
        with Path(self.path).expanduser().open("rb") as file:
            return file_digest(file, "sha256").hexdigest()

    @property
    def notes(self) -> Sequence[str]:
        _ = self.standardization
        return (*self.table.notes, *self._notes)

    @cached_property
    def _notes(self) -> list[str]:
        return []

    @property
    def events(self) -> np.ndarray:
        return self.table.events

    @cached_property
    def space(self) -> Space:
        return Space((self.n_components,) if self.n_components else self.table.shape)

    @property
    def column_names(self) -> list[str]:
        return self.table.names or [f"x{i}" for i in range(self.table.values.shape[1])]

    @property
    def named(self) -> bool:
        return self.table.names is not None

    @cached_property
    def standardization(self) -> Standardization:
        rows = self.rows("train")
        fitted = Standardization.of(torch.from_numpy(rows))
        if not fitted.scale.isfinite().all():
            raise bad("dataset.path: some values are so large that their variance is not finite", "rescale the columns")
        if rows.ndim == 2:
            self._check_columns(rows, fitted)
        elif column_checks.constant(rows.reshape(-1, 1)).all():
            raise bad("dataset.path: training arrays that are all constant have no density", "use data that vary")
        self._check_far(fitted)
        return fitted if self.n_components is None else self._project(fitted, torch.from_numpy(rows))

    def _check_columns(self, rows: np.ndarray, fitted: Standardization) -> None:
        """Refuse columns without a density, and columns that single precision cannot represent beside one of their values."""
        names = self.column_names
        self._without("columns that are constant in the training rows have no density", np.flatnonzero(column_checks.constant(rows)))
        if len(small := np.flatnonzero(fitted.scale.numpy() < column_checks.SMALLEST)):
            raise bad(f"dataset.path: the values of column {names[small[0]]} are so small that their variance is 0", "rescale the column")
        z = fitted.from_data(torch.from_numpy(rows)).numpy()
        same = column_checks.repeated(z) if self.n_components is None else {}
        if same:
            pairs = ", ".join(f"{names[column]} (of {names[other]})" for column, other in [*same.items()][:MOST_NAMED])
            self._without(f"columns that are linear functions of others have no joint density: {pairs}", [*same], listed=False)
        for row, column, rest in column_checks.dominant(rows, z):
            cell = self._cell(self._rows["train"][row], column)
            if rest < column_checks.COLLAPSED:
                message = f"dataset.path: {cell} is so far from all other values of the column that they become equal in single precision"
                raise bad(message, "correct or remove this row, or transform the column")
            self._notes.append(f"{cell} alone has most of the variance of the column, and determines its scale")

    def _without(self, what: str, faulty: Sequence[int], *, listed: bool = True) -> None:
        """Refuse these columns, with a hint that chooses all others."""
        if not len(faulty):
            return
        kept = [i for i in range(len(self.column_names)) if i not in {*faulty}]
        columns = [self.column_names[i] if self.named else self.table.chosen[i] for i in kept]
        found = f": {', '.join(self.column_names[i] for i in faulty[:MOST_NAMED])}" if listed else ""
        raise bad(f"dataset.columns: {what}{found}", override("dataset.columns", columns) if kept else "choose columns that vary")

    def _cell(self, row: int, column: int) -> str:
        place = f"{Path(self.path).name}, {self.table.place(row)}, column {self.column_names[column]}"
        return f"{place}: {self.table.values[row, column]:g}"

    def _check_far(self, fitted: Standardization) -> None:
        """Refuse an event, of any split, with a value that is not accurate in single precision."""
        place = column_checks.far(fitted.from_data(torch.from_numpy(self.events)).flatten(1).numpy())
        if place is not None:
            far = f"more than {column_checks.FAR:g} standard deviations of the training rows from their mean"
            raise bad(f"dataset.path: {self._cell(*place)} is {far}", "correct or remove this row")

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
