"""The content of text files, which may be compressed by gzip, xz or bzip2.

A few kilobytes can expand to terabytes. So the expanded size is counted first, in constant memory, and a file that exceeds `MOST_BYTES` is
refused.
"""

import bz2
import gzip
import lzma
import zlib
from pathlib import Path

from ebm_cli.errors import bad

OPENERS = {".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}
FAULTS = (lzma.LZMAError, zlib.error)  # errors in compressed data, beside OSError and EOFError
MOST_BYTES = 2 << 30  # maximum expanded size, 2 GiB
PIECE = 1 << 20


def kind(path: Path) -> str:
    """The suffix that says what a file holds, in lower case: ".csv" for data.csv and for data.csv.gz."""
    suffix = path.suffix.lower()
    return Path(path.stem).suffix.lower() if suffix in OPENERS else suffix


def content(path: Path, key: str) -> bytes:
    """The expanded content of a file. `key` is its config key, for the message."""
    open_ = OPENERS.get(path.suffix.lower())
    if open_ is None:
        return path.read_bytes()
    size = 0
    with open_(path) as file:
        while piece := file.read(PIECE):
            size += len(piece)
            if size > MOST_BYTES:
                message = f"{key}: {path.name} expands to more than {MOST_BYTES >> 30} GiB"
                raise bad(message, "expand it if you trust it, or store the numbers as .npy")
    with open_(path) as file:
        return file.read()
