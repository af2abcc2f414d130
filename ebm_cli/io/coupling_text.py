"""Couplings in text files: COO lists `i j value`, lists of pairs `i j`, and the QUBO files of qbsolv.

Lines may be separated by spaces, tabs or commas. What follows # is a comment; `# vartype=SPIN` and `# vartype=BINARY`, which dimod writes,
give the convention. In .qubo files comments begin with c, and a line `p qubo 0 maxNodes nNodes nCouplers` stands above the others.
"""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ebm_cli.errors import InputError, bad
from ebm_cli.io import compressed, text_tables

VARTYPE = re.compile(r"#\s*vartype\s*=\s*(\w+)", re.IGNORECASE)
VARTYPES = {"SPIN": "dimod", "BINARY": "qubo"}
LONGEST = 40  # characters of a line that an error shows


class Raw(NamedTuple):
    """What a file says: the two sites of each entry, (N, 2), equal for a field, and its value, (N,), or None without values."""

    pairs: np.ndarray
    values: np.ndarray | None
    n_sites: int = 0
    convention: str | None = None
    offset: float = 0.0
    beta: float = 1.0
    lines: np.ndarray | None = None  # the line of each entry

    def place(self, row: int) -> str:
        """Where an entry stands in the file."""
        return f", entry {row}" if self.lines is None else f", line {self.lines[row]}"

    def places(self, first: int, second: int) -> str:
        """Where two entries stand."""
        return "" if self.lines is None else f" (lines {self.lines[first]} and {self.lines[second]})"


def read(path: Path, key: str) -> Raw:
    """The entries of a text file."""
    try:
        text = text_tables.decoded(compressed.content(path, key), path, key)
    except (OSError, EOFError, *compressed.FAULTS) as error:
        raise bad(f"{key}: {path.name} cannot be read: {error}", "give the path of a text file with lines `i j value`") from None
    is_qubo, convention, n_sites = compressed.kind(path) == ".qubo", None, 0
    pairs, values, lines = [], [], []
    for number, line in enumerate(text.splitlines(), 1):
        if found := VARTYPE.search(line):
            convention = VARTYPES.get(found[1].upper())
            if convention is None:
                raise bad(f"{key}: {path.name}, line {number}: the vartype {found[1]} is not known", f"one of {', '.join(VARTYPES)}")
        words = line.partition("#")[0].replace(",", " ").split()
        if not words or (is_qubo and words[0].lower() == "c"):
            continue
        if words[0].lower() == "p":
            is_qubo, n_sites = True, header(words, path, number, key)
            continue
        pairs.append((whole(words, 0, path, number, key), whole(words, 1, path, number, key)))
        if len(words) > 2:
            values.append(real(words, path, number, key))
        lines.append(number)
        if values and len(values) < len(pairs):
            raise bad(
                f"{key}: {path.name}, line {number}: {shown(line)!r} has no value, but other lines have one", "give every pair a value"
            )
    array = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    if not values and is_qubo and len(array):
        raise bad(f"{key}: {path.name} has no values", "a line of a QUBO file is `i j value`")
    return Raw(array, np.array(values) if values else None, n_sites, "qubo" if is_qubo else convention, lines=np.array(lines))


def header(words: list[str], path: Path, line: int, key: str) -> int:
    """The number of sites in the header of a QUBO file."""
    if len(words) != 6 or words[1].lower() != "qubo" or not words[3].isdecimal():
        found = shown(" ".join(words))
        raise bad(f"{key}: {path.name}, line {line}: {found!r} is no header of a QUBO file", "p qubo 0 maxNodes nNodes nCouplers")
    return int(words[3])


def whole(words: list[str], place: int, path: Path, line: int, key: str) -> int:
    """A site. 3.0 is accepted, because numpy writes whole numbers so."""
    text = words[place] if len(words) in (2, 3) else ""
    try:
        number = float(text)
        if number.is_integer() and abs(number) < 1 << 53:
            return int(number)
    except ValueError:
        pass
    raise _no_entry(words, path, line, key)


def real(words: list[str], path: Path, line: int, key: str) -> float:
    """A value. `check` in coupling_files.py refuses values that are not finite."""
    try:
        return float(words[2])
    except ValueError:
        raise _no_entry(words, path, line, key) from None


def _no_entry(words: list[str], path: Path, line: int, key: str) -> InputError:
    hint = "two sites, counted from 0, and a value: `0 1 -0.5`; a field: `0 0 0.3`; without values the pairs of a graph: `0 1`"
    return bad(f"{key}: {path.name}, line {line}: {shown(' '.join(words))!r} is not `i j value`", hint)


def shown(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."
