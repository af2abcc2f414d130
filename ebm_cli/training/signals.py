"""Signals: SIGINT and SIGTERM end a run after its state is saved, and a second SIGINT ends it immediately."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import ClassVar

from ebm_cli.errors import Interrupted


class Stop:
    """The handler of signals. The first signal raises `Interrupted`; while `deferred` it is only stored in `signal`.

    The training loop sets `deferred`, so that it can finish its step. The program that starts a process can change `ends`, the signals
    that end a run, and `saves`, the signals that set `save`, at which a run saves its state and continues.
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
        """Handle the signals while the context is open, and restore the earlier handlers at its end."""
        before = {number: signal.signal(number, self._handle) for number in self.ends | self.saves}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@contextmanager
def at_once() -> Iterator[None]:
    """Let both signals end the process immediately. This is for imports, in which a raised exception could be swallowed."""

    def end(number: int, frame: FrameType | None) -> None:
        os.write(2, b"interrupted: nothing was started\n")
        os._exit(128 + number)

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
