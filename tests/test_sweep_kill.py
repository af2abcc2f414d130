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
from sweeps import TINY, Command, diary, train

from ebm_cli.run import Run

LAST = 60
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
    """As the signal says, with the state of both jobs saved; the third was waiting."""
    name = signal.Signals(number).name
    assert (ended.code, ended.out) == (128 + number, "")
    assert ended.err.endswith(f"error: interrupted by {name}\nhint: 0 of 3 jobs are done; the same line again goes on\n")
    assert "Traceback" not in ended.err
    assert_saved(command)
    (path,) = command.outputs.glob("sweeps/*/sweep.json")
    facts = json.loads(path.read_text())
    assert facts["state"] == "interrupted"
    assert [(run["state"], run["path"]) for run in facts["runs"]] == [("interrupted", str(run.path)) for run in command.runs]


def assert_saved(command):
    assert len(command.runs) == 2
    for run in command.runs:
        assert run.state() == "interrupted"
        assert re.fullmatch(r"signal 15 at step \d+", run.read("status.json")["reason"])


def resumed_at(run):
    """The steps from which train.log says that the run went on."""
    return [int(step) for step in re.findall(r"going on from step (\d+)$", (run.path / "train.log").read_text(), re.MULTILINE)]


def test_killed_again_and_again(start, unbroken, tmp_path):
    """The launcher alone, which cannot tell its jobs; all processes at once; the launcher, while its jobs make their results."""
    command = start("outputs", *LINE, **SLOW)
    command.wait_for_step(15, n_runs=2)
    command.kill(signal.SIGKILL)
    assert command.end().code == -signal.SIGKILL
    command.assert_all_gone_within(GONE_S)
    assert_saved(command)

    command = start("outputs", *LINE, **SLOW)
    command.wait_for_step(35, n_runs=2)
    command.kill_all(signal.SIGTERM)
    assert_interrupted(command, command.end(), signal.SIGTERM)
    command.assert_all_gone_within(GONE_S)

    memory = tmp_path / "diary"  # one job will sleep, the other one be deep in a computation
    command = start("outputs", *LINE, ROGUE_HOLD="sleep@test_loss,compute@test_loss", ROGUE_DIARY=memory)
    command.wait_for(lambda: sum(line["here"] == "test_loss" for line in diary(memory)) == 2)
    command.kill(signal.SIGKILL)
    assert command.end().code == -signal.SIGKILL
    command.assert_all_gone_within(GONE_S)
    assert [run.state() for run in command.runs] == ["interrupted"] * 2

    assert_ends_with_the_same_bits(command, unbroken)
    for run in command.runs[:2]:
        first, second, third = resumed_at(run)
        assert 15 <= first < second < third == LAST
    assert resumed_at(command.runs[2]) == []


def test_ctrl_c_and_twice_where_a_job_is_stuck(start, unbroken):
    """As a user does it, who stands among files of their own; the second time does not wait for what does not end."""
    for name in ("yaml.py", "queue.py"):
        Path(name).write_text("raise ValueError('this is not the module that you want')")
    command = start("outputs", *LINE, as_a_user=True, **SLOW)
    command.wait_for_step(15, n_runs=2)
    command.kill_all(signal.SIGINT)
    assert_interrupted(command, command.end(), signal.SIGINT)
    command.assert_all_gone_within(GONE_S)

    command = start("outputs", *LINE, ROGUE_HOLD="compute@step/45,well", **SLOW)
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
    assert resumed_at(command.runs[0])[1:] == [40]  # its last checkpoint


def test_a_job_that_is_killed_leaves_the_others_alone(start, unbroken):
    command = start("outputs", *LINE, **SLOW)
    command.wait_for_step(15, n_runs=2)
    killed = command.runs[0]
    os.kill(killed.read("status.json")["pid"], signal.SIGKILL)
    ended = command.end()
    command.assert_all_gone_within(GONE_S)
    assert ended.code == 1
    assert f"\nseed=0  failed  killed, perhaps out of memory  {killed.path / 'train.log'}\n" in ended.err
    assert (killed.path / "train.log").read_text().endswith("killed, perhaps out of memory\n")
    assert [run.state() for run in command.runs] == ["failed", "finished", "finished"]
    times = [(run.path / "status.json").stat().st_mtime_ns for run in command.runs]
    assert_ends_with_the_same_bits(command, unbroken)
    again = [(run.path / "status.json").stat().st_mtime_ns for run in command.runs]
    assert [ours == theirs for ours, theirs in zip(times, again, strict=True)] == [False, True, True]
    assert resumed_at(killed)[0] % 10 == 0  # its last checkpoint


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
    (signal.SIGKILL, 1.4),
]


def test_killed_while_it_imports_and_checks_its_line(start):
    """Six commands at once, each at another moment. SIGINT comes to all processes, as at Ctrl-C."""
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


PLACES = [  # when Hydra begins, when the launcher does, when the first process is about to be started
    ("ebm_cli.commands.train", "_through_hydra", signal.SIGINT),
    ("ebm_cli.launcher", "launch", signal.SIGTERM),
    ("ebm_cli.launcher", "_start", signal.SIGINT),
]


def test_killed_before_the_first_job(start):
    """Three commands at once, each in another place."""
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
