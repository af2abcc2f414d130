"""A sweep that is killed, wholly or in part, at any moment: no process is left, and the same line again ends with the same bits.

Real processes and real signals, each sweep in a session of its own. The line that is typed again is run in this process.
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
GONE_S = 3.0  # the last process of a sweep that was killed ends within two seconds, on a machine that is not busy


@pytest.fixture
def start(tmp_path):
    """`start(name, *words)` starts a sweep whose outputs are in a folder of that name."""
    started = []

    def command(name, *words, **settings):
        started.append(Command(tmp_path / name / "outputs", *words, **settings))
        return started[-1]

    yield command
    for one in started:
        one.clean_up()


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """The runs that nobody killed, by their names."""
    outputs = tmp_path_factory.mktemp("unbroken") / "outputs"
    assert train(outputs, *LINE).code == 0
    return {path.name: result(Run(path)) for path in (outputs / "runs").iterdir()}


def result(run):
    """All that must not depend on whether a run was killed: the last checkpoint, rows and numbers without seconds, samples."""
    rows = [{key: value for key, value in row.items() if key != "seconds"} for row in run.rows()]
    summary = {key: value for key, value in run.read("summary.json").items() if "second" not in key}
    return (run.checkpoints / f"{LAST:08d}" / "state.safetensors").read_bytes(), rows, summary, (run.path / "samples.npz").read_bytes()


def assert_ends_with_the_same_bits(command, unbroken):
    """The same line again."""
    again = train(command.outputs, *LINE)
    assert again.code == 0, again
    assert {run.path.name: result(run) for run in command.runs} == unbroken
    assert {run.state() for run in command.runs} == {"finished"}
    assert not [path for path in command.outputs.rglob("*") if path.name.startswith(".") and path.name != ".lock"]
    assert [path.name for path in command.outputs.glob("sweeps/*/*")] == ["sweep.json"]


def assert_interrupted(command, ended, number):
    """As the signal says, and so it is written down; nobody sees a traceback."""
    name = signal.Signals(number).name
    assert (ended.code, ended.out) == (128 + number, "")
    assert ended.err.endswith(f"error: interrupted by {name}\nhint: 0 of 3 jobs are done; the same line again goes on\n")
    assert "Traceback" not in ended.err
    (path,) = command.outputs.glob("sweeps/*/sweep.json")
    facts = json.loads(path.read_text())
    assert facts["state"] == "interrupted"
    assert [(run["state"], run["path"]) for run in facts["runs"]] == [(run.state(), str(run.path)) for run in command.runs]


def ends(command):
    """How each run ended, and why."""
    return [(run.state(), re.sub(r"step \d+", "step N", run.read("status.json")["reason"])) for run in command.runs]


def resumed_at(run):
    """The steps from which train.log says that the run went on."""
    return [int(step) for step in re.findall(r"going on from step (\d+)$", (run.path / "train.log").read_text(), re.MULTILINE)]


SAVED = ("interrupted", "signal 15 at step N")
KILLED = "killed, perhaps out of memory"


def test_killed_again_and_again(start, unbroken, tmp_path):
    """The launcher alone, so that it cannot tell its jobs; then one job; then all processes, of which one does not listen."""
    memory, settings = tmp_path / "diary", {"ROGUE_PAUSE": "0.1,0", "ROGUE_HOLD": "well,compute@test_loss"}
    command = start("outputs", *LINE, ROGUE_DIARY=memory, **settings)
    command.wait_for(lambda: [line["seed"] for line in diary(memory) if line["here"] == "test_loss"] == [1])  # in its final evaluation
    command.wait_for_step(10, n_runs=2)  # and the other one in the middle of training
    command.kill(signal.SIGKILL)
    assert command.end().code == -signal.SIGKILL
    command.assert_all_gone_within(GONE_S)
    assert ends(command) == [SAVED, ("interrupted", "")]

    command = start("outputs", *LINE, "hydra.launcher.grace_s=1", **settings)
    command.wait_for(lambda: "going on from step" in (command.runs[0].path / "output.log").read_text())
    os.kill(command.runs[0].read("status.json")["pid"], signal.SIGKILL)
    command.wait_for(lambda: len(command.runs) == 3)  # the next one has its slot
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


def test_ctrl_c_and_twice_where_a_job_is_stuck(start, unbroken):
    """As a user does it, who stands among files of their own; the second time does not wait for what does not end."""
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
    """CPU seconds of a process: a clock that stands still while others work."""
    with open(f"/proc/{pid}/stat") as file:
        user, system = file.read().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def listens(pid):
    """Whether a process has a handler for SIGTERM."""
    with open(f"/proc/{pid}/status") as file:
        caught = int(re.search(r"^SigCgt:\s+(\w+)$", file.read(), re.MULTILINE)[1], 16)
    return bool(caught & 1 << signal.SIGTERM - 1)


MOMENTS = [  # seconds of work after the first at which a signal can be answered
    (signal.SIGINT, 0.0),
    (signal.SIGINT, 0.4),
    (signal.SIGINT, 1.2),
    (signal.SIGTERM, 0.8),
    (signal.SIGKILL, 0.6),
]


def test_killed_while_it_imports_and_checks_its_line(start):
    """Five commands at once, each at another moment. SIGINT comes to all processes, as at Ctrl-C."""
    started = [(number, moment, start(f"{number}-{moment}", *LINE, as_a_user=True)) for number, moment in MOMENTS]
    waiting = list(started)
    while waiting:
        for number, moment, command in list(waiting):
            assert command.is_alive(), command.output()
            if listens(command.process.pid) and seconds_of_work(command.process.pid) >= moment:
                (command.kill_all if number == signal.SIGINT else command.kill)(number)
                waiting.remove((number, moment, command))
        time.sleep(0.005)
    for number, _, command in started:
        assert_nothing_was_begun(command, number)


PLACES = [  # when Hydra begins, when the first process is about to be started
    ("ebm_cli.commands.train", "_through_hydra", signal.SIGTERM),
    ("ebm_cli.sweeps.processes", "_start", signal.SIGINT),
]


def test_killed_before_the_first_job(start):
    """Two commands at once, each in another place."""
    for command in [start(place[1], *LINE, signal_at=place) for place in PLACES]:
        assert_nothing_was_begun(command, command.signal_at[2])


def assert_nothing_was_begun(command, number):
    """Nobody is left, nothing was made, nobody saw a traceback."""
    ended = command.end()
    command.assert_all_gone_within(GONE_S)
    assert ended.code == (-9 if number == signal.SIGKILL else 128 + number), ended
    assert ended.out == ""
    assert "Traceback" not in ended.err
    assert "interrupted" in ended.err or number == signal.SIGKILL
    assert not command.outputs.exists()
