"""Files that are written completely or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ebm_cli.errors import bad


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Name the file in an `OSError`: a full disk is reported without a name, and inside a folder descriptor with the last part only."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:
            error.filename = str(path)
        raise


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file that is written under a temporary name, synced, and then renamed to `path`. Until then the old content stays in place.

    A symbolic link is followed to its target. Pipes and devices are written directly.
    """
    path = path.resolve()
    if path.exists() and not path.is_file():
        with open(path, "wb") as file:
            yield file
        return
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with naming(path), open(partial, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def reporting(path: Path, key: str) -> Iterator[None]:
    """Turn an `OSError` from writing a file that the user named into an `InputError`."""
    try:
        yield
    except OSError as error:
        raise bad(f"{key}: {path} cannot be written: {error.strerror}") from None
