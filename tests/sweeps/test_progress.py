"""What is seen of a sweep while it runs: its arithmetic on events of made-up times, and how it looks on a terminal and in a pipe."""

import os
import pty
import re
import threading
from contextlib import suppress

import pytest
from rogue import TINY, train

from ebm_cli.sweeps import progress
from ebm_cli.sweeps.jobs import Outcome
from ebm_cli.sweeps.processes import Died
from ebm_cli.sweeps.progress import SweepProgress, labels
from ebm_cli.sweeps.slots import Slot

LINES = [("objective=ssm", "seed=0"), ("objective=ssm", "seed=1"), ("objective=ssm", "seed=2"), ("objective=ssm", "seed=3")]
SLOTS = [Slot("", 1)] * 2


@pytest.fixture
def clock(monkeypatch):
    """`clock(t)` sets the time, in seconds since the board was made."""
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return lambda seconds: now.__setitem__(0, 1000.0 + seconds)


@pytest.fixture
def seen(clock, capsys):
    """A board of four jobs and `seen.lines()`, what it has printed since the last call."""
    made = SweepProgress(LINES, SLOTS)
    made.lines = lambda: capsys.readouterr().err.splitlines()
    made.clock = clock
    return made


def launch(seen, *numbers):
    for number in numbers:
        seen.see(number, {"event": "launched", "slot": "CPU"})


def start(seen, number, *, n_steps=100, step=0):
    seen.see(number, {"event": "started", "n_steps": n_steps, "step": step, "path": ""})


def row(seen, number, step, kl=None):
    seen.see(number, {"event": "row", "step": step, "kl": kl})


def end(seen, number, state="finished", reason=""):
    seen.see(number, {"event": "ended", "result": Outcome((), state, reason)})


def test_the_first_line_says_how_many_jobs_run_where(capsys):
    SweepProgress(LINES, [Slot("0", 2), Slot("1", 2), Slot("0", 2), Slot("1", 2)])
    SweepProgress(LINES, [Slot("3", 2)])
    SweepProgress(LINES, SLOTS)
    assert capsys.readouterr().err.splitlines() == ["4 jobs on GPU 0 x 2, GPU 1 x 2", "4 jobs on GPU 3", "4 jobs on CPU x 2"]


def test_a_line_for_the_end_of_each_job(seen):
    seen.lines()
    launch(seen, 0, 1)
    start(seen, 0)
    seen.clock(10)
    row(seen, 0, 50, kl=0.25)
    assert seen.lines() == []
    seen.clock(20)
    row(seen, 0, 100, kl=0.125)
    end(seen, 0)
    assert seen.lines() == ["[1/4] seed=0: finished  in 20 s  KL 0.1250 nats  (ETA 60 s)"]
    end(seen, 1, "diverged", "diverged: not finite\nmore of it")
    (line,) = seen.lines()
    assert line.startswith("[2/4] seed=1: diverged  diverged: not finite  (ETA ")
    seen.see(2, {"event": "ended", "result": Died("ended by SIGSEGV")})
    assert seen.lines()[0].startswith("[3/4] seed=2: failed  ended by SIGSEGV")


def test_after_its_last_step_a_job_is_being_measured(seen):
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
    assert seen.rows[0].state == "waits for another process"
    launch(seen, 0)
    end(seen, 0)
    assert seen.lines() == ["[1/4] seed=0: finished"]


@pytest.mark.parametrize(
    ("steps", "seconds", "expected"),
    [
        ([(0, 50)], 10, 10 * 3.5 / 0.5),  # half a run in 10 s, and three and a half are left
        ([(0, 50), (0, 50)], 10, 10 * 3.0 / 1.0),
        ([(0, 100), (0, 50)], 30, 30 * 2.5 / 1.5),
        ([(80, 90), (0, 50)], 6, 6 * 2.6 / 0.6),  # the first 80 steps were there before: no work of this sweep's
        ([(0, 100)] * 3 + [(0, 75)], 75, 75 * 0.25 / 3.75),
    ],
)
def test_the_time_left_is_as_the_time_so_far_and_the_work(seen, steps, seconds, expected):
    for number, (first, _) in enumerate(steps):
        launch(seen, number)
        start(seen, number, step=first)
    seen.clock(seconds)
    for number, (_, last) in enumerate(steps):
        row(seen, number, last)
        if last == 100:
            end(seen, number)
    assert seen._eta() == f"  (ETA {expected:.0f} s)"


