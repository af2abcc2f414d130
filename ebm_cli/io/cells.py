"""The cells of the columns of a file: numbers, missing values, categories, dates, and faults.

A cell that is not a number is missing if it is empty or one of the usual words (text_tables.MISSING). Of the other cells of a column, at
least half are dates in a column of dates, or numbers with commas in a column of these; a fraction of at least `TEXT` is text in a column
of categories, and all of them together take at most `MOST_VALUES` values (2, 3, 4, more). In other columns, cells of text are faults.
"""

import math
import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from ebm_cli.errors import MOST_NAMED, InputError, Problem, override
from ebm_cli.io import text_tables

MOST_VALUES = 50  # maximum number of values of a column of categories
TEXT = 0.1  # a column with a smaller fraction of text is one of numbers, with faults
SHOWN = 5  # maximum number of bad cells in an error message
DATE = re.compile(  # 2024-01-31, 2024/1/31 12:00, 31.01.2024, 01/31/24, 31-Jan-2024, Jan 31 2024, 12:30, 20240131T1200
    r"(\d{4}[-/.]\d{1,2}([-/.]\d{1,2})?|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}|\d{1,2}[- ][a-z]{3,9}[- ,]+\d{2,4}|[a-z]{3,9} \d{1,2},? \d{4}"
    r"|\d{8}(?=T))([T ,]+\d{1,2}:?\d{2}.*)?|\d{1,2}:\d{2}(:\d{2}.*)?",
    re.IGNORECASE,
)

COMMAS = re.compile(r"[+-]?(\d+(\.\d{3})*)?,\d+(e[+-]?\d+)?", re.IGNORECASE)  # 4,25 and 1.234,5; also 1,234

Kind = Literal["numbers", "categories", "texts", "dates", "commas", "faults"]


class Keys(NamedTuple):
    """The config keys of a file, and of what can be chosen about it, for messages; "" for a key that does not exist."""

    file: str
    columns: str = ""
    header: str = ""
    missing: str = ""
    categories: str = ""
    label: str = ""


class Column(NamedTuple):
    """`numbers` (N,) has nan for missing cells and, in a column of categories, the positions of its sorted `values`.

    `bad` are the rows whose cells are not numbers.
    """

    kind: Kind
    numbers: np.ndarray
    values: list[str] | None
    bad: list[int]


def is_missing(cell: str) -> bool:
    return cell.strip().lower() in text_tables.MISSING


def column(cells: Sequence[str]) -> Column:
    """The content of the cells of a column."""
    numbers, texts, infinite = np.full(len(cells), np.nan), [], []
    for i, cell in enumerate(cells):
        if is_missing(cell):
            continue
        try:
            numbers[i] = float(cell)
        except ValueError:
            texts.append(i)
            continue
        if not math.isfinite(numbers[i]):
            infinite.append(i)
    if not texts:
        return Column("numbers", numbers, None, infinite)
    present = len(texts) + int(np.count_nonzero(~np.isnan(numbers)))
    if 2 * sum(DATE.fullmatch(cells[i].strip()) is not None for i in texts) >= present:
        return Column("dates", numbers, None, texts)
    if 2 * sum(COMMAS.fullmatch(cells[i].strip()) is not None for i in texts) >= present:
        return Column("commas", numbers, None, texts)
    values = sorted({cell.strip() for cell in cells if not is_missing(cell)})
    if len(texts) < TEXT * present or (len(values) > MOST_VALUES and 2 * len(texts) < present):
        return Column("faults", numbers, None, sorted(texts + infinite))
    if len(values) > MOST_VALUES:
        return Column("texts", numbers, None, texts)
    return Column("categories", codes(cells, values), values, texts)


def codes(cells: Sequence[str], values: Sequence[str]) -> np.ndarray:
    """The position of each cell in `values`; nan for a missing cell, and -1 for another value."""
    position = {value: float(i) for i, value in enumerate(values)}
    return np.array([math.nan if is_missing(cell) else position.get(cell.strip(), -1.0) for cell in cells])


class Faults(NamedTuple):
    """The cells of a file that cannot be used: (place, column, text), and the columns that they are in, by kind."""

    cells: Sequence[tuple[int, int, str]]
    kinds: dict[int, Kind | Literal["missing"]]


def refusal(where: str, faults: Faults, chosen: Sequence[int], names: Sequence[str] | None, keys: Keys, *, first: int | None) -> InputError:
    """The error that names the first bad cells, with what can be done.

    `where` is the file, with the word for its rows. `first` is the place of its first row if it is text without a header.
    """
    cells, kinds = faults
    name = {i: names[i] if names else i for i in chosen}
    shown = [Problem(f"{where} {place}, column {name[i]}: {cell!r} is not a finite number") for place, i, cell in cells[:SHOWN]]
    more = f" ({len(cells)} such cells)" if len(cells) > SHOWN else ""
    if keys.header and first is not None and {place for place, _, _ in cells} == {first}:
        hint = f"if this line holds the names of the columns: {keys.header}=true"
        return InputError(*shown[:-1], Problem(shown[-1].message + more, hint))
    hints = []

    def of(*wanted: str) -> str:
        found = [str(name[i]) for i, kind in kinds.items() if kind in wanted]
        return ", ".join(found[:MOST_NAMED]) + (", ..." if len(found) > MOST_NAMED else "")

    gaps = [(place, i) for place, i, cell in cells if is_missing(cell)]
    if keys.missing and gaps:
        n_rows = len({place for place, _ in gaps})
        hints.append(
            f"{len(gaps)} cells in {n_rows} rows are missing: {keys.missing}=drop leaves these rows out, "
            f"{keys.missing}=median replaces the cells by the median of their column"
        )
    if keys.categories and of("categories"):
        hints.append(
            f"for categories ({of('categories')}): {keys.categories}=onehot makes a column of 0 and 1 for each value, "
            f"and {keys.label}=COLUMN keeps a column of labels apart"
        )
    if of("dates"):
        hints.append(f"dates ({of('dates')}) are not read: convert them to numbers, for example to days since the first one")
    if of("commas"):
        hints.append(f"numbers are read with a decimal point and without commas: rewrite those of {of('commas')}")
    if not hints or of("faults"):
        hints.append("correct or remove these rows")
    good = [i for i in chosen if i not in kinds]
    hint = "; ".join(hints)
    if keys.columns and good:
        hint += f", or choose the other columns: {override(keys.columns, [name[i] for i in good[:MOST_NAMED]])}"
    return InputError(*shown[:-1], Problem(shown[-1].message + more, hint))
