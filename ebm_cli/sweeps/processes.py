"""Tasks side by side: one process per task, one slot per process. Knows nothing of Hydra or of training.

The processes are forked from a server that has imported what they need. A task that raises, exits or is killed ends alone. SIGINT
and SIGTERM end every task with its state saved; when the launcher itself is killed, its tasks notice and end.
"""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

from ebm_cli.errors import Interrupted
from ebm_cli.sweeps.slots import Slot
from ebm_cli.training.signals import Stop

ORPHAN_S = 1.5  # what a task has to save its state when its launcher is gone
LINGER_S = 5.0  # what a process has to end when its task has: a thread may be left in it
TICK_S = 0.25
NO_SERVER = 255  # the exit code of a process, which may live, whose server does not
BLOCKED = (signal.SIGINT, signal.SIGTERM)  # in the server: they may come to all processes, but it is the launcher that ends the others

Send = Callable[[dict[str, Any]], None]
Task = Callable[[Send, bool], Any]  # (send, wait) -> result


@dataclass(frozen=True)
class Died:
    """The result of a task whose process ended without one."""

    reason: str
    state: str = "failed"


@dataclass
class Worker:
    """A process at work on a task."""

    number: int
    process: Any
    slot: Slot


def warm() -> ForkServerContext:
    """The server that tasks are forked from, started if it is not there; it goes on importing while this returns."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ebm_cli.sweeps.preload"])
    mask, environment = signal.pthread_sigmask(signal.SIG_BLOCK, []), dict(os.environ)
    os.environ["PYTHONSAFEPATH"] = "1"  # else a yaml.py where the user stands is the one that the server imports
    try:
        resource_tracker.ensure_running()  # else the next but one starts it, and unblocks
        signal.pthread_sigmask(signal.SIG_BLOCK, BLOCKED)
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if "PYTHONSAFEPATH" not in environment:
            del os.environ["PYTHONSAFEPATH"]
    return context


def launch(
    tasks: Sequence[Task], slots: Sequence[Slot], logs: Sequence[Path], see: Callable[[int, Mapping[str, Any]], None], *, grace_s: float
) -> list[Any]:
    """The tasks' results, in their order. `see(number, event)` is told of starts, of what tasks send, and of ends; `see(-1, {})` ticks.

    A task that returns None (what it needs is held elsewhere) is called again, with `wait`, after all others. Raises `Interrupted`
    at SIGINT and SIGTERM, after the tasks have had `grace_s` seconds to save their state.
    """
    context, results = warm(), [None] * len(tasks)
    queue, free, live = deque((number, False) for number in range(len(tasks))), list(slots), {}
    with Stop().listening() as stop:
        while (queue and not stop.signal) or live:
            while queue and free and not stop.signal:
                number, waits = queue.popleft()
                connection, worker = _start(context, number, free.pop(0), tasks[number], waits, logs[number])
                live[connection] = worker
                stop.deferred = True  # from the first task on; before, nothing is lost
                see(number, {"event": "launched", "slot": str(worker.slot)})
            if stop.signal:
                _end([worker.process for worker in live.values()], grace_s)
            wait(list(live), TICK_S)
            for connection, worker in list(live.items()):
                message = _receive(connection, worker.process)
                if message == {}:
                    continue
                if message is None:  # it died
                    worker.process.join()
                    cause = _cause(worker.process.exitcode)
                    message = {"event": "ended", "result": Died(cause, "interrupted" if stop.signal else "failed")}
                number = worker.number
                if message["event"] == "ended":
                    del live[connection]
                    connection.close()
                    worker.process.join(LINGER_S)
                    worker.process.kill()
                    free.append(worker.slot)
                    results[number] = message["result"]
                    if message["result"] is None:
                        queue.append((number, True))
                see(number, message)
            see(-1, {})
    if stop.signal:
        raise Interrupted(stop.signal)
    return results


def _start(context: ForkServerContext, number: int, slot: Slot, task: Task, waits: bool, log: Path) -> tuple[Connection, Worker]:
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(theirs, slot, task, waits, log, dict(os.environ)), name=f"ebm-{number}")
    process.start()
    theirs.close()
    return ours, Worker(number, process, slot)


def _receive(connection: Connection, process: Any) -> dict[str, Any] | None:
    """What a task has sent, {} for nothing yet, None where its process is gone. One that it left behind may hold the pipe open."""
    gone = process.exitcode not in (None, NO_SERVER)  # looked at first: by then all that it sent is there
    try:
        return connection.recv() if connection.poll() else None if gone else {}
    except (EOFError, OSError):
        return None


def _work(connection: Connection, slot: Slot, task: Task, waits: bool, log: Path, environment: Mapping[str, str]) -> None:
    """In the task's process: nothing has touched CUDA yet."""
    threading.Thread(target=_end_with, args=(multiprocessing.parent_process(),), daemon=True).start()
    signal.pthread_sigmask(signal.SIG_SETMASK, [signal.SIGINT])
    os.environ.clear()
    os.environ.update(environment)
    os.environ |= {"CUDA_VISIBLE_DEVICES": slot.gpu, "OMP_NUM_THREADS": str(slot.n_threads)}
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", str(slot.n_threads))  # else a pool of as many processes as there are cores
    redirect(log)
    sys.stdout.reconfigure(line_buffering=True)  # a process that is killed has said what it said
    import torch

    torch.set_num_threads(slot.n_threads)
    connection.send({"event": "ended", "result": task(connection.send, waits)})


def _end_with(launcher: Any) -> None:
    """When the launcher is gone, even by SIGKILL, save what can be saved and end."""
    launcher.join()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(ORPHAN_S)
    os._exit(128 + signal.SIGTERM)


def redirect(path: Path) -> None:
    """Send what this process prints to the end of a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    os.close(descriptor)


def _end(processes: Sequence[Any], grace_s: float) -> None:
    """Ask all to save their state and end; after the grace, kill."""
    for process in processes:
        process.terminate()
    end = time.monotonic() + grace_s
    for process in processes:
        process.join(max(0.0, end - time.monotonic()))
        if process.is_alive():
            process.kill()


def _cause(code: int | None) -> str:
    """What an exit code says."""
    if code == -signal.SIGKILL:
        return "killed, perhaps out of memory"
    if code is not None and code < 0:
        return f"ended by {signal.Signals(-code).name}"
    return f"ended with exit code {code}, without a word"
