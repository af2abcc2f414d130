"""The rows of a CSV, TSV, ARFF or KEEL file, with the decisions that such a file leaves open: its delimiter, and whether it has a header.

The delimiter is the comma, semicolon or tab that occurs most often in the first line, outside quotes. The first row is a header if none
of its cells is a number, if one of its cells is text above a column of numbers, if its first cell is empty above 0, 1, 2, ... (an index
written by pandas), or if all its cells are quoted and those of the second row are not. Quotes are read strictly: a quote that is never
closed would otherwise swallow the rest of the file. ARFF and KEEL files name their columns in lines that begin with @attribute, above a
line @data, below which they are CSV files. A .dat file without such lines is a CSV file. Large files of plain numbers are parsed by
numpy, with the same result.
"""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ebm_cli.errors import InputError, bad
from ebm_cli.io import compressed

DELIMITERS = ",;\t"
SEEN = 100  # rows below the first one that decide whether it is a header
MISSING = frozenset(("", "?", "-", "na", "n/a", "nan", "none", "null", "<null>"))  # cells, in lower case, that are missing values
LARGE = 1 << 20  # numpy parses files of more bytes
DATA = re.compile(r"^[ \t]*@data[ \t]*$", re.IGNORECASE | re.MULTILINE)
ATTRIBUTE = re.compile(r"""^[ \t]*@attribute[ \t]+('[^']*'|"[^"]*"|[^\s{]+)""", re.IGNORECASE | re.MULTILINE)
MARKS = ((b"\xff\xfe\x00\x00", "UTF-32"), (b"\x00\x00\xfe\xff", "UTF-32"), (b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16"))
QUOTED_CELL = re.compile(r'(^|[,;\t\n]) *"(?:[^"]|"")*"')


class TextTable(NamedTuple):
    """`lines` are the line numbers of `rows`. `note` says how the first row was taken if the file does not tell."""

    names: list[str] | None
    lines: Sequence[int]
    rows: list[list[str]] | np.ndarray  # an array (N, D) if numpy has parsed the file
    note: str = ""


def read(path: Path, key: str, header: bool | None = None, header_key: str = "", *, numbers: bool = False) -> TextTable:
    """The rows of a file. `header` says whether the first row holds names; None finds out. `key`, `header_key`: for error messages.

    With `numbers`, the text of a large file of numbers is not kept: its rows are an array.
    """
    content = compressed.content(path, key)
    text = decoded(content, path, key)
    kind = compressed.kind(path)
    if kind == ".arff" or (kind == ".dat" and text.lstrip().startswith(("@", "%"))):
        return declared(text, path, key)
    delimiter = "\t" if kind == ".tsv" else delimiter_of(text)
    if numbers and len(content) > LARGE and (found := fast(content, text, delimiter, path, key, header, header_key)):
        return found
    return headed(*rows_of(text, delimiter, path, key), text, delimiter, path, header, header_key)


def headed(
    lines: Sequence[int], rows: list[list[str]], text: str, delimiter: str, path: Path, header: bool | None, header_key: str
) -> TextTable:
    """The rows below the header, if there is one."""
    note = ""
    if header is None:
        header = is_header(rows, text, delimiter)
        note = note_of(rows[0], header, path, header_key) if rows and header_key else ""
    if header and rows:
        return TextTable([cell.strip() for cell in rows[0]], lines[1:], rows[1:], note)
    return TextTable(None, lines, rows, note)


def fast(content: bytes, text: str, delimiter: str, path: Path, key: str, header: bool | None, header_key: str) -> TextTable | None:
    """A file of plain numbers, parsed by numpy; None if it is another file, in which errors may have to be named."""
    end = 0
    for _ in range(SEEN + 1):
        end = text.find("\n", end) + 1
        if not end:
            return None
    try:
        top = headed(*rows_of(text[:end], delimiter, path, key), text, delimiter, path, header, header_key)
    except InputError:
        return None
    skipped = top.lines[0] - 1 if top.names else 0
    start = 0
    for _ in range(skipped):
        start = text.find("\n", start) + 1
    n_lines = text.count("\n", start) + (not text.endswith("\n"))
    if text.find('"', start) >= 0:
        return None
    try:
        rows = np.loadtxt(io.BytesIO(content), delimiter=delimiter, comments=None, skiprows=skipped, ndmin=2, encoding="utf-8-sig")
    except ValueError:
        return None
    if len(rows) != n_lines or not np.isfinite(rows).all() or (top.names and len(top.names) != rows.shape[1]):
        return None
    return top._replace(lines=range(skipped + 1, skipped + 1 + len(rows)), rows=rows)


def declared(text: str, path: Path, key: str) -> TextTable:
    """The rows of an ARFF or KEEL file, below the declaration of its columns."""
    found = DATA.search(text)
    if not found:
        hint = "such files name their columns in lines that begin with @attribute; rename other files to .csv"
        raise bad(f"{key}: {path.name} has no line @data", hint)
    above, body = text[: found.end()], text[found.end() :]
    names = [name.strip("'\"") for name in ATTRIBUTE.findall(above)]
    body = re.sub(r"(?m)^[ \t]*%.*$", "", body)  # comments become blank lines, so that line numbers stay
    quote = "'" if '"' not in body else '"'
    lines, rows = rows_of(body, ",", path, key, above=above.count("\n"), quote=quote)
    if rows and rows[0] and rows[0][0].startswith("{"):
        raise bad(f"{key}: {path.name} is a sparse ARFF file, which is not read", "write all values of each row")
    if not names:
        raise bad(f"{key}: {path.name} has no line @attribute", "rename a file without a declaration of its columns to .csv")
    return TextTable(names, lines, rows)


def rows_of(text: str, delimiter: str, path: Path, key: str, *, above: int = 0, quote: str = '"') -> tuple[list[int], list[list[str]]]:
    """The line numbers of the rows, and their cells. `above` is the number of lines above the text."""
    lines, rows = [], []
    for line, row in parsed(text, delimiter, path, key, above=above, quote=quote):
        lines.append(line)
        rows.append(row)
    return lines, rows


def note_of(first: Sequence[str], header: bool, path: Path, header_key: str) -> str:
    """How the first row was taken, if it could be taken in another way: a header with numbers, or data in which all cells are numbers."""
    numbers = [is_number(cell) for cell in first]
    shown = ", ".join(cell.strip() for cell in first[:3]) + (", ..." if len(first) > 3 else "")
    if header and any(numbers):
        return f"{path.name}: its first row ({shown}) is taken as a header. If it is data: {header_key}=false"
    if not header and all(numbers):
        return f"{path.name} has no header: its first row ({shown}) is data. If it holds names: {header_key}=true"
    return ""


def decoded(content: bytes, path: Path, key: str) -> str:
    """The text of a file in UTF-8. Other encodings are refused, with the name of the encoding if the file tells it."""
    found = next((name for mark, name in MARKS if content.startswith(mark)), "UTF-16" if b"\0" in content[:1000] else None)
    try:
        if found is None:
            return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        hint = f"convert it, for example from Latin-1: iconv -f LATIN1 -t UTF-8 {path.name} > utf8{path.suffix}"
        raise bad(f"{key}: {path.name} is not encoded in UTF-8 (line {line})", hint) from None
    hint = f"convert it: iconv -f {found} -t UTF-8 {path.name} > utf8{path.suffix}"
    raise bad(f"{key}: {path.name} is encoded in {found}, not in UTF-8", hint)


def delimiter_of(text: str) -> str:
    """The delimiter that occurs most often in the first line, outside quotes."""
    first = QUOTED_CELL.sub(r"\1", text[: 1 << 16]).lstrip().partition("\n")[0]
    return max(DELIMITERS, key=first.count)


def parsed(text: str, delimiter: str, path: Path, key: str, *, above: int, quote: str) -> Iterator[tuple[int, list[str]]]:
    """The last line and the cells of every row that is not blank."""
    source = list(io.StringIO(text, newline=""))  # splits lines as files do, and keeps their ends
    reader = csv.reader(source, delimiter=delimiter, quotechar=quote, skipinitialspace=True, strict=True)
    first = 0
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            line = opened(source[first : reader.line_num], quote) + first + above
            if "field larger" in str(error) or "unexpected end" in str(error):
                message = f"the quote that opens in line {line} is never closed"
            else:
                last = reader.line_num + above
                message = f"the quote that opens in line {line} closes in line {last}, and more text follows it in the same cell"
            hint = 'close or remove this quote; a quote inside a quoted cell is written twice: "5"" pipe"'
            raise bad(f"{key}: {path.name}: {message}", hint) from None
        if row is None:
            return
        if row:
            yield reader.line_num + above, row
        first = reader.line_num


def opened(lines: Sequence[str], quote: str) -> int:
    """The number of the line, from 1, in which the last quote opens that is open at the end of a line or closes in the last line."""
    inside, line = False, 1
    for i, text in enumerate(lines, 1):
        for _ in range(text.count(quote)):
            inside = not inside
            line = i if inside else line
    return line


def is_header(rows: Sequence[list[str]], text: str, delimiter: str) -> bool:
    """Whether the first row holds the names of the columns."""
    if not rows:
        return False
    first, below = rows[0], rows[1 : 1 + SEEN]
    if not any(is_number(cell) for cell in first):
        return True
    for i, cell in enumerate(first):
        column = [row[i] for row in below if i < len(row) and row[i].strip().lower() not in MISSING]
        if not is_number(cell) and cell.strip().lower() not in MISSING and column and all(map(is_number, column)):
            return True
    if not first[0].strip() and [row[0] for row in below] == [str(i) for i in range(len(below))]:
        return True  # pandas writes its index so, in front of columns whose names may be numbers
    quoted = [all(re.fullmatch(r'\s*"[^"]*"\s*', cell) for cell in line.split(delimiter)) for line in text.split("\n", 2)[:2]]
    return quoted == [True, False]


def is_number(cell: str) -> bool:
    """Whether a cell is a number. nan and inf are numbers."""
    try:
        float(cell)
    except ValueError:
        return False
    return True
