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
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ebm_cli.core.finite_dataset import FiniteDataset
from ebm_cli.core.standardize import Standardization
from ebm_cli.errors import bad
from ebm_cli.io import table_files
from ebm_cli.types import Count, Space


@dataclass(frozen=True)
class TableDataset(FiniteDataset):
    """`columns` are names or positions; null means all columns. `n_components` is the number of principal components; null means none."""

    path: str
    columns: Sequence[str | int] | None
    n_components: Count | None

    @cached_property
    def table(self) -> table_files.Table:
        """The table. The file is read once, at first use."""
        table = table_files.read(self.path, self.columns, key="dataset.path", columns_key="dataset.columns")
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
        return sha256(Path(self.path).expanduser().read_bytes()).hexdigest()

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
        rows = torch.from_numpy(self.rows("train"))
        fitted = Standardization.of(rows)
        if not fitted.scale.isfinite().all():
            raise bad("dataset.path: some values are so large that their variance is not finite", "rescale the columns")
        constant = [rows.flatten(1)[:, i].amin() == rows.flatten(1)[:, i].amax() for i in range(fitted.scale.numel())]
        if (rows.ndim == 2 and any(constant)) or all(constant):
            names = [name for name, same in zip(self.column_names, constant, strict=True) if same]
            others = [name for name in self.column_names if name not in names]
            hint = f"dataset.columns=[{','.join(others)}]" if others else "choose columns that vary"
            raise bad(f"dataset.columns: columns that are constant in the training rows have no density: {', '.join(names[:12])}", hint)
        return fitted if self.n_components is None else self._project(fitted, rows)

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
