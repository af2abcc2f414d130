"""What files of tables hold: CSV, TSV, ARFF, KEEL, NPY, NPZ and (with pyarrow) Parquet. Pickled objects are not read."""

import csv
import pickle
import zipfile
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ebm_cli.errors import bad
from ebm_cli.io import array_files, compressed, text_tables

TEXT = (".csv", ".tsv", ".dat", ".arff")
KINDS = "a .csv, .tsv, .dat, .arff, .npy, .npz or .parquet file; text files may be compressed (.csv.gz, .csv.xz, .csv.bz2)"
Cells = list[list[str]] | np.ndarray  # the text of every row, or the numbers of an array (N, D)


class Content(NamedTuple):
    """What a file holds: the names of the columns, the place of every row, the rows, the shape of one row of an array, and notes."""

    names: list[str] | None
    places: Sequence[int]
    cells: Cells
    shape: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()


def content(path: Path, header: bool | None, key: str, header_key: str, *, numbers: bool = False) -> Content:
    """What a file holds: every row, as text or as numbers. With `numbers`, a large file of numbers is not kept as text."""
    if not path.is_file():
        raise bad(f"{key}: there is no file {str(path)!r}", f"give the path of {KINDS}")

    def text(path: Path, key: str) -> Content:
        names, lines, rows, note = text_tables.read(path, key, header, header_key, numbers=numbers)
        return Content(names, lines, rows, notes=(note,) if note else ())

    readers = dict.fromkeys(TEXT, text) | {".npy": _npy, ".npz": _npz, ".parquet": _parquet}
    kind = compressed.kind(path)
    if kind not in readers or (kind not in TEXT and path.suffix.lower() != kind):
        raise bad(f"{key}: {path.name} has an unknown file type", f"give {KINDS}")
    try:
        return readers[kind](path, key)
    except (OSError, ValueError, EOFError, csv.Error, pickle.UnpicklingError, zipfile.BadZipFile, *compressed.FAULTS) as error:
        message = f"{key}: {path.name} cannot be read: {str(error).splitlines()[0]}"
        incomplete = isinstance(error, (EOFError, zipfile.BadZipFile, *compressed.FAULTS))
        hint = "the file is damaged or incomplete" if incomplete else "the file must hold plain numbers; pickled objects are not read"
        raise bad(message, hint) from None


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
