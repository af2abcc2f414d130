"""Tables of numbers from files: CSV, TSV, NPY, NPZ and, with pyarrow, Parquet, where every bad cell is named; and into CSV."""

import csv
import io
import pickle
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ebm_cli.errors import InputError, Problem, bad, nearest

TEXT = (".csv", ".tsv")
SHOWN = 5  # bad cells that are named one by one


@dataclass(frozen=True)
class Table:
    """`values` (N, D) of the chosen columns, in double precision, with their names (None where the file has none), and the file as it
    stood: its header and the text of every row."""

    names: list[str] | None
    values: np.ndarray
    chosen: list[int]  # positions of the columns
    header: list[str] | None
    text: list[list[str]]


def read(path: str | Path, columns: Sequence[str | int] | None = None, *, key: str, columns_key: str = "") -> Table:
    """The table in a file; `columns` (names or positions) selects the values, not the text. The keys name file and choice in errors."""
    path = Path(path).expanduser()
    if not path.is_file():
        raise bad(f"{key}: no file {str(path)!r}", "give the path of a .csv, .tsv, .npy, .npz or .parquet file")
    readers = dict.fromkeys(TEXT, _text) | {".npy": _npy, ".npz": _npz, ".parquet": _parquet}
    if path.suffix.lower() not in readers:
        raise bad(f"{key}: {path.name} is of no known kind", f"known are {', '.join(readers)}")
    try:
        names, lines, text = readers[path.suffix.lower()](path, key)
    except (OSError, ValueError, EOFError, csv.Error, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        raise bad(
            f"{key}: {path.name} cannot be read: {str(error).splitlines()[0]}", "plain numbers are expected; no pickle is read"
        ) from None
    if not text:
        raise bad(f"{key}: {path.name} holds no rows")
    width = len(names) if names else len(text[0])
    ragged = [i for i, row in enumerate(text) if len(row) != width]
    if ragged:
        cells = f"{len(text[ragged[0]])} cells where {width} are expected ({len(ragged)} such rows)"
        raise bad(f"{key}: {path.name}, line {lines[ragged[0]]}: {cells}")
    chosen = list(range(width)) if columns is None else [_position(column, names, width, columns_key or key) for column in columns]
    values = _numbers(text, chosen, names, lines, path, key, columns_key)
    return Table([names[i] for i in chosen] if names else None, values, chosen, names, text)


def write(file: BinaryIO, lines: Iterable[Sequence[Any]]) -> None:
    """CSV, in UTF-8."""
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    csv.writer(text, lineterminator="\n").writerows(lines)
    text.detach()  # flushed, and left open


def events(path: str | Path, names: Sequence[str], *, key: str, named: bool) -> Table:
    """The table in a file as points with these coordinates: by name where the file has all the names, else by position. Where the names
    are the data's own (`named`), a file that has others is refused."""
    header = read(path, [], key=key).header or ()
    table = read(path, names if header and (named or {*names} <= {*header}) else None, key=key)
    if table.values.shape[1] != len(names):
        raise bad(
            f"{key}: {path} has {table.values.shape[1]} columns, the events have {len(names)}: {', '.join(names)}",
            "where a file's header has these names, other columns may stand beside them",
        )
    return table


def _position(column: str | int, names: list[str] | None, width: int, key: str) -> int:
    if names and str(column) in names:
        if names.count(str(column)) > 1:
            raise bad(f"{key}: several columns are called {column!r}", "choose by position, counted from 0")
        return names.index(str(column))
    if isinstance(column, int) and 0 <= column < width:
        return column
    if names:
        raise bad(f"{key}: there is no column {column!r}", nearest(str(column), names))
    raise bad(f"{key}: there is no column {column!r}", f"the file has no header: choose by position, 0 .. {width - 1}")


def _text(path: Path, key: str) -> tuple[list[str] | None, list[int], list[list[str]]]:
    with open(path, newline="", encoding="utf-8-sig") as file:
        first = file.readline()
        file.seek(0)
        delimiter = "\t" if path.suffix.lower() == ".tsv" else max(",;\t", key=first.count)
        reader = csv.reader(file, delimiter=delimiter, skipinitialspace=True)
        lines, rows = [], []
        for row in reader:
            if row:
                lines.append(reader.line_num)
                rows.append(row)
    if rows and not any(_is_number(cell) for cell in rows[0]):
        return [cell.strip() for cell in rows[0]], lines[1:], rows[1:]
    return None, lines, rows


def _npy(path: Path, key: str) -> tuple[None, list[int], list[list[str]]]:
    return None, *_rows(np.load(path, allow_pickle=False), path, key)


def _npz(path: Path, key: str) -> tuple[list[str] | None, list[int], list[list[str]]]:
    stored = np.load(path, allow_pickle=False)
    if isinstance(stored, np.ndarray):
        raise bad(f"{key}: {path.name} holds one array", "name it .npy")
    with stored:
        arrays = dict(stored)
    if "x" in arrays and "columns" in arrays:  # samples as this program writes them
        return arrays["columns"].tolist(), *_rows(arrays["x"], path, key)
    if len(arrays) < 2:
        return None, *_rows(next(iter(arrays.values()), np.empty((0, 0))), path, key)
    if any(array.ndim != 1 or len(array) != len(next(iter(arrays.values()))) for array in arrays.values()):
        raise bad(f"{key}: {path.name} holds arrays of several shapes", "keep one array (rows, columns), or one array per column")
    return list(arrays), *_rows(np.stack(list(arrays.values()), -1), path, key)


def _parquet(path: Path, key: str) -> tuple[list[str], list[int], list[list[str]]]:
    try:
        from pyarrow import parquet
    except ModuleNotFoundError:
        raise bad(f"{key}: reading {path.name} needs pyarrow", "pip install 'ebm-cli[parquet]'") from None
    columns = parquet.read_table(path).to_pydict()
    text = [[repr(cell) if isinstance(cell, float) else str(cell) for cell in row] for row in zip(*columns.values(), strict=True)]
    return list(columns), list(range(len(text))), text


def _rows(array: Any, path: Path, key: str) -> tuple[list[int], list[list[str]]]:
    """Row numbers from 0, and the rows."""
    if not isinstance(array, np.ndarray):
        raise bad(f"{key}: {path.name} holds several arrays", "name it .npz")
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2 or array.dtype.kind not in "fiub":
        raise bad(f"{key}: {path.name} holds a {array.ndim}-dimensional array of {array.dtype}", "numbers in (rows, columns) are expected")
    array = array.astype(float) if array.dtype.kind in "fb" and array.dtype != np.float32 else array
    return list(range(len(array))), [[repr(cell) for cell in row] for row in array.tolist()]


def _numbers(
    text: list[list[str]], chosen: list[int], names: list[str] | None, lines: list[int], path: Path, key: str, columns_key: str
) -> np.ndarray:
    try:
        values = np.array([[row[i] for i in chosen] for row in text]).astype(np.float64)
        if np.isfinite(values).all():
            return values
    except ValueError:
        pass  # some cell is no number: find them all
    cells = [(line, i, row[i]) for line, row in zip(lines, text, strict=True) for i in chosen if not _is_number(row[i], finite=True)]
    line_or_row = f"{key}: {path.name}, {'line' if path.suffix.lower() in TEXT else 'row'}"
    shown = [
        Problem(f"{line_or_row} {line}, column {names[i] if names else i}: {cell!r} is not a finite number")
        for line, i, cell in cells[:SHOWN]
    ]
    more = f" ({len(cells)} such cells)" if len(cells) > SHOWN else ""
    hint = "mend or drop these rows" + (f", or choose columns: {columns_key}=[a,b]" if columns_key else "")
    raise InputError(*shown[:-1], Problem(shown[-1].message + more, hint))


def _is_number(cell: str, *, finite: bool = False) -> bool:
    try:
        value = float(cell)
    except ValueError:
        return False
    return not finite or bool(np.isfinite(value))
