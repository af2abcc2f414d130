"""The local engine, without training: results, slots, containment of failures, signals."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from rogue import patience

from ebm_cli.errors import Interrupted
from ebm_cli.sweeps import processes
from ebm_cli.sweeps.dispatch import BUSY, Died, dispatch
from ebm_cli.sweeps.processes import LocalProcesses
from ebm_cli.sweeps.slots import Slot

LONG = 60  # seconds; longer than any test should take
CORES = [Slot("", 1)] * 2


def give(value, send):
    return value


def sleep_and_give(seconds, value, send):
    time.sleep(seconds)
    return value


def tell(send):
    send({"event": "row", "step": 1})
    send({"event": "row", "step": 2})
    return "told"


def describe(send):
    import torch

    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    return {
        "gpu": os.environ["CUDA_VISIBLE_DEVICES"],
        "omp": os.environ["OMP_NUM_THREADS"],
        "compile": os.environ["TORCHINDUCTOR_COMPILE_THREADS"],
        "threads": torch.get_num_threads(),
        "new": os.environ.get("SET_BY_THIS_TEST"),
        "interrupted by ctrl-c": signal.SIGINT not in blocked,
        "pid": os.getpid(),
    }


def say(words, send):
    print(words)
    os.system(f"echo {words} from a child >&2")


def say_and_give(words, send):
    say(words, send)
    return words


def die(number, send):
    print("last words")  # not flushed explicitly
    os.kill(os.getpid(), number)
    time.sleep(LONG)


def leave(code, send):
    os._exit(code)


def call_exit(code, send):
    sys.exit(code)


def fail(send):
    raise ValueError("a mistake of the user")


def give_what_cannot_be_sent(send):
    return lambda: None


def die_and_leave_a_child(path, send):
    """The child process keeps the pipe open for longer than the test may take. Its process number is written to `path`."""
    if (child := os.fork()) == 0:
        time.sleep(2 * LONG)
        os._exit(0)
    path.write_text(str(child))
    os.kill(os.getpid(), signal.SIGKILL)


def give_and_leave_a_thread(send):
    threading.Thread(target=time.sleep, args=(2 * LONG,)).start()
    return "given"


def hold(path, send):
    """Behaves as if another process held the work during the first try."""
    tried = path.exists()
    with open(path, "a") as file:
        file.write("try ")
    return "had it" if tried else None


def save_at_sigterm(path, send):
    def save(number, frame):
        path.write_text("saved")
        sys.exit(0)

    signal.signal(signal.SIGTERM, save)
    send({"event": "ready"})
    time.sleep(LONG)


def ignore_sigterm(send):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    send({"event": "ready"})
    time.sleep(LONG)


@dataclass
class Task:
    """A function as a task."""

    function: Callable[..., Any]
    log: Path

    def __call__(self, send):
        return self.function(send)


@pytest.fixture
def launch(tmp_path):
    """`launch(*functions)` returns (results, events); `launch.log(n)` is what task n printed."""
    events = []

    def run(*functions, slots=CORES, grace_s=20.0, see=None, known=lambda number: None):
        tasks, results = [Task(function, tmp_path / f"{n}.log") for n, function in enumerate(functions)], {}

        def follow(number, event):
            events.append((number, dict(event)))
            if see:
                see(number, event)

        with patience(LONG):
            dispatch(tasks, LocalProcesses(slots, grace_s=grace_s), follow, results, known)
        return [results[n] for n in range(len(tasks))], events

    run.log, run.events = lambda n: (tmp_path / f"{n}.log").read_text(), events
    return run


def test_results_are_stored_under_the_number_of_their_task(launch):
    results, events = launch(*(partial(sleep_and_give, 0.3 * (n == 0), n) for n in range(4)))
    assert results == [0, 1, 2, 3]
    ends = [number for number, event in events if event.get("event") == "ended"]
    assert ends[0] != 0
    assert sorted(ends) == [0, 1, 2, 3]
    assert (-1, {}) in events


def test_an_empty_list_of_tasks_returns_at_once(launch):
    assert launch() == ([], [])


def test_messages_of_a_task_arrive_between_its_start_and_its_end(launch):
    _, events = launch(tell, tell)
    for number in (0, 1):
        seen = [(event["event"], event.get("step")) for n, event in events if n == number]
        assert seen == [("launched", None), ("row", 1), ("row", 2), ("ended", None)]


def test_every_slot_is_used_by_one_task_at_a_time(launch):
    slots, taken, most = [Slot("3", 1), Slot("5", 1), Slot("3", 1)], [], []

    def see(number, event):
        if event.get("event") == "launched":
            taken.append((number, event["slot"]))
        elif event.get("event") == "ended":
            taken[:] = [(other, slot) for other, slot in taken if other != number]
        most.append(sorted(slot for _, slot in taken))

    results, events = launch(*[partial(sleep_and_give, 0.1, "done")] * 7, slots=slots, see=see)
    assert results == ["done"] * 7
    assert max(most, key=len) == ["GPU 3", "GPU 3", "GPU 5"]
    assert max(slots.count("GPU 3") for slots in most) == 2
    assert max(slots.count("GPU 5") for slots in most) == 1
    assert sum(event.get("event") == "launched" for _, event in events) == 7


def test_a_task_sees_its_slot_and_the_environment_of_its_launcher(launch, monkeypatch):
    launch(describe)  # starts the server
    monkeypatch.setenv("SET_BY_THIS_TEST", "yes")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7,8")
    (gpu,), _ = launch(describe, slots=[Slot("GPU-abc", 3)])
    (cpu,), _ = launch(describe, slots=[Slot("", 1)])
    common = {"new": "yes", "interrupted by ctrl-c": False}
    assert {key: gpu[key] for key in gpu if key != "pid"} == {"gpu": "GPU-abc", "omp": "3", "compile": "3", "threads": 3} | common
    assert {key: cpu[key] for key in cpu if key != "pid"} == {"gpu": "", "omp": "1", "compile": "1", "threads": 1} | common
    assert len({gpu["pid"], cpu["pid"], os.getpid()}) == 3
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "7,8"


def test_the_output_of_a_task_is_appended_to_its_log(launch, tmp_path, capfd):
    (tmp_path / "1.log").write_text("before\n")
    assert launch(partial(say_and_give, "one"), partial(say_and_give, "two"))[0] == ["one", "two"]
    assert launch.log(0) == "one\none from a child\n"
    assert launch.log(1) == "before\ntwo\ntwo from a child\n"
    assert capfd.readouterr() == ("", "")


def test_a_task_that_fails_does_not_affect_the_others(launch):
    """Six kinds of failure on two slots: later tasks still get a slot, and the output of the failed tasks is kept."""
    bad = [partial(die, signal.SIGKILL), partial(die, signal.SIGSEGV), partial(leave, 4), partial(call_exit, 3), fail]
    results, _ = launch(*bad, partial(give, "well"), give_what_cannot_be_sent, partial(give, "well"))
    assert results == [
        Died("killed, perhaps out of memory"),
        Died("ended by SIGSEGV"),
        Died("ended with exit code 4 and without a result"),
        Died("ended with exit code 3 and without a result"),
        Died("ended with exit code 1 and without a result"),
        "well",
        Died("ended with exit code 1 and without a result"),
        "well",
    ]
    assert launch.log(0) == "last words\n"
    assert "ValueError: a mistake of the user" in launch.log(4)
    assert "Traceback" in launch.log(6)


def test_child_processes_and_threads_left_by_a_task_do_not_delay_the_end(launch, monkeypatch, tmp_path):
    """Both last for longer than `launch` may take. The child process still exists at the end."""
    monkeypatch.setattr(processes, "LINGER_S", 0.2)
    results, _ = launch(partial(die_and_leave_a_child, tmp_path / "child"), give_and_leave_a_thread)
    assert results == [Died("killed, perhaps out of memory"), "given"]
    os.kill(int((tmp_path / "child").read_text()), signal.SIGKILL)


def test_a_task_whose_work_is_held_by_another_process_is_tried_again_after_the_others(launch, tmp_path):
    """Its slot is free in the meantime."""
    tries = tmp_path / "tries"
    results, events = launch(partial(hold, tries), partial(give, 1), partial(give, 2), slots=CORES[:1])
    assert results == ["had it", 1, 2]
    assert tries.read_text() == "try try "
    assert [number for number, event in events if event.get("event") == "launched"] == [0, 1, 2, 0]
    assert [event["result"] for number, event in events if number == 0 and event["event"] == "ended"] == [None, "had it"]


def test_known_and_busy_tasks_take_no_slot(launch, monkeypatch):
    """A busy task is checked again until it is known or can run."""
    monkeypatch.setattr(processes, "TICK_S", 0.01)
    answers = {0: [BUSY, BUSY, "known"], 1: ["known"], 2: [BUSY, BUSY, BUSY, None], 3: [None]}
    results, events = launch(*[partial(give, "run")] * 4, slots=CORES[:1], known=lambda number: answers[number].pop(0))
    assert results == ["known", "known", "run", "run"]
    assert answers == {0: [], 1: [], 2: [], 3: []}
    seen = {number: [event["event"] for n, event in events if n == number] for number in range(4)}
    assert seen == {0: ["busy"] * 2 + ["ended"], 1: ["ended"], 2: ["busy"] * 3 + ["launched", "ended"], 3: ["launched", "ended"]}


def signal_when_ready(number, n_tasks):
    """A callback that sends a signal to the launcher once `n_tasks` tasks are ready; its `sent_at` is the time of the signal."""
    ready = []

    def see(task, event):
        if event.get("event") == "ready":
            ready.append(task)
            if len(ready) == n_tasks:
                see.sent_at = time.monotonic()
                os.kill(os.getpid(), number)

    return see


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_all_tasks_and_starts_no_others(launch, tmp_path, number):
    tasks = [partial(save_at_sigterm, tmp_path / "saved"), ignore_sigterm, partial(give, "never")]
    see = signal_when_ready(number, 2)
    with pytest.raises(Interrupted) as stopped:
        launch(*tasks, grace_s=1.0, see=see)
    assert stopped.value.signal == number
    assert 1 <= time.monotonic() - see.sent_at < 20
    assert (tmp_path / "saved").read_text() == "saved"  # the other task was killed
    results = {task: event["result"] for task, event in launch.events if event.get("event") == "ended"}
    assert results.keys() == {0, 1}
    assert results[1] == Died("killed, perhaps out of memory", "interrupted")
    assert results[0].state == "interrupted"
    assert not any(task == 2 for task, _ in launch.events)
    assert signal.getsignal(number) != signal.SIG_IGN


def test_cancelling_does_not_wait_for_the_grace_period_if_tasks_end_earlier(launch, tmp_path):
    see = signal_when_ready(signal.SIGTERM, 1)
    with pytest.raises(Interrupted):
        launch(partial(save_at_sigterm, tmp_path / "saved"), grace_s=LONG, see=see)
    assert time.monotonic() - see.sent_at < 10
    assert (tmp_path / "saved").exists()


def test_a_signal_before_the_first_task_ends_the_loop_at_once(launch):
    """The signal arrives in `known`, while other processes hold what the tasks need."""

    def look(number):
        if number == 1:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(LONG)
        return BUSY

    before = time.monotonic()
    with pytest.raises(Interrupted):
        launch(partial(give, "never"), partial(give, "never"), known=look)
    assert time.monotonic() - before < 10
    assert {event["event"] for number, event in launch.events if number >= 0} == {"busy"}


def test_a_signal_during_known_ends_the_running_tasks(launch, tmp_path):
    """The task that `known` was called for is not started."""

    def look(number):
        if number == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted):
        launch(partial(save_at_sigterm, tmp_path / "saved"), partial(give, "never"), grace_s=LONG, known=look)
    assert [(number, event["event"]) for number, event in launch.events if number >= 0] == [(0, "launched"), (0, "ended")]
    assert launch.events[-2][1]["result"].state == "interrupted"
