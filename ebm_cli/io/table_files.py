"""Read tables of numbers from CSV, TSV, NPY, NPZ and (with pyarrow) Parquet files, with errors that name bad cells; write CSV files."""

import csv
import io
import pickle
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isfinite, prod
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TextIO

import numpy as np

from ebm_cli.errors import MOST_NAMED, InputError, Problem, bad, nearest, override
from ebm_cli.io import array_files, text_tables

TEXT = (".csv", ".tsv")
UNNAMED = ("", "Unnamed: 0")  # the name of an index that pandas has written, and written again
Cells = list[list[str]] | np.ndarray  # the text of every row, or the numbers of an array (N, D)
SHOWN = 5  # maximum number of bad cells in an error message


class Content(NamedTuple):
    """What a file holds: the names of the columns, the place of every row, the rows, the shape of one row of an array, and notes."""

    names: list[str] | None
    places: Sequence[int]
    cells: Cells
    shape: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """The chosen columns of a file, and its unmodified content.

    `values` are the chosen columns, (N, D), in double precision, and `names` their names (None if the file has no header). `header` and
    `cells` are those of the whole file. `shape` is the shape of one event: (D,), or the shape of one row of an array. `places` are the
    line numbers of the rows of a text file, or the row numbers of an array, from 0. `notes` say how the file was read where it leaves
    that open.
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
    key: str,
    columns_key: str = "",
    header_key: str = "",
) -> Table:
    """The table in a file. `columns` (names or positions) selects the columns of `values`, not of the text.

    Without `columns`, all are taken, except for the unnamed index that pandas writes as the first column of a CSV file. `header` says
    whether the first row of a text file holds names; None finds out (see text_tables.py). `key`, `columns_key` and `header_key` are the
    config keys of the file, of the columns and of the header, for messages.
    """
    path = Path(path).expanduser()
    return _table(path, _content(path, header, key, header_key), columns, key, columns_key, header_key)


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


def events(path: str | Path, names: Sequence[str], *, header: bool | None = None, key: str, header_key: str = "", named: bool) -> Table:
    """The table in a file as points with the coordinates `names`.

    Columns are selected by name if the file has all the names, and by position otherwise. If the names come from the data (`named`), a
    file with a header must have all of them. A first row that has all the names is a header, even if they are numbers.
    """
    path = Path(path).expanduser()
    content = _content(path, header, key, header_key)
    if header is None and path.suffix.lower() in TEXT:
        first = content.names or [cell.strip() for cell in (content.cells or [[]])[0]]
        if {*names} <= {*first}:  # this settles what the first row is, so there is nothing to note
            skipped = 0 if content.names else 1
            content = content._replace(names=first, places=content.places[skipped:], cells=content.cells[skipped:], notes=())
    by_name = content.names and (named or {*names} <= {*content.names})
    table = _table(path, content, names if by_name else None, key, "", header_key)
    if table.values.shape[1] != len(names):
        raise bad(
            f"{key}: {path} has {table.values.shape[1]} columns, but the events have {len(names)}: {', '.join(names)}",
            "give the file exactly these columns, or a header that contains these names",
        )
    return table


def _content(path: Path, header: bool | None, key: str, header_key: str) -> Content:
    """What a file holds: every row, as text or as numbers."""
    if not path.is_file():
        raise bad(f"{key}: there is no file {str(path)!r}", "give the path of a .csv, .tsv, .npy, .npz or .parquet file")

    def text(path: Path, key: str) -> Content:
        names, lines, rows, note = text_tables.read(path, key, header, header_key)
        return Content(names, lines, rows, notes=(note,) if note else ())

    readers = dict.fromkeys(TEXT, text) | {".npy": _npy, ".npz": _npz, ".parquet": _parquet}
    if path.suffix.lower() not in readers:
        raise bad(f"{key}: {path.name} has an unknown file type", f"the supported types are {', '.join(readers)}")
    try:
        return readers[path.suffix.lower()](path, key)
    except (OSError, ValueError, EOFError, csv.Error, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        message = f"{key}: {path.name} cannot be read: {str(error).splitlines()[0]}"
        raise bad(message, "the file must hold plain numbers; pickled objects are not read") from None


def _table(path: Path, content: Content, columns: Sequence[str | int] | None, key: str, columns_key: str, header_key: str) -> Table:
    """The chosen columns of what a file holds."""
    names, places, cells, shape, notes = content
    if not len(cells):
        raise bad(f"{key}: {path.name} has no rows")
    width = len(names) if names else len(cells[0])
    ragged = [i for i, row in enumerate(cells) if len(row) != width]
    if ragged:
        found = f"{len(cells[ragged[0]])} cells instead of {width} ({len(ragged)} such rows)"
        raise bad(f"{key}: {path.name}, line {places[ragged[0]]}: {found}")
    if columns is None:
        index = _is_index(names, cells) and width > 1
        chosen = list(range(index, width))
        notes += (f"{path.name}: its first column, without a name, numbers the rows and is left out",) if index else ()
    else:
        chosen = [_position(column, names, width, columns_key or key) for column in columns]
    values = _numbers(cells, chosen)
    if values is None:
        raise _bad_cells(path, content, chosen, key, columns_key, header_key)
    event_shape = shape if shape and chosen == list(range(width)) else (len(chosen),)
    chosen_names = [names[i] for i in chosen] if names else None
    return Table(chosen_names, values, chosen, names, cells, event_shape, places, path.suffix.lower() in TEXT, notes)


def _is_index(names: list[str] | None, cells: Cells) -> bool:
    """Whether the first column of a text file has no name and numbers the rows, in any order and possibly with gaps."""
    if not names or not isinstance(cells, list) or names[0] not in UNNAMED:
        return False
    column = [row[0] for row in cells]
    return all(cell.isascii() and cell.isdecimal() for cell in column) and len(set(column)) == len(column)


def _position(column: str | int, names: list[str] | None, width: int, key: str) -> int:
    if names and str(column) in names:
        if names.count(str(column)) > 1:
            raise bad(f"{key}: several columns are called {column!r}", "choose columns by position, counted from 0")
        return names.index(str(column))
    if isinstance(column, int) and 0 <= column < width:
        return column
    if names:
        raise bad(f"{key}: there is no column {column!r}", nearest(str(column), names))
    raise bad(f"{key}: there is no column {column!r}", f"the file has no header: choose columns by position, 0 .. {width - 1}")


def _arrays(path: Path) -> Any:
    with open(path, "rb") as file:
        return array_files.load(file)


def _npy(path: Path, key: str) -> Content:
    return Content(None, *_rows(_arrays(path), path, key))


def _npz(path: Path, key: str) -> Content:
    arrays = _arrays(path)
    if isinstance(arrays, np.ndarray):
        raise bad(f"{key}: {path.name} is not an archive but a single array", "rename it to .npy")
    if "x" in arrays and "columns" in arrays:  # the format in which `ebm` writes samples
        names, found = arrays["columns"].tolist(), _rows(arrays["x"], path, key)
        return Content(None if arrays["x"].ndim > 2 else names, *found)
    if len(arrays) < 2:
        return Content(None, *_rows(next(iter(arrays.values()), np.empty((0, 0))), path, key))
    if any(array.ndim != 1 or len(array) != len(next(iter(arrays.values()))) for array in arrays.values()):
        raise bad(f"{key}: {path.name} holds arrays of several shapes", "store one array (rows, columns), or one vector per column")
    return Content(list(arrays), *_rows(np.stack(list(arrays.values()), -1), path, key))


def _parquet(path: Path, key: str) -> Content:
    try:
        from pyarrow import parquet
    except ModuleNotFoundError:
        raise bad(f"{key}: reading {path.name} needs pyarrow", "pip install 'ebm-cli[parquet]'") from None
    columns = parquet.read_table(path).to_pydict()
    text = [[repr(cell) if isinstance(cell, float) else str(cell) for cell in row] for row in zip(*columns.values(), strict=True)]
    return Content(list(columns), range(len(text)), text)


def _rows(array: Any, path: Path, key: str) -> tuple[Sequence[int], np.ndarray, tuple[int, ...]]:
    """Row numbers from 0, the rows as vectors, and the shape of one row."""
    if not isinstance(array, np.ndarray):
        raise bad(f"{key}: {path.name} is not a single array but an archive", "rename it to .npz")
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim < 2 or array.dtype.kind not in "fiub":
        raise bad(
            f"{key}: {path.name} holds a {array.ndim}-dimensional array of {array.dtype}",
            "the array must hold numbers, as (rows, columns) or (rows, *shape)",
        )
    array = array.astype(float) if array.dtype.kind in "fb" and array.dtype != np.float32 else array
    return range(len(array)), array.reshape(len(array), prod(array.shape[1:])), array.shape[1:]


def _numbers(rows: Cells, chosen: list[int]) -> np.ndarray | None:
    """The chosen columns in double precision, (N, D); None if some cell is not a finite number."""
    try:
        values = (np.array([[row[i] for i in chosen] for row in rows]) if isinstance(rows, list) else rows[:, chosen]).astype(np.float64)
    except ValueError:
        return None
    return values if np.isfinite(values).all() else None


def _bad_cells(path: Path, content: Content, chosen: list[int], key: str, columns_key: str, header_key: str) -> InputError:
    """The error that names the first of the cells that are not finite numbers, with what can be done."""
    names, places, rows = content.names, content.places, _text_of(content.cells)
    cells = [(place, i, row[i]) for place, row in zip(places, rows, strict=True) for i in chosen if not _is_finite(row[i])]
    is_text = path.suffix.lower() in TEXT
    where = f"{key}: {path.name}, {'line' if is_text else 'row'}"
    shown = [
        Problem(f"{where} {place}, column {names[i] if names else i}: {cell!r} is not a finite number") for place, i, cell in cells[:SHOWN]
    ]
    more = f" ({len(cells)} such cells)" if len(cells) > SHOWN else ""
    hint = "correct or remove these rows"
    good = [i for i in chosen if i not in {i for _, i, _ in cells}]
    if header_key and is_text and not names and {place for place, _, _ in cells} == {places[0]}:
        hint = f"if this line holds the names of the columns: {header_key}=true"
    elif columns_key and good:
        hint += f", or choose the other columns: {override(columns_key, [names[i] if names else i for i in good[:MOST_NAMED]])}"
    return InputError(*shown[:-1], Problem(shown[-1].message + more, hint))


def _text_of(rows: Cells) -> list[list[str]]:
    return rows if isinstance(rows, list) else [[repr(cell) for cell in row] for row in rows.tolist()]


def _is_finite(cell: str) -> bool:
    return text_tables.is_number(cell) and isfinite(float(cell))
