"""Tasks side by side, each in a process of its own: results, slots, containment, signals. Knows nothing of training."""

import os
import signal
import sys
import threading
import time
from functools import partial

import pytest
from rogue import patience

from ebm_cli.errors import Interrupted
from ebm_cli.sweeps import processes
from ebm_cli.sweeps.processes import Died
from ebm_cli.sweeps.slots import Slot

LONG = 60  # seconds; nothing here waits for so long
CORES = [Slot("", 1)] * 2


def give(value, send, wait):
    return value


def sleep_and_give(seconds, value, send, wait):
    time.sleep(seconds)
    return value


def tell(send, wait):
    send({"event": "row", "step": 1})
    send({"event": "row", "step": 2})
    return "told"


def describe(send, wait):
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


def say(words, send, wait):
    print(words)
    os.system(f"echo {words} from a child >&2")


def say_and_give(words, send, wait):
    say(words, send, wait)
    return words


def die(number, send, wait):
    print("last words")  # not flushed by hand
    os.kill(os.getpid(), number)
    time.sleep(LONG)


def leave(code, send, wait):
    os._exit(code)


def call_exit(code, send, wait):
    sys.exit(code)


def fail(send, wait):
    raise ValueError("a mistake of the user")


def give_what_cannot_be_sent(send, wait):
    return lambda: None


def die_and_leave_a_child(send, wait):
    """It holds the pipe open."""
    if os.fork() == 0:
        time.sleep(5)
        os._exit(0)
    os.kill(os.getpid(), signal.SIGKILL)


def give_and_leave_a_thread(send, wait):
    threading.Thread(target=time.sleep, args=(LONG,)).start()
    return "given"


def hold(path, send, wait):
    """What is held elsewhere at first."""
    with open(path, "a") as file:
        file.write(f"{wait} ")
    return "had it" if wait else None


def save_at_sigterm(path, send, wait):
    def save(number, frame):
        path.write_text("saved")
        sys.exit(0)

    signal.signal(signal.SIGTERM, save)
    send({"event": "ready"})
    time.sleep(LONG)


def ignore_sigterm(send, wait):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    send({"event": "ready"})
    time.sleep(LONG)


@pytest.fixture
def launch(tmp_path):
    """`launch(tasks)` is (results, events); `launch.log(n)` is what task n printed."""
    events = []

    def run(*tasks, slots=CORES, grace_s=20.0, see=None):
        logs = [tmp_path / f"{n}.log" for n in range(len(tasks))]

        def follow(number, event):
            events.append((number, dict(event)))
            if see:
                see(number, event)

        with patience(LONG):
            return processes.launch(tasks, slots, logs, follow, grace_s=grace_s), events

    run.log, run.events = lambda n: (tmp_path / f"{n}.log").read_text(), events
    return run


def test_results_come_in_the_order_of_the_tasks(launch):
    results, events = launch(*(partial(sleep_and_give, 0.3 * (n == 0), n) for n in range(4)))
    assert results == [0, 1, 2, 3]
    ends = [number for number, event in events if event.get("event") == "ended"]
    assert ends[0] != 0
    assert sorted(ends) == [0, 1, 2, 3]
    assert (-1, {}) in events


def test_no_tasks_have_no_results(launch):
    assert launch() == ([], [])


def test_what_a_task_sends_is_seen_between_its_start_and_its_end(launch):
    _, events = launch(tell, tell)
    for number in (0, 1):
        seen = [(event["event"], event.get("step")) for n, event in events if n == number]
        assert seen == [("launched", None), ("row", 1), ("row", 2), ("ended", None)]


def test_no_slot_is_taken_twice_and_all_are_used(launch):
    slots, taken, most = [Slot("3", 1), Slot("5", 1), Slot("3", 1)], [], []

    def see(number, event):
        if event.get("event") == "launched":
            taken.append((number, event["slot"]))
        elif event.get("event") == "ended":
            taken[:] = [one for one in taken if one[0] != number]
        most.append(sorted(slot for _, slot in taken))

    results, events = launch(*[partial(sleep_and_give, 0.1, "done")] * 7, slots=slots, see=see)
    assert results == ["done"] * 7
    assert max(most, key=len) == ["GPU 3", "GPU 3", "GPU 5"]
    assert max(slots.count("GPU 3") for slots in most) == 2
    assert max(slots.count("GPU 5") for slots in most) == 1
    assert sum(event.get("event") == "launched" for _, event in events) == 7


