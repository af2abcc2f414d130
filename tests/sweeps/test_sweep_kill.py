"""Sweeps that are killed at various moments: no process is left, and the same command then gives bit-identical results.

These tests use real processes and signals, each sweep in its own session. The repeated command runs in this process.
"""

import json
import os
import re
import signal
import time
from pathlib import Path

import pytest
from rogue import TINY, Command, diary, train

from ebm_cli.runs.run import Run

LAST = 40
LINE = (
    *(word for word in TINY if not word.startswith("trainer.n_steps=")),
    f"trainer.n_steps={LAST}",
    "trainer.log_every=5",
    "trainer.checkpoint_every=10",
    "device=cpu",
    "seed=0,1,2",
    "hydra.launcher.cpu_jobs=2",
)
SLOW = {"ROGUE_PAUSE": 0.04}  # a run takes seconds
GONE_S = 3.0  # seconds; on an idle machine the last process of a killed sweep ends within two


@pytest.fixture
def start(tmp_path):
    """`start(name, *words)` starts a sweep with its outputs in a folder of that name."""
    started = []

    def begin(name, *words, **settings):
        started.append(Command(tmp_path / name / "outputs", *words, **settings))
        return started[-1]

    yield begin
    for command in started:
        command.clean_up()


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """The results of runs that were not interrupted, by name."""
    outputs = tmp_path_factory.mktemp("unbroken") / "outputs"
    assert train(outputs, *LINE).code == 0
    return {path.name: result(Run(path)) for path in (outputs / "runs").iterdir()}


def result(run):
    """The results that must not depend on interruptions: the last checkpoint, rows and numbers without seconds, samples."""
    rows = [{key: value for key, value in row.items() if key != "seconds"} for row in run.rows()]
    summary = {key: value for key, value in run.read("summary.json").items() if "second" not in key}
    return (run.checkpoints / f"{LAST:08d}" / "state.safetensors").read_bytes(), rows, summary, (run.path / "samples.npz").read_bytes()


def assert_ends_with_the_same_bits(command, unbroken):
    """Run the same command again and compare its results."""
    again = train(command.outputs, *LINE)
    assert again.code == 0, again
    assert {run.path.name: result(run) for run in command.runs} == unbroken
    assert {run.state() for run in command.runs} == {"finished"}
    assert not [path for path in command.outputs.rglob("*") if path.name.startswith(".") and path.name != ".lock"]
    assert [path.name for path in command.outputs.glob("sweeps/*/*")] == ["sweep.json"]


def assert_interrupted(command, ended, number):
    """Check the exit code, the message and sweep.json after a signal; there is no traceback."""
    name = signal.Signals(number).name
    assert (ended.code, ended.out) == (128 + number, "")
    assert ended.err.endswith(f"error: interrupted by {name}\nhint: 0 of 3 jobs are done; the same command continues the others\n")
    assert "Traceback" not in ended.err
    (path,) = command.outputs.glob("sweeps/*/sweep.json")
    facts = json.loads(path.read_text())
    assert facts["state"] == "interrupted"
    assert [(run["state"], run["path"]) for run in facts["runs"]] == [(run.state(), str(run.path)) for run in command.runs]


def ends(command):
    """The state of each run and its reason."""
    return [(run.state(), re.sub(r"step \d+", "step N", run.read("status.json")["reason"])) for run in command.runs]


def resumed_at(run):
    """The steps from which the run was continued, according to train.log."""
    return [int(step) for step in re.findall(r"continuing from step (\d+)$", (run.path / "train.log").read_text(), re.MULTILINE)]


SAVED = ("interrupted", "signal 15 at step N")
KILLED = "killed, perhaps out of memory"


def test_a_sweep_killed_three_times_gives_the_same_results(start, unbroken, tmp_path):
    """First the launcher is killed, so that it cannot stop its jobs; then a job; then all processes, of which one ignores the signal."""
    memory, settings = tmp_path / "diary", {"ROGUE_PAUSE": "0.1,0", "ROGUE_HOLD": "well,compute@test_loss"}
    command = start("outputs", *LINE, ROGUE_DIARY=memory, **settings)
    command.wait_for(
        lambda: [line["seed"] for line in diary(memory) if line["here"] == "test_loss"] == [1]
    )  # seed 1 is in its final evaluation
    command.wait_for_step(10, n_runs=2)  # and the other run in the middle of training
    command.kill(signal.SIGKILL)
    assert command.end().code == -signal.SIGKILL
    command.assert_all_gone_within(GONE_S)
    assert ends(command) == [SAVED, ("interrupted", "")]

    command = start("outputs", *LINE, "hydra.launcher.grace_s=1", **settings)
    command.wait_for(lambda: "continuing from step" in (command.runs[0].path / "output.log").read_text())
    os.kill(command.runs[0].read("status.json")["pid"], signal.SIGKILL)
    command.wait_for(lambda: len(command.runs) == 3)  # the next run has the free slot
    command.wait_for_step(5, n_runs=3)
    command.kill_all(signal.SIGTERM)
    ended = command.end()
    assert_interrupted(command, ended, signal.SIGTERM)
    command.assert_all_gone_within(GONE_S)
    assert f"\n[1/3] seed=0: failed  in 0 s  {KILLED}" in ended.err
    assert ends(command) == [("failed", KILLED), ("interrupted", KILLED), SAVED]
    assert (command.runs[0].path / "train.log").read_text().endswith(f"{KILLED}\n")

    assert_ends_with_the_same_bits(command, unbroken)
    first, second, third = map(resumed_at, command.runs)
    assert 10 <= first[0] <= first[1] < LAST
    assert second == [LAST, LAST]
    assert 5 <= third[0] < LAST


