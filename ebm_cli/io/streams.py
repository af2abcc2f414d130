"""The standard streams of the command. Where a line cannot be shown, the work goes on.

It uses only the standard library and `errors`: every command imports it.
"""

import os
import sys
from typing import Any, TextIO

from ebm_cli.errors import printable_lines


class Unfailing:
    """A text stream that drops what cannot be written, and remembers the first reason. Only a closed pipe can be an error."""

    def __init__(self, stream: TextIO, *, pipe_ends: bool) -> None:
        """With `pipe_ends`, writing to a pipe without a reader raises `BrokenPipeError`, because nobody waits for the result."""
        self._stream, self._pipe_ends = stream, pipe_ends
        self.failed: OSError | None = None

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError as error:
            self._note(error)
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._note(error)

    def _note(self, error: OSError) -> None:
        if self._pipe_ends and isinstance(error, BrokenPipeError):
            raise error
        self.failed = self.failed or error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def prepare() -> None:
    """Open closed standard streams, and make sure that no line of output ends the work.

    A closed descriptor 0, 1 or 2 would be given to the next file that is opened, and messages would then be written into this file.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # takes the lowest free number, which is this descriptor
    sys.stdin = sys.stdin or os.fdopen(0)
    for stream in (out := sys.stdout or os.fdopen(1, "w"), err := sys.stderr or os.fdopen(2, "w")):
        stream.reconfigure(errors="backslashreplace")
    sys.stdout, sys.stderr = Unfailing(out, pipe_ends=True), Unfailing(err, pipe_ends=False)


class Escaping:
    """A text stream to a terminal, with control characters escaped."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return self._stream.write(printable_lines(text))


def data_to_stdout() -> "TextIO | Escaping":
    """Standard output for data that a program reads: unchanged and in UTF-8, unless it is a terminal."""
    if sys.stdout.isatty():
        return Escaping(sys.stdout)
    sys.stdout.reconfigure(encoding="utf-8", errors="strict")
    return sys.stdout


def plus_minus() -> str:
    """The sign ±, or +/- if standard output cannot show it."""
    try:
        "±".encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return "+/-"
    return "±"
