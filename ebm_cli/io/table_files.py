"""Read tables from CSV, TSV, ARFF, KEEL, NPY, NPZ and (with pyarrow) Parquet files, with errors that name bad cells; write CSV files."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from typing import Any, BinaryIO, Literal, TextIO

import numpy as np

from ebm_cli.errors import MOST_NAMED, bad, nearest
from ebm_cli.io import compressed, known_values, text_tables
from ebm_cli.io.cells import Column, Faults, Keys, column, is_missing, refusal
from ebm_cli.io.coding import Coding
from ebm_cli.io.file_contents import TEXT, Cells, Content
from ebm_cli.io.file_contents import content as content_of

UNNAMED = ("", "Unnamed: 0")  # the name of an index that pandas has written, and written again
Missing = Literal["refuse", "drop", "median"]
Categories = Literal["refuse", "onehot"]


@dataclass(frozen=True)
class Table:
    """The chosen columns of a file, and its unmodified content.

    `values` are the chosen columns, (N, D), in double precision, and `names` their names (None if the file has no header). Missing numbers
    are nan, if they are allowed, and `categories` are the texts whose positions replace them, by the name of the column. `label` is the
    text of the column of labels. `header` and `cells` are those of the whole file. `shape` is the shape of one event: (D,), or the shape
    of one row of an array. `places` are the line numbers of the rows of a text file, or the row numbers of an array, from 0. `notes` say
    how the file was read where it leaves that open.
    """

    names: list[str] | None
    values: np.ndarray
    chosen: list[int]  # the positions of the chosen columns
    header: list[str] | None
    cells: Cells
    shape: tuple[int, ...]
    places: Sequence[int]
    is_text: bool
    notes: tuple[str, ...]
    categories: Mapping[str, list[str]]
    label: list[str] | None

    @property
    def column_names(self) -> list[str]:
        """The names of the chosen columns, x0, x1, ... if they have none."""
        return self.names or [f"x{i}" for i in range(self.values.shape[1])]

    def place(self, row: int) -> str:
        """The place of a row in the file, for messages."""
        return f"{'line' if self.is_text else 'row'} {self.places[row]}"

    def text(self, first: int, end: int) -> list[list[str]]:
        """The text of the rows first .. end - 1."""
        return _text_of(self.cells[first:end])

    @property
    def events(self) -> np.ndarray:
        """The events, (N, *d)."""
        return self.values.reshape(-1, *self.shape)


def read(
    path: str | Path,
    columns: Sequence[str | int] | None = None,
    *,
    header: bool | None = None,
    key: str = "",
    keys: Keys | None = None,
    label: str | int | None = None,
    missing: Missing = "refuse",
    categories: Categories = "refuse",
    text: bool = True,
) -> Table:
    """The table in a file. `columns` (names or positions) selects the columns of `values`, not of the text.

    Without `columns`, all are taken, except for the unnamed index that pandas writes as the first column of a CSV file. `header` says
    whether the first row of a text file holds names; None finds out (see text_tables.py). `label` is a column that is kept apart.
    `missing` and `categories` say what happens to missing values and to columns of text. Without `text`, the text of the rows is not
    needed. `key` or `keys` are the config keys of the file, for messages.
    """
    path, keys = Path(path).expanduser(), keys or Keys(key)
    content = content_of(path, header, keys.file, keys.header, numbers=not text)
    return _table(path, content, columns, keys, label=label, missing=missing, categories=categories)


def write(file: TextIO, lines: Iterable[Sequence[Any]]) -> None:
    """Write lines as CSV, the first of which is a header. If all its names are numbers they are quoted, so that `read` finds a header."""
    lines = iter(lines)
    header = [str(name) for name in next(lines)]
    quoting = csv.QUOTE_ALL if all(map(text_tables.is_number, header)) else csv.QUOTE_MINIMAL
    csv.writer(file, lineterminator="\n", quoting=quoting).writerow(header)
    csv.writer(file, lineterminator="\n").writerows(lines)


def write_bytes(file: BinaryIO, lines: Iterable[Sequence[Any]]) -> None:
    """`write` to a binary file, in UTF-8."""
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    write(text, lines)
    text.detach()  # flushes, and leaves the file open


def events(
    path: str | Path,
    names: Sequence[str],
    *,
    header: bool | None = None,
    key: str,
    header_key: str = "",
    named: bool,
    coding: Coding | None = None,
    known: Sequence[Sequence[str]] | None = None,
) -> Table:
    """The table in a file as points with the coordinates `names`, which are made from the columns of the file if there is a `coding`.

    With the `known` values of discrete columns, they are the positions of the cells in these values.

    Columns are selected by name if the file has all the names, and by position otherwise. If the names come from the data (`named`), a
    file with a header must have all of them. A first row that has all the names is a header, even if they are numbers.
    """
    path = Path(path).expanduser()
    content = content_of(path, header, key, header_key)
    whole = {*names} <= {*content.names} if content.names else len(content.cells) and len(content.cells[0]) == len(names)
    if coding and not whole:  # the file has the columns themselves
        return _coded(path, content, coding, Keys(key, header=header_key), named=named)
    if header is None and compressed.kind(path) in TEXT and isinstance(content.cells, list):
        first = content.names or [cell.strip() for cell in (content.cells or [[]])[0]]
        if {*names} <= {*first}:  # this settles what the first row is, so there is nothing to note
            skipped = 0 if content.names else 1
            content = content._replace(names=first, places=content.places[skipped:], cells=content.cells[skipped:], notes=())
    by_name = content.names and (named or {*names} <= {*content.names})
    categories: Categories = "onehot" if known else "refuse"
    table = _table(path, content, names if by_name else None, Keys(key, header=header_key), categories=categories)
    if table.values.shape[1] != len(names):
        raise bad(
            f"{key}: {path} has {table.values.shape[1]} columns, but the events have {len(names)}: {', '.join(names)}",
            "give the file exactly these columns, or a header that contains these names",
        )
    return _positions(table, names, known, path, key) if known else table


def _positions(table: Table, names: Sequence[str], known: Sequence[Sequence[str]], path: Path, key: str) -> Table:
    """The table with the positions of its cells in the known values of their columns."""
    columns = zip(known, table.values.T, table.column_names, strict=True)
    found = np.stack([known_values.positions(values, cells, table.categories.get(name)) for values, cells, name in columns], -1)
    for row, j in np.argwhere(np.isnan(found))[:1].tolist():
        cell, values = table.text(row, row + 1)[0][table.chosen[j]], ", ".join(known[j][:MOST_NAMED])
        fault = f"{key}: {path.name}, {table.place(row)}, column {names[j]}: {cell!r} is not one of its values"
        raise bad(fault, f"the column holds one of {values}{', ...' * (len(known[j]) > MOST_NAMED)}")
    return replace(table, values=found)


def _table(
    path: Path,
    content: Content,
    columns: Sequence[str | int] | None,
    keys: Keys,
    *,
    label: str | int | None = None,
    missing: Missing = "refuse",
    categories: Categories = "refuse",
) -> Table:
    """The chosen columns of what a file holds."""
    names, places, cells, shape, notes = content
    if not len(cells):
        raise bad(f"{keys.file}: {path.name} has no rows", "give a file with one event per row")
    width = len(names) if names else len(cells[0])
    ragged = [i for i, row in enumerate(cells) if len(row) != width] if isinstance(cells, list) else []
    if ragged:
        found = f"{len(cells[ragged[0]])} cells instead of {width} ({len(ragged)} such rows)"
        raise bad(f"{keys.file}: {path.name}, line {places[ragged[0]]}: {found}", "give every row one cell for each column")
    label_at = None if label is None else _position(label, names, width, keys.label)
    if columns is None:
        index = _is_index(names, cells) and width > 1
        chosen = [i for i in range(index, width) if i != label_at]
        notes += (f"{path.name}: its first column, without a name, numbers the rows and is left out",) if index else ()
    else:
        chosen = [_position(column, names, width, keys.columns or keys.file) for column in columns]
        if label_at in chosen:
            raise bad(f"{keys.label}: column {label!r} is also one of {keys.columns}", "leave it out there")
    values, texts = _numbers(cells, chosen), {}
    if values is None:
        values, texts = _columns(path, content, chosen, keys, missing=missing, categories=categories)
        if missing == "drop" and (gaps := np.isnan(values).any(1)).any():
            kept = np.flatnonzero(~gaps)
            notes += (f"{path.name}: {gaps.sum()} of {len(gaps)} rows have missing values and are left out",)
            if not len(kept):
                raise bad(f"{keys.missing}: all rows of {path.name} have missing values", f"use {keys.missing}=median, or other columns")
            values, places = values[kept], [places[i] for i in kept]
            cells = cells[kept] if isinstance(cells, np.ndarray) else [cells[i] for i in kept]
    event_shape = shape if shape and chosen == list(range(width)) else (len(chosen),)
    chosen_names = [names[i] for i in chosen] if names else None
    by_name = {chosen_names[j] if chosen_names else f"x{j}": found for j, found in texts.items()}
    labels = None if label_at is None else [as_label(row[label_at]) for row in cells]
    is_text = compressed.kind(path) in TEXT
    return Table(chosen_names, values, chosen, names, cells, event_shape, places, is_text, notes, by_name, labels)


def _columns(
    path: Path, content: Content, chosen: list[int], keys: Keys, *, missing: Missing, categories: Categories
) -> tuple[np.ndarray, dict[int, list[str]]]:
    """The chosen columns (N, D) with nan for missing values, and the values of those with categories, by their positions in `chosen`."""
    names, places, cells = content[:3]
    if isinstance(cells, np.ndarray):
        found = [Column("numbers", cells[:, i].astype(float), None, np.flatnonzero(np.isinf(cells[:, i])).tolist()) for i in chosen]
    else:
        found = [column([row[i] for row in cells]) for i in chosen]
    faulty, kinds = [], {}
    for j, (i, (kind, numbers, _, bad_rows)) in enumerate(zip(chosen, found, strict=True)):
        rows = [] if kind == "categories" and categories == "onehot" else bad_rows
        gaps = [] if missing != "refuse" else [k for k in np.flatnonzero(np.isnan(numbers)).tolist() if is_missing(_text(cells[k][i]))]
        if rows or gaps:
            kinds[i] = kind if rows and kind != "numbers" else "faults" if rows else "missing"
            faulty += [(k, j) for k in (*rows, *gaps)]
    if faulty:
        bad_cells = [(places[k], chosen[j], _text(cells[k][chosen[j]])) for k, j in sorted(faulty)]
        is_text = compressed.kind(path) in TEXT
        where = f"{keys.file}: {path.name}, {'line' if is_text else 'row'}"
        raise refusal(where, Faults(bad_cells, kinds), chosen, names, keys, first=places[0] if is_text and not names else None)
    return np.stack([part.numbers for part in found], -1), {j: part.values for j, part in enumerate(found) if part.values is not None}


def _coded(path: Path, content: Content, coding: Coding, keys: Keys, *, named: bool) -> Table:
    """The columns of a file in the coordinates of a coding."""
    by_name = content.names and (named or {*coding.columns} <= {*content.names})
    missing = "median" if coding.filled or coding.marked else "refuse"
    table = _table(path, content, coding.columns if by_name else None, keys, missing=missing, categories="onehot")
    if table.values.shape[1] != len(coding.columns):
        raise bad(f"{keys.file}: {path} has {table.values.shape[1]} columns instead of {len(coding.columns)}: {', '.join(coding.columns)}")
    categories = dict(zip(coding.columns, (table.categories.get(name) for name in table.column_names), strict=True))
    for j, name in enumerate(coding.columns):
        if (name in coding.values) != (categories[name] is not None):
            raise bad(f"{keys.file}: column {name} of {path.name} does not hold what the run was trained on: {_meant(coding, name)}")
        new = sorted({*(categories[name] or ())} - {*coding.values.get(name, ())})
        gaps = np.flatnonzero(np.isnan(table.values[:, j]))
        if new or (len(gaps) and name not in coding.values and name not in coding.filled):
            what = f"{new[0]!r} is not a value of the training rows" if new else f"{table.place(gaps[0])} has no value"
            raise bad(f"{keys.file}: {path.name}, column {name}: {what}", f"the column holds {_meant(coding, name)}")
    values = coding.apply(table.values, categories)
    return replace(table, names=coding.names if named else None, values=values, shape=(values.shape[1],))


def _meant(coding: Coding, name: str) -> str:
    return f"one of {', '.join(coding.values[name])}" if name in coding.values else "numbers"


def _is_index(names: list[str] | None, cells: Cells) -> bool:
    """Whether the first column of a text file has no name and numbers the rows, in any order and possibly with gaps."""
    if not names or not isinstance(cells, list) or names[0] not in UNNAMED:
        return False
    column = [row[0] for row in cells]
    return all(cell.isascii() and cell.isdecimal() for cell in column) and len(set(column)) == len(column)


def _position(column: str | int, names: list[str] | None, width: int, key: str) -> int:
    if names and str(column) in names:
        if names.count(str(column)) > 1:
            raise bad(
                f"{key}: several columns are called {column!r}", "choose columns by position, counted from 0; the first row may be data"
            )
        return names.index(str(column))
    if isinstance(column, int) and 0 <= column < width:
        return column
    if names:
        raise bad(f"{key}: there is no column {column!r}", nearest(str(column), names))
    raise bad(f"{key}: there is no column {column!r}", f"the file has no header: choose columns by position, 0 .. {width - 1}")


def _numbers(rows: Cells, chosen: list[int]) -> np.ndarray | None:
    """The chosen columns in double precision, (N, D); None if some cell is not a finite number."""
    try:
        values = (np.array([[row[i] for i in chosen] for row in rows]) if isinstance(rows, list) else rows[:, chosen]).astype(np.float64)
    except ValueError:
        return None
    return values if np.isfinite(values).all() else None


def _text_of(rows: Cells) -> list[list[str]]:
    return rows if isinstance(rows, list) else [[repr(cell) for cell in row] for row in rows.tolist()]


def as_label(cell: Any) -> str:
    """A label as text: whole numbers without a point, so that 1 and 1.0 are the same label."""
    text = _text(cell).strip()
    if not text_tables.is_number(text) or not isfinite(float(text)):
        return text
    return str(int(float(text))) if float(text).is_integer() else repr(float(text))


def _text(cell: Any) -> str:
    return cell if isinstance(cell, str) else repr(float(cell))