def test_a_second_ctrl_c_does_not_wait_for_a_stuck_job(start, unbroken):
    """The working directory contains modules that shadow those of the standard library and of PyYAML."""
    for name in ("yaml.py", "queue.py"):
        Path(name).write_text("raise ValueError('this is not the module that you want')")
    command = start("outputs", *LINE, as_a_user=True, **SLOW)
    command.wait_for_step(10, n_runs=2)
    command.kill_all(signal.SIGINT)
    assert_interrupted(command, command.end(), signal.SIGINT)
    command.assert_all_gone_within(GONE_S)
    assert ends(command) == [SAVED, SAVED]

    command = start("outputs", *LINE, ROGUE_HOLD="compute@step/35,well", **SLOW)
    command.wait_for(lambda: "about to do: compute" in (command.runs[0].path / "output.log").read_text())
    command.kill_all(signal.SIGINT)
    time.sleep(0.5)
    assert command.is_alive()
    command.kill_all(signal.SIGINT)
    before = time.monotonic()
    ended = command.end()
    assert time.monotonic() - before < 2
    command.assert_all_gone_within(GONE_S)
    assert ended.code == 130
    assert "Traceback" not in ended.err

    assert_ends_with_the_same_bits(command, unbroken)
    assert resumed_at(command.runs[0])[1:] == [30]  # its last checkpoint


def seconds_of_work(pid):
    """The CPU seconds of a process, a clock that does not depend on the load of the machine."""
    with open(f"/proc/{pid}/stat") as file:
        user, system = file.read().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def handles_sigterm(pid):
    """Whether a process has a handler for SIGTERM."""
    with open(f"/proc/{pid}/status") as file:
        caught = int(re.search(r"^SigCgt:\s+(\w+)$", file.read(), re.MULTILINE)[1], 16)
    return bool(caught & 1 << signal.SIGTERM - 1)


MOMENTS = [  # (signal, CPU seconds of the process at which it is sent)
    (signal.SIGINT, 0.0),
    (signal.SIGINT, 0.4),
    (signal.SIGINT, 1.2),
    (signal.SIGTERM, 0.8),
    (signal.SIGKILL, 0.6),
]


def test_a_signal_during_imports_and_checks_starts_nothing(start):
    """Five commands run at once and are signalled at different moments. SIGINT is sent to all processes, as at Ctrl-C."""
    started = [(number, moment, start(f"{number}-{moment}", *LINE, as_a_user=True)) for number, moment in MOMENTS]
    waiting = list(started)
    while waiting:
        for number, moment, command in list(waiting):
            assert command.is_alive(), command.output()
            if handles_sigterm(command.process.pid) and seconds_of_work(command.process.pid) >= moment:
                (command.kill_all if number == signal.SIGINT else command.kill)(number)
                waiting.remove((number, moment, command))
        time.sleep(0.005)
    for number, _, command in started:
        assert_nothing_was_begun(command, number)


PLACES = [  # the start of Hydra, and the moment before the first process is started
    ("ebm_cli.commands.train", "_through_hydra", signal.SIGTERM),
    ("ebm_cli.sweeps.processes", "_start", signal.SIGINT),
]


def test_a_signal_before_the_first_job_starts_nothing(start):
    """Two commands run at once and are signalled in different functions."""
    for command in [start(place[1], *LINE, signal_at=place) for place in PLACES]:
        assert_nothing_was_begun(command, command.signal_at[2])


def assert_nothing_was_begun(command, number):
    """No process is left, no file was created, and there is no traceback."""
    ended = command.end()
    command.assert_all_gone_within(GONE_S)
    assert ended.code == (-9 if number == signal.SIGKILL else 128 + number), ended
    assert ended.out == ""
    assert "Traceback" not in ended.err
    assert "interrupted" in ended.err or number == signal.SIGKILL
    assert not command.outputs.exists()