def test_there_is_no_time_left_to_tell_where_nothing_was_trained_or_nothing_is_left(seen):
    seen.clock(5)
    assert seen._eta() == ""
    for number in range(4):
        launch(seen, number)
        end(seen, number)  # stored: no work
    assert seen._eta() == ""
    start(seen, 3)
    row(seen, 3, 100)
    end(seen, 3)
    assert seen._eta() == ""


def test_in_a_long_silence_a_line_says_what_runs(seen):
    launch(seen, 0, 1)
    start(seen, 0)
    start(seen, 1, n_steps=200)
    seen.lines()
    seen.clock(29)
    row(seen, 0, 10)
    seen.see(-1, {})
    assert seen.lines() == []
    seen.clock(31)
    row(seen, 1, 40, kl=0.5)
    assert seen.lines() == ["[0/4] seed=0: running  step 10/100; seed=1: running  step 40/200  KL 0.5000 nats  (ETA 382 s)"]
    seen.clock(60)
    seen.see(-1, {})
    assert seen.lines() == []
    seen.clock(62)
    seen.see(-1, {})
    assert len(seen.lines()) == 1


def test_the_speed_is_of_this_sweeps_steps(seen):
    launch(seen, 0)
    seen.clock(10)
    start(seen, 0, step=40)
    seen.clock(15)
    row(seen, 0, 60)
    assert seen.rows[0].speed == pytest.approx(4)
    row(seen, 0, 60, kl=None)
    assert seen.rows[0].kl is None


def test_the_live_table_shows_what_runs_and_the_last_that_ended(clock):
    from rich.console import Console

    made = SweepProgress([(f"seed={n}",) for n in range(12)], SLOTS)
    launch(made, *range(9))
    for number in range(9):
        start(made, number)
    clock(10)
    for number in range(9):
        row(made, number, 50, kl=0.125)
    for number in range(8):
        end(made, number, "finished" if number else "failed", "" if number else "a mistake")
    console = Console(width=100)
    with console.capture() as capture:
        console.print(made._table())
    title, heads, *rows = [line.split() for line in capture.get().splitlines()]
    assert " ".join(title).startswith("8 of 12 done, 1 not well (ETA ")
    assert " ".join(heads) == "job state step KL (nats) steps/s on"
    assert [line[0] for line in rows] == [f"seed={n}" for n in (2, 3, 4, 5, 6, 7, 8)]  # six that have ended, and what runs
    assert rows[-1] == ["seed=8", "running", "50/100", "0.1250", "5", "CPU"]


def test_jobs_are_called_by_what_tells_them_apart():
    assert labels(LINES) == ["seed=0", "seed=1", "seed=2", "seed=3"]
    assert labels([("a=1", "b=1", "c=1"), ("a=1", "b=2", "c=2")]) == ["b=1 c=1", "b=2 c=2"]
    assert labels([("a=1", "b=1")]) == ["a=1 b=1"]
    assert labels([()]) == ["(defaults)"]
    assert labels([("a=1", "b=1"), ("a=1",)]) == ["b=1", "(defaults)"]


def test_in_a_pipe_there_are_lines_and_no_colours(tmp_path):
    ended = train(tmp_path / "outputs", *TINY, "device=cpu", "seed=0,1")
    assert ended.code == 0
    assert "\x1b" not in ended.out + ended.err
    lines = ended.err.splitlines()
    assert lines[0].startswith("2 jobs on CPU")
    assert sorted(re.sub(r" in \d+ s|  \(ETA .*\)", "", line[6:]) for line in lines[1:]) == ["seed=0: finished ", "seed=1: finished "]
    assert [line[:6] for line in lines[1:]] == ["[1/2] ", "[2/2] "]


def test_on_a_terminal_there_is_a_table_that_moves(tmp_path, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    ours, theirs = pty.openpty()
    shown = []

    def look():
        with suppress(OSError):  # the other end is closed
            while part := os.read(ours, 65536):
                shown.append(part)

    onlooker = threading.Thread(target=look)
    onlooker.start()
    with open(theirs, "w") as terminal:
        ended = train(tmp_path / "outputs", *TINY, "device=cpu", "seed=0,1", err=terminal)
    onlooker.join(10)
    os.close(ours)
    text = b"".join(shown).decode()
    assert ended.code == 0, text
    assert "\x1b[" in text
    assert "\x1b" not in ended.out
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    assert "0 of 2 done" in plain
    assert "1 of 2 done" in plain or "2 of 2 done" in plain
    assert re.search(r"seed=1 +(starting|running)", plain)
    assert "[1/2]" not in plain  # that is for a pipe
