"""SIGINT and SIGTERM end a run with its state saved; a second SIGINT ends it at once."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import ClassVar

from ebm_cli.errors import Interrupted


class Stop:
    """While `deferred` the first signal is only noted in `signal`, for the training loop to finish its step; else it raises.

    What starts a process may change which signals end a run, and at which it saves its state (`save`) and goes on.
    """

    ends: ClassVar[frozenset[int]] = frozenset({signal.SIGINT, signal.SIGTERM})
    saves: ClassVar[frozenset[int]] = frozenset()

    def __init__(self) -> None:
        self.signal, self.save, self.deferred = 0, False, False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if number in self.saves:
            self.save = True
            return
        if self.signal and number == signal.SIGINT:
            os._exit(130)
        first, self.signal = not self.signal, self.signal or number
        if first and not self.deferred:
            raise Interrupted(number)

    @contextmanager
    def listening(self) -> Iterator["Stop"]:
        """All these signals come here."""
        before = {number: signal.signal(number, self._handle) for number in self.ends | self.saves}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@contextmanager
def at_once() -> Iterator[None]:
    """Both signals end the process at once: nothing has begun yet, and half an import swallows what is raised in it."""

    def end(number: int, frame: FrameType | None) -> None:
        os.write(2, b"interrupted: nothing was begun\n")
        os._exit(128 + number)

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
