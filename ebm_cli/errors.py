"""What a user did wrong, and how a run ends early. Standard library only: every verb starts here."""

import sys
from collections.abc import Iterable
from difflib import get_close_matches
from typing import NamedTuple

MOST_NAMED = 12  # words that a hint lists


class Problem(NamedTuple):
    """One fault of the input: what and where, and how to mend it."""

    message: str
    hint: str = ""


class InputError(Exception):
    """Bad input: nothing was started. Holds every problem found, so that all can be mended at once. Exit code 2."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("\n".join(problem.message for problem in problems))
        self.problems = problems


class RunFailed(Exception):
    """A run that started and did not end well (diverged, disk full). Exit code 1."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.problems = (Problem(message, hint),)


class Interrupted(BaseException):
    """SIGINT or SIGTERM, with the state saved. Exit code 128 + signal."""

    def __init__(self, signal: int, hint: str = "") -> None:
        super().__init__(signal)
        self.signal, self.hint = signal, hint


class Busy(InputError):
    """The run is being trained by another process."""


def report(problems: Iterable[Problem], code: int) -> int:
    """Print every problem in the one form that errors have, on stderr."""
    for message, hint in problems:
        print(f"error: {message}", file=sys.stderr)
        if hint:
            print(f"hint: {hint}", file=sys.stderr)
    return code


def bad(message: str, hint: str = "") -> InputError:
    """An `InputError` of one problem."""
    return InputError(Problem(message, hint))


def nearest(word: str, known: Iterable[str], prefix: str = "") -> str:
    """A hint that names the known word nearest to `word`, or all of them where none is near."""
    known = sorted(known)
    near = get_close_matches(word, known, 1, 0.5)
    if near:
        return f"did you mean {prefix}{near[0]}?"
    more = ", ..." if len(known) > MOST_NAMED else ""
    return f"there is {', '.join(prefix + name for name in known[:MOST_NAMED])}{more}" if known else ""
