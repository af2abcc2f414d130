"""The loop that runs the tasks of a sweep on any engine. It does not depend on Hydra or on training.

An engine runs tasks in processes of this machine (processes.py), or on Slurm or Ray (remote.py). It reports what happens as events:

    {"event": "launched", "slot": ...}    a task was given a slot
    {"event": "started" | "row", ...}     reported by the task itself
    {"event": "ended", "result": ...}     the result of the task, a `Died`, or None if another process holds what the task needs

The loop adds {"event": "busy"} for a task that it does not start because another process is doing the same work.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ebm_cli.errors import Interrupted
from ebm_cli.training.signals import Stop

Event = Mapping[str, Any]
Send = Callable[[dict[str, Any]], None]
BUSY = object()  # the answer of `known` for a task whose work another process is doing


@dataclass(frozen=True)
class Died:
    """The outcome of a task that ended without returning a result."""

    reason: str
    state: str = "failed"


class Task(Protocol):
    """A unit of work that an engine runs in another process."""

    log: Path  # the file that receives the output of the task

    def __call__(self, send: Send) -> Any:
        """Do the work and return the result, or None if another process holds what the task needs."""
        ...


class Engine(Protocol):
    """A way to run tasks."""

    places: Sequence[str]  # the slots in which tasks run, as shown to the user

    def capacity(self) -> int | None:
        """The number of tasks that can start now, or None for no limit."""
        ...

    def start(self, tasks: Iterable[tuple[int, Task]]) -> None:
        """Start these tasks, either one by one as the iterator yields them or all together at its end."""
        ...

    def poll(self) -> Iterator[tuple[int, Event]]:
        """The events since the last call. Waits a moment if there are none, except after `cancel`."""
        ...

    def cancel(self) -> None:
        """End every task. A local engine returns when every task has saved its state or was killed; a remote task may end later."""
        ...


def dispatch(
    tasks: Sequence[Task],
    engine: Engine,
    see: Callable[[int, Event], None],
    results: dict[int, Any],
    known: Callable[[int], Any] = lambda number: None,
) -> None:
    """Run every task and store its result in `results` under the task's number.

    `see(number, event)` receives every event; `see(-1, {})` is called once per iteration. `known(number)` is called before a task starts.
    It returns the result if there is nothing left to do, BUSY if another process is doing the work, and None otherwise. On a
    signal the engine is cancelled and `Interrupted` is raised; its hint counts the tasks that are still ending.
    """
    waiting, starting, running = deque(range(len(tasks))), set(), set()

    def handle(number: int, event: Event) -> None:
        if event["event"] == "ended":
            running.discard(number)
            if event["result"] is None:
                waiting.append(number)
            else:
                results[number] = event["result"]
        see(number, event)

    def ready() -> Iterator[tuple[int, Task]]:
        """Tasks to start while the engine has capacity. Before the first one a signal raises; afterwards it is only noted."""
        for _ in range(len(waiting)):
            if engine.capacity() == 0:
                return
            number = waiting.popleft()
            result = known(number)
            if stop.signal:
                raise Interrupted(stop.signal)
            if result is BUSY:
                waiting.append(number)
                see(number, {"event": "busy"})
            elif result is not None:
                handle(number, {"event": "ended", "result": result})
            else:
                starting.add(number)
                yield number, tasks[number]
                stop.deferred = True

    with Stop().listening() as stop:
        with suppress(Interrupted):  # raised again below, after the engine was cancelled
            while (waiting or running) and not stop.signal:
                engine.start(ready())
                running |= starting
                starting.clear()
                for number, event in engine.poll() if waiting or running else ():
                    handle(number, event)
                see(-1, {})
        if stop.signal:
            engine.cancel()
            for number, event in engine.poll():
                handle(number, event)
            see(-1, {})
    if stop.signal:
        raise Interrupted(stop.signal, f"asked to save their state and stop: {len(running)}" if running else "")
