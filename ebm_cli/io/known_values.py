"""The values of columns of bits and categories, whose positions are the coordinates of events.

A cell is one of the values if it is the same text or the same number: 1, 1.0 and 01 are one number. In a column whose values are texts, a
number is the position of a value, because arrays of samples hold positions there.
"""

from collections.abc import Sequence

import numpy as np

from ebm_cli.io.text_tables import is_number


def positions(known: Sequence[str], numbers: np.ndarray, texts: Sequence[str] | None = None) -> np.ndarray:
    """The position of each cell of a column in `known`, (N,), nan for an unknown one. `numbers` (N,) are positions in `texts`, if any."""
    if texts is not None:
        place = {text: k for k, text in enumerate(known)}
        return np.array([place[text] if text in place else _of_number(known, text) for text in texts])[numbers.astype(int)]
    values = np.array([float(value) if is_number(value) else np.nan for value in known])
    if np.isnan(values).all():
        values = np.arange(len(known), dtype=float)
    order = np.argsort(values)
    place = order[np.searchsorted(values[order], numbers).clip(max=len(order) - 1)]
    return np.where(values[place] == numbers, place, np.nan)


def texts(known: Sequence[Sequence[str]], x: np.ndarray) -> list[list[str]]:
    """The values of the events x, (N, D), which are positions, as rows of a text file."""
    return [[known[j][int(k)] for j, k in enumerate(row)] for row in x.tolist()]


def numbers(known: Sequence[Sequence[str]], x: np.ndarray) -> np.ndarray:
    """The values of the events x, (N, D), as an array. Columns of text keep the positions."""
    parts = [
        np.array([float(v) for v in values])[x[:, j].astype(int)] if all(map(is_number, values)) else x[:, j]
        for j, values in enumerate(known)
    ]
    return np.stack(parts, -1)


def _of_number(known: Sequence[str], text: str) -> float:
    """The position of a number in a column that holds both numbers and texts."""
    return positions(known, np.array([float(text)]))[0] if is_number(text) and any(map(is_number, known)) else np.nan
