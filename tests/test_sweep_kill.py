"""A sweep that is killed, wholly or in part, at any moment: no process is left, and the same line again ends with the same bits.

Real processes and real signals, each sweep in a session of its own. The line that is typed again is run in this process.
"""

import json
import os
import re
import signal
import time

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
def commands(tmp_path):
    """`commands(*words)` starts a sweep."""
    started = []

    def start(*words, **settings):
        started.append(Command(tmp_path / f"{len(started)}" / "outputs", *words, **settings))
        return started[-1]

    yield start
    for command in started:
        command.clean_up()


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


def sweep_json(command):
    (path,) = command.outputs.glob("sweeps/*/sweep.json")
    return json.loads(path.read_text())


def resumed_at(run):
    """The steps from which train.log says that the run went on."""
    return [int(step) for step in re.findall(r"going on from step (\d+)$", (run.path / "train.log").read_text(), re.MULTILINE)]


@pytest.mark.parametrize(
    ("number", "to_all", "as_a_user", "code"),
    [
        (signal.SIGKILL, False, False, -9),
        (signal.SIGTERM, False, False, 143),
        (signal.SIGTERM, True, False, 143),
        (signal.SIGINT, True, True, 130),
    ],
    ids=["SIGKILL", "SIGTERM", "SIGTERM to all", "Ctrl-C"],
)
def test_killed_while_it_trains(commands, unbroken, number, to_all, as_a_user, code):
    """All jobs save their state, also where their launcher cannot tell them to."""
    for name in ("yaml.py", "queue.py") if as_a_user else ():
        with open(name, "w") as file:  # files of the user's, who stands among them: nothing of ours
            file.write("raise ValueError('this is not the module that you want')")
    command = commands(*LINE, as_a_user=as_a_user, **SLOW)
    command.wait_for_step(15, n_runs=2)
    (command.kill_all if to_all else command.kill)(number)
    ended = command.end()
    command.assert_all_gone_within(GONE_S)
    assert ended.code == code, ended
    assert "Traceback" not in ended.err
    assert len(command.runs) == 2  # the third was waiting
    for run in command.runs:
        assert run.state() == "interrupted"
        assert re.fullmatch(r"signal 15 at step \d+", run.read("status.json")["reason"])
    if number != signal.SIGKILL:
        name = signal.Signals(number).name
        assert ended.err.endswith(f"error: interrupted by {name}\nhint: 0 of 3 jobs are done; the same line again goes on\n")
        assert ended.out == ""
        facts = sweep_json(command)
        assert facts["state"] == "interrupted"
        assert [(run["state"], run["path"]) for run in facts["runs"]] == [("interrupted", str(run.path)) for run in command.runs]
    assert_ends_with_the_same_bits(command, unbroken)
    assert all(15 <= step < LAST for run in command.runs[:2] for step in resumed_at(run))
    assert [len(resumed_at(run)) for run in command.runs] == [1, 1, 0]


def test_a_job_that_is_killed_leaves_the_others_alone(commands, unbroken):
    command = commands(*LINE, **SLOW)
    command.wait_for_step(15, n_runs=2)
    killed = command.runs[0]
    os.kill(killed.read("status.json")["pid"], signal.SIGKILL)
    ended = command.end()
    command.assert_all_gone_within(GONE_S)
    assert ended.code == 1
    assert f"\nseed=0  failed  killed, perhaps out of memory  {killed.path / 'train.log'}\n" in ended.err
    assert (killed.path / "train.log").read_text().endswith("killed, perhaps out of memory\n")
    assert [run.state() for run in command.runs] == ["failed", "finished", "finished"]
    before = [(run.path / "status.json").stat().st_mtime_ns for run in command.runs]
    assert_ends_with_the_same_bits(command, unbroken)
    assert [(run.path / "status.json").stat().st_mtime_ns == time for run, time in zip(command.runs, before, strict=True)] == [False, True, True]
    assert resumed_at(killed)[0] % 10 == 0  # from its last checkpoint


def test_a_second_ctrl_c_does_not_wait_for_a_job_that_is_stuck(commands, unbroken):
    command = commands(*LINE, ROGUE_HOLD="compute@step/20,well", **SLOW)
    command.wait_for(lambda: any("about to do: compute" in path.read_text() for path in command.outputs.glob("runs/*/output.log")))
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
    assert {run.state() for run in command.runs} == {"interrupted"}
    assert_ends_with_the_same_bits(command, unbroken)
    assert resumed_at(command.runs[0]) == [20]


def test_killed_while_results_are_made(commands, unbroken, tmp_path):
    """One job sleeps, another one is deep in a computation: neither outlives its launcher, and what was trained is kept."""
    memory = tmp_path / "diary"
    command = commands(*LINE, ROGUE_HOLD="sleep@test_loss,compute@test_loss", ROGUE_DIARY=memory)
    command.wait_for(lambda: sum(line["here"] == "test_loss" for line in diary(memory)) == 2)
    command.kill(signal.SIGKILL)
    assert command.end().code == -9
    command.assert_all_gone_within(GONE_S)
    assert [run.state() for run in command.runs] == ["interrupted"] * 2
    assert_ends_with_the_same_bits(command, unbroken)
    assert [resumed_at(run) for run in command.runs] == [[LAST], [LAST], []]


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


@pytest.mark.parametrize(
    ("number", "to_all", "code"), [(signal.SIGINT, True, 130), (signal.SIGTERM, False, 143), (signal.SIGKILL, False, -9)], ids=str
)
def test_killed_before_anything_has_begun(commands, number, to_all, code):
    """From its first moment to that at which the first job begins: nobody is left, nothing is made, nobody sees a traceback."""
    started = [(moment, commands(*LINE, as_a_user=True)) for moment in (0.0, 0.4, 1.0, 1.8)]
    waiting = list(started)
    while waiting:
        for moment, command in list(waiting):
            pid = command.process.pid
            assert command.is_alive(), command.output()
            if listens(pid) and seconds_of_work(pid) >= moment:
                (command.kill_all if to_all else command.kill)(number)
                waiting.remove((moment, command))
            elif command.runs:  # too late: it was quicker than others
                waiting.remove((moment, command))
                command.kill(signal.SIGKILL)
        time.sleep(0.005)
    for moment, command in started:
        ended = command.end()
        command.assert_all_gone_within(GONE_S)
        assert "Traceback" not in ended.err, (moment, ended)
        if not command.runs:
            assert ended.code == code, (moment, ended)
            assert ended.out == ""
            assert not command.outputs.exists(), moment
