"""The progress of a sweep: its arithmetic on events at invented times, and its appearance on a terminal and in a pipe."""

import os
import pty
import re
import threading
from contextlib import suppress

import pytest
from rogue import TINY, train

from ebm_cli.sweeps import progress
from ebm_cli.sweeps.dispatch import Died
from ebm_cli.sweeps.jobs import Outcome
from ebm_cli.sweeps.progress import SweepProgress, labels

LINES = [("objective=ssm", "seed=0"), ("objective=ssm", "seed=1"), ("objective=ssm", "seed=2"), ("objective=ssm", "seed=3")]
CORES = ["CPU"] * 2


@pytest.fixture
def clock(monkeypatch):
    """`clock(t)` sets the time, in seconds since the start of the sweep."""
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return lambda seconds: now.__setitem__(0, 1000.0 + seconds)


@pytest.fixture
def seen(clock, capsys):
    """The progress of four jobs; `seen.lines()` is what it has printed since the last call."""
    made = SweepProgress(LINES, CORES)
    made.lines = lambda: capsys.readouterr().err.splitlines()
    made.clock = clock
    return made


def launch(seen, *numbers):
    for number in numbers:
        seen.see(number, {"event": "launched", "slot": "CPU"})


def start(seen, number, *, n_steps=100, step=0):
    seen.see(number, {"event": "started", "n_steps": n_steps, "step": step, "path": ""})


def row(seen, number, step, shown=""):
    seen.see(number, {"event": "row", "step": step, "shown": shown})


def end(seen, number, state="finished", reason=""):
    seen.see(number, {"event": "ended", "result": Outcome((), state, reason)})


def test_the_first_line_shows_the_number_of_jobs_and_their_slots(capsys):
    SweepProgress(LINES, ["GPU 0", "GPU 1", "GPU 0", "GPU 1"])
    SweepProgress(LINES, ["GPU 3"])
    SweepProgress(LINES, CORES)
    assert capsys.readouterr().err.splitlines() == ["4 jobs on GPU 0 x 2, GPU 1 x 2", "4 jobs on GPU 3", "4 jobs on CPU x 2"]


def test_a_line_is_printed_when_a_job_ends(seen):
    seen.lines()
    launch(seen, 0, 1)
    start(seen, 0)
    seen.clock(10)
    row(seen, 0, 50, shown="kl 0.2500 nats")
    assert seen.lines() == []
    seen.clock(20)
    row(seen, 0, 100, shown="kl 0.1250 nats")
    end(seen, 0)
    assert seen.lines() == ["[1/4] seed=0: finished  in 20 s  kl 0.1250 nats  (ETA 60 s)"]
    end(seen, 1, "diverged", "diverged: not finite\nmore of it")
    (line,) = seen.lines()
    assert line.startswith("[2/4] seed=1: diverged  diverged: not finite  (ETA ")
    seen.see(2, {"event": "ended", "result": Died("ended by SIGSEGV")})
    assert seen.lines()[0].startswith("[3/4] seed=2: failed  ended by SIGSEGV")


def test_a_job_is_measuring_after_its_last_step(seen):
    launch(seen, 0)
    start(seen, 0)
    row(seen, 0, 99)
    assert seen.rows[0].state == "running"
    row(seen, 0, 100)
    seen.lines()
    seen.clock(31)
    seen.see(-1, {})
    (line,) = seen.lines()
    assert line.startswith("[0/4] seed=0: measuring  step 100/100")
    end(seen, 0)
    assert seen.rows[0].state == "finished"


def test_a_job_that_waits_for_another_process_has_not_ended(seen):
    launch(seen, 0)
    seen.lines()
    seen.see(0, {"event": "ended", "result": None})
    assert seen.lines() == []
    assert seen.rows[0].state == "waiting for another process"
    launch(seen, 0)
    end(seen, 0)
    assert seen.lines() == ["[1/4] seed=0: finished"]
    seen.see(1, {"event": "busy"})  # not launched at all
    assert seen.lines() == []
    assert seen.rows[1].state == "waiting for another process"


@pytest.mark.parametrize(
    ("steps", "seconds", "expected"),
    [
        ([(0, 50)], 10, 10 * 3.5 / 0.5),  # half a run took 10 s, and three and a half runs are left
        ([(0, 50), (0, 50)], 10, 10 * 3.0 / 1.0),
        ([(0, 100), (0, 50)], 30, 30 * 2.5 / 1.5),
        ([(80, 90), (0, 50)], 6, 6 * 2.6 / 0.6),  # the first 80 steps were made before this sweep
        ([(0, 100)] * 3 + [(0, 75)], 75, 75 * 0.25 / 3.75),
    ],
)
def test_the_estimated_time_is_proportional_to_the_work_left(seen, steps, seconds, expected):
    for number, (first, _) in enumerate(steps):
        launch(seen, number)
        start(seen, number, step=first)
    seen.clock(seconds)
    for number, (_, last) in enumerate(steps):
        row(seen, number, last)
        if last == 100:
            end(seen, number)
    assert seen._eta() == f"  (ETA {expected:.0f} s)"


def test_waiting_runs_are_expected_to_be_stored_as_often_as_those_before_them(seen):
    launch(seen, 0)
    end(seen, 0)  # a stored result
    launch(seen, 1)
    start(seen, 1)
    seen.clock(10)
    row(seen, 1, 50)
    assert seen._eta() == f"  (ETA {10 * (0.5 + 2 * 0.5) / 0.5:.0f} s)"


