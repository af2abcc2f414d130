"""Errors in the user's input, and the ways in which a run ends early. It uses only the standard library: every command imports it."""

import errno
import os
import re
import sys
from collections.abc import Iterable
from difflib import get_close_matches
from typing import NamedTuple

PLAIN = re.compile(r"(?!(?:null|true|false|nan|inf)$)[A-Za-z_][A-Za-z0-9_]*", re.IGNORECASE)  # a name that needs no quotes
OWN = "--config-dir DIR adds the options of a folder of your own"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # the disk is full, or a limit on its use is reached
NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory")
LESS = "reduce the number of points at a time (trainer.batch_size, n_chains, n_samples), of models (seeds), or the size of the energy"
MOST_NAMED = 12  # a hint lists at most this many words


class Problem(NamedTuple):
    """An error in the input: the message says what is wrong and where, and the hint says how to repair it."""

    message: str
    hint: str = ""


class InputError(Exception):
    """Bad input: nothing was started. It holds all problems that were found, so that they can be repaired at once. Exit code 2."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("\n".join(problem.message for problem in problems))
        self.problems = problems


class RunFailed(Exception):
    """A run started and failed (it diverged, or the disk is full). Exit code 1."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.problems = (Problem(message, hint),)


class Interrupted(BaseException):
    """A run was interrupted by a signal and has saved its state. Exit code 128 + signal."""

    def __init__(self, signal: int, hint: str = "") -> None:
        super().__init__(signal)
        self.signal, self.hint = signal, hint


class Busy(InputError):
    """Another process is training or measuring the run."""


def printable(text: object) -> str:
    """The text on one line, with every character escaped that is not printable: a name or a file may hold control sequences."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in str(text))


def printable_lines(text: str) -> str:
    """Text of several lines, each of them `printable`."""
    return "\n".join(map(printable, text.split("\n")))


def report(problems: Iterable[Problem], code: int) -> int:
    """Print every problem to stderr in the common format of errors, and return the exit code."""
    for message, hint in problems:
        print(f"error: {printable(message)}", file=sys.stderr)
        if hint:
            print(f"hint: {printable(hint)}", file=sys.stderr)
    return code


def bad(message: str, hint: str = "") -> InputError:
    """An `InputError` with a single problem."""
    return InputError(Problem(message, hint))


def own_packages() -> tuple[str, ...]:
    """The packages of the user that configs may name, from the environment variable EBM_ALLOW."""
    return tuple(filter(None, map(str.strip, os.environ.get("EBM_ALLOW", "").split(","))))


def described(error: BaseException) -> Problem:
    """An unexpected exception in one line, and a hint."""
    text = str(error).partition("\n")[0]
    if isinstance(error, OSError) and error.filename and error.errno in FULL:
        return Problem(f"{error.filename} cannot be written: {error.strerror}", "free disk space, or set EBM_OUTPUTS to another folder")
    if is_memory(error):
        asked = re.search(r"\d[\d.]* ?(?:[KMGTP]i?B|bytes)", str(error))
        return Problem(f"out of memory{f': {asked[0]} could not be allocated' if asked else ''}{place(error)}", LESS)
    return Problem(f"{type(error).__name__}: {text}{place(error)}", "set EBM_DEBUG=1 to see the traceback")


def is_memory(error: BaseException) -> bool:
    """Whether an allocation failed. torch has no exception class for this on the CPU."""
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return named or (isinstance(error, RuntimeError) and any(words in str(error) for words in NO_MEMORY))


def place(error: BaseException) -> str:
    """The last place in a package of EBM_ALLOW through which an exception passed, as " (FILE:LINE)"; empty if there is none."""
    own, found, step = {package.partition(".")[0] for package in own_packages()}, "", error.__traceback__
    while step:
        if step.tb_frame.f_globals.get("__name__", "").partition(".")[0] in own:
            found = f" ({os.path.relpath(step.tb_frame.f_code.co_filename)}:{step.tb_lineno})"
        step = step.tb_next
    return found


def override(key: str, values: Iterable[str | int]) -> str:
    """The override that sets a list, as it is typed in a shell."""
    words = [
        str(value) if isinstance(value, int) or PLAIN.fullmatch(value) else "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
        for value in values
    ]
    line = f"{key}=[{','.join(words)}]"
    if "'" not in line:
        return line
    from shlex import quote  # not at the top: every command imports this module

    return quote(line)


def nearest(word: str, known: Iterable[str], prefix: str = "", *, more: str = "") -> str:
    """A hint that names the known word closest to `word`. If none is close, it lists the known words, and adds `more`."""
    known = sorted(known)
    near = get_close_matches(word, known, 1, 0.5)
    if near:
        return f"did you mean {prefix}{near[0]}?"
    others = ", ..." if len(known) > MOST_NAMED else ""
    listed = f"available: {', '.join(prefix + name for name in known[:MOST_NAMED])}{others}" if known else ""
    return "; ".join(filter(None, (listed, more)))
