"""The local engine: one process per task, one slot per process. It does not depend on Hydra or on training.

The processes are forked from a server that has already imported what they need. A task that raises, exits or is killed does not affect
the others. If this process itself is killed, its tasks notice and end.
"""

import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import forkserver, resource_tracker, util
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

from ebm_cli.errors import bad
from ebm_cli.sweeps.dispatch import Died, Engine, Event, Task
from ebm_cli.sweeps.slots import Slot

ORPHAN_S = 1.5  # seconds that a task has to save its state after its launcher was killed
LINGER_S = 5.0  # seconds that a process has to exit after its task has ended; a thread may keep it alive
TICK_S = 0.25  # the longest wait of a poll, in seconds
LONGEST_FOLDER = 70  # bytes of TMPDIR; the folder and the name of the socket add 33
SHORT_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")
NO_SERVER = 255  # the exit code reported for a process, possibly alive, whose fork server is gone
OF_TERMINALS = (signal.SIGINT, signal.SIGHUP)  # a terminal sends them to all processes, but only the launcher handles them
BLOCKED = (*OF_TERMINALS, signal.SIGTERM)  # in the server


@dataclass
class Worker:
    """A process that runs a task."""

    number: int
    process: Any
    slot: Slot


class LocalProcesses(Engine):
    """`slots`: one task at a time runs in each. `grace_s`: seconds that tasks have to save their state when they are cancelled."""

    def __init__(self, slots: Sequence[Slot], *, grace_s: float) -> None:
        self.places, self.grace_s = [str(slot) for slot in slots], grace_s
        self._context, self._free, self._live = warm(), list(slots), {}
        self._launched: list[tuple[int, Event]] = []
        self._cancelled = False

    def capacity(self) -> int:
        return len(self._free)

    def start(self, tasks: Iterable[tuple[int, Task]]) -> None:
        for number, task in tasks:
            connection, worker = _start(self._context, number, self._free.pop(0), task)
            self._live[connection] = worker
            self._launched.append((number, {"event": "launched", "slot": str(worker.slot)}))

    def poll(self) -> Iterator[tuple[int, Event]]:
        launched, self._launched = self._launched, []
        yield from launched
        wait(list(self._live), 0 if launched or self._cancelled else TICK_S)
        for connection, worker in list(self._live.items()):
            while (message := _receive(connection, worker.process)) != {}:
                if message is None:  # the process died
                    worker.process.join()
                    cause = _cause(worker.process.exitcode)
                    message = {"event": "ended", "result": Died(cause, "interrupted" if self._cancelled else "failed")}
                if message["event"] == "ended":
                    self._release(connection, worker)
                yield worker.number, message
                if message["event"] == "ended":
                    break

    def cancel(self) -> None:
        self._cancelled = True
        processes = [worker.process for worker in self._live.values()]
        for process in processes:
            process.terminate()
        end = time.monotonic() + self.grace_s
        for process in processes:
            process.join(max(0.0, end - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()

    def _release(self, connection: Connection, worker: Worker) -> None:
        """Close the connection of a task that has ended and free its slot."""
        del self._live[connection]
        connection.close()
        worker.process.join(LINGER_S)
        worker.process.kill()
        self._free.append(worker.slot)


def warm() -> ForkServerContext:
    """The fork server, started if it does not run yet. Returns while the server is still importing."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ebm_cli.sweeps.preload"])
    mask, environment = signal.pthread_sigmask(signal.SIG_BLOCK, []), dict(os.environ)
    os.environ["PYTHONSAFEPATH"] = "1"  # otherwise the server would import a yaml.py of the working directory
    try:
        _make_socket_folder()
        resource_tracker.ensure_running()  # otherwise forkserver.ensure_running() starts it, which unblocks the signals
        signal.pthread_sigmask(signal.SIG_BLOCK, BLOCKED)
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if "PYTHONSAFEPATH" not in environment:
            del os.environ["PYTHONSAFEPATH"]
    return context


def _make_socket_folder() -> None:
    """Create the folder of the server's socket. If TMPDIR is long, it is elsewhere: the path of a socket has at most 104 bytes."""
    folder = tempfile.gettempdir()
    if len(os.fsencode(folder)) > LONGEST_FOLDER:
        short = next((place for place in SHORT_FOLDERS if os.access(place, os.W_OK | os.X_OK)), None)
        if short is None:
            raise bad(f"TMPDIR: {folder} is too long for the socket of a sweep", f"use a path of at most {LONGEST_FOLDER} bytes")
        tempfile.tempdir = short
    try:
        util.get_temp_dir()  # multiprocessing creates it once, in the folder of tempfile
    finally:
        tempfile.tempdir = folder


def _start(context: ForkServerContext, number: int, slot: Slot, task: Task) -> tuple[Connection, Worker]:
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(theirs, slot, task, dict(os.environ)), name=f"ebm-{number}")
    process.start()
    theirs.close()
    return ours, Worker(number, process, slot)


def _receive(connection: Connection, process: Any) -> dict[str, Any] | None:
    """The next message of a task, {} if there is none yet, None if its process is gone (a child process may still hold the pipe open)."""
    gone = process.exitcode not in (None, NO_SERVER)  # must be read first: everything sent before the exit has then arrived
    try:
        return connection.recv() if connection.poll() else None if gone else {}
    except (EOFError, OSError):
        return None


def _work(connection: Connection, slot: Slot, task: Task, environment: Mapping[str, str]) -> None:
    """The main function of a task's process. It sets the environment before CUDA is initialized."""
    threading.Thread(target=_end_with, args=(multiprocessing.parent_process(),), daemon=True).start()
    signal.pthread_sigmask(signal.SIG_SETMASK, OF_TERMINALS)
    os.environ.clear()
    os.environ.update(environment)
    os.environ |= {"CUDA_VISIBLE_DEVICES": slot.gpu, "OMP_NUM_THREADS": str(slot.n_threads)}
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", str(slot.n_threads))  # the default is one process per core
    redirect(task.log)
    sys.stdout.reconfigure(line_buffering=True)  # keeps the output of a process that is killed
    import torch

    torch.set_num_threads(slot.n_threads)
    connection.send({"event": "ended", "result": task(connection.send)})


def _end_with(launcher: Any) -> None:
    """End this process, with its state saved if possible, when the launcher is gone, even by SIGKILL."""
    launcher.join()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(ORPHAN_S)
    os._exit(128 + signal.SIGTERM)


def redirect(path: Path) -> None:
    """Append the output of this process to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    os.close(descriptor)


def _cause(code: int | None) -> str:
    """The exit code as a reason."""
    if code == -signal.SIGKILL:
        return "killed, perhaps out of memory"
    if code is not None and code < 0:
        return f"ended by {signal.Signals(-code).name}"
    return f"ended with exit code {code} and without a result"
