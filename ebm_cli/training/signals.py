"""Signals: SIGINT, SIGTERM and SIGHUP end a run after its state is saved, and a second SIGINT ends it immediately.

SIGHUP is sent when the terminal is closed. A signal that the process was started to ignore, as by `nohup`, remains ignored.
"""

import os
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import ClassVar

from ebm_cli.errors import Interrupted

ENDS = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})  # the signals that end a command


class Stop:
    """The handler of signals. The first signal raises `Interrupted`; while `deferred` it is only stored in `signal`.

    The training loop sets `deferred`, so that it can finish its step. The program that starts a process can change `ends`, the signals
    that end a run, and `saves`, the signals that set `save`, at which a run saves its state and continues.
    """

    ends: ClassVar[frozenset[int]] = ENDS
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
        with _handled(self.ends | self.saves, self._handle):
            yield self


@contextmanager
def at_once() -> Iterator[None]:
    """Let these signals end the process immediately. This is for imports, in which a raised exception could be swallowed."""

    def end(number: int, frame: FrameType | None) -> None:
        with suppress(OSError):  # the terminal is gone
            os.write(2, b"interrupted: nothing was started\n")
        os._exit(128 + number)

    with _handled(ENDS, end):
        yield


@contextmanager
def _handled(numbers: Iterable[int], handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Handle these signals, except those that are ignored, while the context is open."""
    heard = [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, handler) for number in heard}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
