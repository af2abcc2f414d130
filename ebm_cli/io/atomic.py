"""A file that is written whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ebm_cli.errors import bad


@contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """Written under another name, synced, renamed: what stood at the place stands there until then. A link goes on to where it points;
    into a pipe or a device is written as it comes."""
    path = path.resolve()
    if path.exists() and not path.is_file():
        with open(path, "wb") as file:
            yield file
        return
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(partial, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def told(path: Path, key: str) -> Iterator[None]:
    """Where the disk refuses a file that the user asked for, it says so."""
    try:
        yield
    except OSError as error:
        raise bad(f"{key}: {path} cannot be written: {error.strerror}") from None
