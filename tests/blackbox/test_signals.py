"""Signals that end a run, and signals that are ignored from the start."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import termios
import time

import pytest
from command import LIMIT_S, LINE
from lines import last_of_each_key

LONG = (*LINE, "trainer.n_steps=100000", "trainer.checkpoint_every=100000", "trainer.log_every=10", "trainer.evaluate_every=100000")


@pytest.fixture
def start(tmp_path):
    """`start(*words)` starts the command, waits for its first rows, and returns its process. It is killed at the end of the test."""
    processes = []

    def call(*words, n_runs=1, **options):
        process = subprocess.Popen([sys.executable, "-m", "ebm_cli", "train", *last_of_each_key(words)], **options)
        processes.append(process)
        end = time.monotonic() + LIMIT_S
        while len([1 for path in (tmp_path / "outputs").glob("runs/*/metrics.jsonl") if path.stat().st_size]) < n_runs:
            assert process.poll() is None
            assert time.monotonic() < end
        return process

    yield call
    for process in processes:
        process.kill()
        process.wait()


def saved_steps(outputs):
    """The newest checkpoint of every run."""
    return [max(int(path.name) for path in run.glob("checkpoints/0*")) for run in (outputs / "runs").iterdir()]


def status(outputs):
    return [json.loads(path.read_text()) for path in (outputs / "runs").glob("*/status.json")]


@pytest.mark.parametrize("words", [(), ("-m", "seed=1,2", "hydra.launcher.cpu_jobs=2")])
def test_a_closed_terminal_ends_a_run_with_its_state_saved(start, tmp_path, words):
    ours, theirs = os.openpty()

    def own_terminal():
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    streams = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
    process = start(*LONG, *words, n_runs=2 if words else 1, preexec_fn=own_terminal, **streams)
    os.close(theirs)
    os.close(ours)  # the system sends SIGHUP to every process of the session in the foreground
    assert process.wait(LIMIT_S) == 129
    found = status(tmp_path / "outputs")
    assert [facts["state"] for facts in found] == ["interrupted"] * (2 if words else 1)
    for facts, step in zip(found, saved_steps(tmp_path / "outputs"), strict=True):
        assert step > 0
        assert facts["reason"].endswith(f"at step {step}")


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT])
def test_a_signal_that_is_ignored_from_the_start_stays_ignored(start, tmp_path, number):
    """`nohup` ignores SIGHUP, and a shell ignores SIGINT in commands that it starts in the background."""
    process = start(*LONG, preexec_fn=lambda: signal.signal(number, signal.SIG_IGN), stderr=subprocess.DEVNULL)
    process.send_signal(number)
    process.send_signal(signal.SIGTERM)
    assert process.wait(LIMIT_S) == 143
    assert status(tmp_path / "outputs")[0]["reason"].startswith(f"signal {signal.SIGTERM.value} ")


def test_the_same_command_continues_after_a_hangup(start, ebm, tmp_path):
    process = start(*LONG, stderr=subprocess.PIPE, text=True)
    process.send_signal(signal.SIGHUP)
    _, err = process.communicate(timeout=LIMIT_S)
    (step,) = saved_steps(tmp_path / "outputs")
    assert process.returncode == 129
    assert err.endswith(f"error: interrupted by SIGHUP\nhint: the same command continues from step {step}\n")