def test_a_task_sees_its_slot_and_the_environment_of_its_launcher(launch, monkeypatch):
    launch(describe)  # the server is there
    monkeypatch.setenv("SET_BY_THIS_TEST", "yes")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7,8")
    (gpu,), _ = launch(describe, slots=[Slot("GPU-abc", 3)])
    (cpu,), _ = launch(describe, slots=[Slot("", 1)])
    common = {"new": "yes", "interrupted by ctrl-c": False}
    assert {key: gpu[key] for key in gpu if key != "pid"} == {"gpu": "GPU-abc", "omp": "3", "compile": "3", "threads": 3} | common
    assert {key: cpu[key] for key in cpu if key != "pid"} == {"gpu": "", "omp": "1", "compile": "1", "threads": 1} | common
    assert len({gpu["pid"], cpu["pid"], os.getpid()}) == 3
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "7,8"


def test_what_a_task_prints_is_added_to_its_log(launch, tmp_path, capfd):
    (tmp_path / "1.log").write_text("before\n")
    assert launch(partial(say_and_give, "one"), partial(say_and_give, "two"))[0] == ["one", "two"]
    assert launch.log(0) == "one\none from a child\n"
    assert launch.log(1) == "before\ntwo\ntwo from a child\n"
    assert capfd.readouterr() == ("", "")


def test_a_task_that_ends_badly_ends_alone(launch):
    """Five ways on two slots; what comes after them finds its slot, and what they printed is there."""
    bad = [partial(die, signal.SIGKILL), partial(die, signal.SIGSEGV), partial(leave, 4), partial(call_exit, 3), fail]
    results, _ = launch(*bad, partial(give, "well"), give_what_cannot_be_sent, partial(give, "well"))
    assert results == [
        Died("killed, perhaps out of memory"),
        Died("ended by SIGSEGV"),
        Died("ended with exit code 4, without a word"),
        Died("ended with exit code 3, without a word"),
        Died("ended with exit code 1, without a word"),
        "well",
        Died("ended with exit code 1, without a word"),
        "well",
    ]
    assert launch.log(0) == "last words\n"
    assert "ValueError: a mistake of the user" in launch.log(4)
    assert "Traceback" in launch.log(6)


def test_neither_a_child_nor_a_thread_that_is_left_behind_holds_it_up(launch, monkeypatch):
    monkeypatch.setattr(processes, "LINGER_S", 0.2)
    before = time.monotonic()
    results, _ = launch(die_and_leave_a_child, give_and_leave_a_thread)
    assert results == [Died("killed, perhaps out of memory"), "given"]
    assert time.monotonic() - before < 4


def test_a_task_whose_thing_is_held_elsewhere_is_tried_again_after_all_others(launch, tmp_path):
    """Then with leave to wait; its slot is free in between."""
    tries = tmp_path / "tries"
    results, events = launch(partial(hold, tries), partial(give, 1), partial(give, 2), slots=CORES[:1])
    assert results == ["had it", 1, 2]
    assert tries.read_text() == "False True "
    assert [number for number, event in events if event.get("event") == "launched"] == [0, 1, 2, 0]
    assert [event["result"] for number, event in events if number == 0 and event["event"] == "ended"] == [None, "had it"]


def signal_when_ready(number, n_tasks):
    """A view that sends the launcher a signal once so many tasks are ready."""
    ready = []

    def see(task, event):
        if event.get("event") == "ready":
            ready.append(task)
            if len(ready) == n_tasks:
                os.kill(os.getpid(), number)

    return see


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_all_tasks_and_those_that_wait_are_not_begun(launch, tmp_path, number):
    tasks = [partial(save_at_sigterm, tmp_path / "saved"), ignore_sigterm, partial(give, "never")]
    before = time.monotonic()
    with pytest.raises(Interrupted) as stopped:
        launch(*tasks, grace_s=1.0, see=signal_when_ready(number, 2))
    assert stopped.value.signal == number
    assert 1 <= time.monotonic() - before < 20
    assert (tmp_path / "saved").read_text() == "saved"  # the other one was killed
    results = {task: event["result"] for task, event in launch.events if event.get("event") == "ended"}
    assert results.keys() == {0, 1}
    assert results[1] == Died("killed, perhaps out of memory", "interrupted")
    assert results[0].state == "interrupted"
    assert not any(task == 2 for task, _ in launch.events)
    assert signal.getsignal(number) != signal.SIG_IGN


def test_the_grace_is_not_waited_for_where_tasks_end_sooner(launch, tmp_path):
    before = time.monotonic()
    with pytest.raises(Interrupted):
        launch(partial(save_at_sigterm, tmp_path / "saved"), grace_s=LONG, see=signal_when_ready(signal.SIGTERM, 1))
    assert time.monotonic() - before < 10
    assert (tmp_path / "saved").exists()