def test_no_time_is_estimated_if_nothing_was_trained_or_nothing_is_left(seen):
    seen.clock(5)
    assert seen._eta() == ""
    for number in range(4):
        launch(seen, number)
        end(seen, number)  # a stored result is no work
    assert seen._eta() == ""
    start(seen, 3)
    row(seen, 3, 100)
    end(seen, 3)
    assert seen._eta() == ""


def test_running_jobs_are_printed_if_no_job_ends_for_a_while(seen):
    launch(seen, 0, 1)
    start(seen, 0)
    start(seen, 1, n_steps=200)
    seen.lines()
    seen.clock(29)
    row(seen, 0, 10)
    seen.see(-1, {})
    assert seen.lines() == []
    seen.clock(31)
    row(seen, 1, 40, shown="kl 0.5000 nats")
    assert seen.lines() == ["[0/4] seed=0: running  step 10/100; seed=1: running  step 40/200  kl 0.5000 nats  (ETA 382 s)"]
    seen.clock(60)
    seen.see(-1, {})
    assert seen.lines() == []
    seen.clock(62)
    seen.see(-1, {})
    assert len(seen.lines()) == 1


def test_the_speed_counts_only_the_steps_of_this_sweep(seen):
    launch(seen, 0)
    seen.clock(10)
    start(seen, 0, step=40)
    seen.clock(15)
    row(seen, 0, 60)
    assert seen.rows[0].speed == pytest.approx(4)
    row(seen, 0, 60, shown="")
    assert seen.rows[0].shown == ""


def test_the_live_table_shows_running_jobs_and_the_last_that_ended(clock):
    from rich.console import Console

    made = SweepProgress([(f"seed={n}",) for n in range(12)], CORES)
    launch(made, *range(9))
    for number in range(9):
        start(made, number)
    clock(10)
    for number in range(9):
        row(made, number, 50, shown="kl 0.1250 nats")
    for number in range(8):
        end(made, number, "finished" if number else "failed", "" if number else "a mistake")
    console = Console(width=100)
    with console.capture() as capture:
        console.print(made._table())
    title, heads, *rows = [line.split() for line in capture.get().splitlines()]
    assert " ".join(title).startswith("8 of 12 done, 1 failed (ETA ")
    assert " ".join(heads) == "job state step measured steps/s on"
    assert [line[0] for line in rows] == [f"seed={n}" for n in (2, 3, 4, 5, 6, 7, 8)]  # the last six that have ended, and the running job
    assert rows[-1] == ["seed=8", "running", "50/100", "kl", "0.1250", "nats", "5", "CPU"]


def test_the_live_table_shows_lists_as_they_are_typed():
    """Text in brackets, such as [kl], would be markup to rich."""
    from rich.console import Console

    made = SweepProgress([("metric=[kl]",), ("metric=[mmd]",)], CORES)
    launch(made, 0, 1)
    console = Console(width=100)
    with console.capture() as capture:
        console.print(made._table())
    assert [line.split()[0] for line in capture.get().splitlines()[2:]] == ["metric=[kl]", "metric=[mmd]"]


def test_labels_are_the_overrides_that_differ():
    assert labels(LINES) == ["seed=0", "seed=1", "seed=2", "seed=3"]
    assert labels([("a=1", "b=1", "c=1"), ("a=1", "b=2", "c=2")]) == ["b=1 c=1", "b=2 c=2"]
    assert labels([("a=1", "b=1")]) == ["a=1 b=1"]
    assert labels([()]) == ["(defaults)"]
    assert labels([("a=1", "b=1"), ("a=1",)]) == ["b=1", "(defaults)"]


def test_a_pipe_receives_plain_lines_without_colors(tmp_path):
    ended = train(tmp_path / "outputs", *TINY, "device=cpu", "seed=0,1")
    assert ended.code == 0
    assert "\x1b" not in ended.out + ended.err
    lines = ended.err.splitlines()
    assert lines[0].startswith("2 jobs on CPU")
    assert sorted(re.sub(r" in \d+ s|  \(ETA .*\)", "", line[6:]) for line in lines[1:]) == ["seed=0: finished ", "seed=1: finished "]
    assert [line[:6] for line in lines[1:]] == ["[1/2] ", "[2/2] "]


def test_a_terminal_shows_a_live_table(tmp_path, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    ours, theirs = pty.openpty()
    shown = []

    def read():
        with suppress(OSError):  # raised when the other end is closed
            while part := os.read(ours, 65536):
                shown.append(part)

    reader = threading.Thread(target=read)
    reader.start()
    with open(theirs, "w") as terminal:
        ended = train(tmp_path / "outputs", *TINY, "device=cpu", "seed=0,1", err=terminal)
    reader.join(10)
    os.close(ours)
    text = b"".join(shown).decode()
    assert ended.code == 0, text
    assert "\x1b[" in text
    assert "\x1b" not in ended.out
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    assert "0 of 2 done" in plain
    assert "1 of 2 done" in plain or "2 of 2 done" in plain
    assert re.search(r"seed=1 +(starting|running)", plain)
    assert "[1/2]" not in plain  # printed only in a pipe
