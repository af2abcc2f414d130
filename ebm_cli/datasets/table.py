"""A table of numbers from a file, one event per row: CSV, TSV, NPY, NPZ or Parquet.

Rows are shared out to train, validation and test by a seed of their own; columns are standardised by the training rows' mean and
standard deviation. With `n_components` = K the model sees the first K principal components of the standardised columns, each of unit
variance: samples are mapped back to all columns, rows that are scored are projected, and log-densities are those of the K components,
not of the columns. The true density is not known: results are measured on the test rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ebm_cli.core.minibatches import Minibatches
from ebm_cli.core.rng import Rng
from ebm_cli.core.standardize import Standardization
from ebm_cli.errors import bad
from ebm_cli.io import table_files
from ebm_cli.types import Count, Natural, Share, SplitName


@dataclass(frozen=True)
class TableDataset:
    """`columns`: names or positions, null for all. `n_components`: principal components, null for the columns themselves.
    `validation` and `test`: the fractions of rows kept for them."""

    path: str
    columns: Sequence[str | int] | None
    validation: Share
    test: Share
    split_seed: Natural
    n_components: Count | None

    @cached_property
    def table(self) -> table_files.Table:
        """Read once, at first use."""
        table = table_files.read(self.path, self.columns, key="dataset.path", columns_key="dataset.columns")
        if not table.chosen or len(set(table.chosen)) < len(table.chosen):
            raise bad(f"dataset.columns: {list(self.columns or ())} is no set of columns", "name each column once, or none for all: null")
        if table.names and len(set(table.names)) < len(table.names):
            raise bad(f"dataset.columns: of {', '.join(table.names)} two have the same name", "rename them in the file, or choose others")
        return table

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of the file."""
        if not Path(self.path).expanduser().is_file():
            raise bad(f"dataset.path: no file {self.path!r}", "give the path of a .csv, .tsv, .npy, .npz or .parquet file")
        return sha256(Path(self.path).expanduser().read_bytes()).hexdigest()

    @property
    def n_train(self) -> int:
        return len(self._rows["train"])

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.n_components or self.table.values.shape[1],)

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
        constant = [name for name, one in zip(self.column_names, (rows.amin(0) == rows.amax(0)).tolist(), strict=True) if one]
        if not fitted.scale.isfinite().all():
            raise bad("dataset.path: some values are so large that their variance is not finite", "rescale the column")
        if constant:
            others = [name for name in self.column_names if name not in constant]
            hint = f"dataset.columns=[{','.join(others)}]" if others else "choose columns that vary"
            raise bad(f"dataset.columns: {', '.join(constant)} has one value only: it has no density", hint)
        return fitted if self.n_components is None else self._project(fitted, rows)

    def _project(self, fitted: Standardization, rows: Tensor) -> Standardization:
        n, most = self.n_components, min(len(rows) - 1, len(self.column_names))
        if n <= most:
            fitted = fitted.principal(rows, n)
            most = int((fitted.matrix != 0).any(0).sum())
        if n > most:
            raise bad(f"dataset.n_components: the training rows vary in {most} directions, not in {n}", f"dataset.n_components={most}")
        return fitted

    def batch(self, step: int, n: int, rng: Rng) -> Tensor:
        """(*m, n, *d), without replacement."""
        device = rng.generator.device
        if device not in self._minibatches:
            self._minibatches[device] = Minibatches(self._points["train"].to(device))
        return self._minibatches[device].batch(step, n, rng.at("data"), event_ndim=1)

    def split(self, name: SplitName, n: int, rng: Rng) -> Tensor:
        """(*m, n, *d): the split's first n rows, the same for every model."""
        points = self._points[name][:n].to(rng.generator.device)
        return points.expand(*rng.model_shape, *points.shape)

    def rows(self, name: SplitName) -> np.ndarray:
        """A split's rows as they stand in the file, (N, D), in double precision."""
        return self.table.values[self._rows[name]]

    @cached_property
    def _rows(self) -> dict[str, np.ndarray]:
        n = len(self.table.values)
        n_test, n_validation = (max(round(share * n), 1) for share in (self.test, self.validation))
        if n - n_test - n_validation < 2:
            raise bad(f"dataset: of {n} rows {n_test} are for the test, {n_validation} for validation: too few are left to train on")
        order = np.random.default_rng(self.split_seed).permutation(n)
        test, validation, train = np.split(order, [n_test, n_test + n_validation])
        return {"train": train, "validation": validation, "test": test}

    @cached_property
    def _points(self) -> dict[str, Tensor]:
        dtype = torch.get_default_dtype()
        return {name: self.standardization.from_data(torch.from_numpy(self.rows(name))).to(dtype) for name in self._rows}

    @cached_property
    def _minibatches(self) -> dict[torch.device, Minibatches]:
        return {}
