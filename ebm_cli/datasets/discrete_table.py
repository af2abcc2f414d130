"""A table of categories from a file, with one event per row: each column is one categorical coordinate, or one bit.

The values of a column are all that occur in the file, sorted (numbers by their size), and an event has their positions, from 0. A column
has at most 50 values, text or numbers; with `kind` = binary it has two. `split_seed` alone determines the rows for training, validation and
test. Equal rows are independent draws of a discrete distribution and need not be in one split. Columns of measurements do not belong here:
a table of both kinds is read by `dataset=table dataset.categories=onehot`, as real events. dataset.json stores the values of each column,
so that files of samples and of rows to score have the values of the table.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from ebm_cli.core.finite_dataset import FiniteDataset
from ebm_cli.errors import bad
from ebm_cli.io import file_contents, hashes, table_files
from ebm_cli.io.cells import MOST_VALUES, Keys
from ebm_cli.types import Space


@dataclass(frozen=True)
class DiscreteTable(FiniteDataset):
    """`columns` are names or positions; null means all columns. `header` says whether the first row of a text file holds their names."""

    path: str
    header: bool | None
    columns: Sequence[str | int] | None
    kind: Literal["binary", "categorical"]

    def __post_init__(self) -> None:
        object.__setattr__(self, "provides", self.provided(vars(self)))

    @classmethod
    def provided(cls, node: Mapping[str, Any]) -> frozenset[str]:
        return frozenset({node.get("kind", "categorical")})

    @cached_property
    def table(self) -> table_files.Table:
        """The table. The file is read once, at first use."""
        keys = Keys("dataset.path", "dataset.columns", "dataset.header")
        table = table_files.read(self.path, self.columns, header=self.header, keys=keys, categories="onehot", text=False)
        if len(table.shape) > 1:
            raise bad("dataset.path: the rows of this file are arrays, not columns", "dataset=table for arrays of numbers")
        if not table.chosen or len(set(table.chosen)) < len(table.chosen):
            raise bad(f"dataset.columns: {list(self.columns or ())} is empty or names a column twice", "dataset.columns=[a,b]")
        return table

    @cached_property
    def fingerprint(self) -> str:
        """The sha256 hash of the file."""
        return hashes.of_file(self.path, "dataset.path", file_contents.KINDS)

    @cached_property
    def _columns(self) -> list[tuple[list[str], np.ndarray]]:
        """For each column its values and, for each row, the position of its value."""
        found = []
        for j, name in enumerate(self.table.column_names):
            numbers = self.table.values[:, j]
            if name in self.table.categories:
                used, position = np.unique(numbers.astype(int), return_inverse=True)
                values = [self.table.categories[name][k] for k in used]
            else:
                used, position = np.unique(numbers, return_inverse=True)
                values = [table_files.as_label(value) for value in used.tolist()]
            self._check(name, values)
            found.append((values, position))
        return found

    def _check(self, name: str, values: Sequence[str]) -> None:
        """Refuse a column that is not one of categories, or does not have two values if it must."""
        if len(values) > MOST_VALUES:
            message = f"dataset.columns: column {name} has {len(values)} different values, and categories have at most {MOST_VALUES}"
            raise bad(message, "choose other columns: dataset.columns=[...]; for numbers and categories together: dataset=table")
        if len(values) == 1:
            raise bad(
                f"dataset.columns: column {name} has the value {values[0]} in all rows", "choose other columns: dataset.columns=[...]"
            )
        if self.kind == "binary" and len(values) > 2:
            raise bad(f"dataset.columns: column {name} has {len(values)} values, and a bit has two", "dataset=categorical_table")

    @cached_property
    def events(self) -> np.ndarray:
        return np.stack([position for _, position in self._columns], -1).astype(np.float32)

    @cached_property
    def space(self) -> Space:
        numbers = tuple(len(values) for values, _ in self._columns)
        return Space((len(numbers),), self.kind, None if self.kind == "binary" else numbers)

    @property
    def facts(self) -> dict[str, Any]:
        return {"states": {name: values for name, (values, _) in zip(self.column_names, self._columns, strict=True)}}

    @property
    def column_names(self) -> list[str]:
        return self.table.column_names

    @property
    def named(self) -> bool:
        return self.table.names is not None

    @property
    def notes(self) -> Sequence[str]:
        return self.table.notes
