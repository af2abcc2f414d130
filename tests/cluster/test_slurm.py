"""The Slurm engine with a real submitit: on an imitation of Slurm (fake_slurm.py) and without Slurm."""

import json
import os
import re
import signal
import sys
import threading
from contextlib import suppress
from itertools import count, pairwise
from pathlib import Path

import pytest
import rogue
from rogue import Command, diary
from same import LINE, LONG, PATHS, all_runs, assert_same, resumed_at, saved_at, steps_of, sweep_json, the_run, until

from ebm_cli.runs.run import Run

engine = pytest.importorskip("ebm_cli.sweeps.slurm", reason="needs `pip install 'ebm-cli[slurm]'`")
SCRIPT = Path(__file__).with_name("fake_slurm.py")
IDS = count(4710, 10)
LOCAL, SLURM = "hydra/launcher=submitit_local", "hydra/launcher=submitit_slurm"


class Slurm:
    """The imitation of Slurm as its administrator sees it."""

    def __init__(self, folder, first):
        self.folder, self.first = folder, str(first)  # the id of the first job; ids must differ, since submitit caches the state of each

    def files(self):
        """The contents of the sbatch files, in order of submission."""
        return [path.read_text() for path in sorted(self.folder.glob("*.sh"))]

    def starts(self):
        path = self.folder / "starts.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def commands(self):
        path = self.folder / "commands"
        return path.read_text().splitlines() if path.exists() else []

    def tell(self, name, number):
        """Send a signal to a task."""
        os.kill(int((self.folder / f"{name}.step").read_text()), number)

    def cancel(self, name):
        (self.folder / f"{name}.cancelled").touch()

    def requeue(self, name):
        """Preempt a task as Slurm itself does: SIGTERM, later SIGKILL, and back to the queue."""
        (self.folder / f"{name}.requeued").touch()


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    folder, commands = tmp_path / "slurm", tmp_path / "bin"
    folder.mkdir()
    commands.mkdir()
    for name in ("sbatch", "srun", "sacct", "scontrol", "scancel"):
        (commands / name).write_text(f'#!/bin/sh\nexec {sys.executable} {SCRIPT} {name} "$@"\n')
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}:{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SLURM", str(folder))
    first = next(IDS)
    monkeypatch.setenv("FAKE_SLURM_FIRST", str(first))
    yield Slurm(folder, first)
    for path in (*folder.glob("*.step"), *folder.glob("*.pid")):
        with suppress(ProcessLookupError):
            os.kill(int(path.read_text()), signal.SIGKILL)


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(engine, "RESULT_S", 1.0)  # a local disk shows new files at once
    monkeypatch.setenv("PYTHONPATH", PATHS["PYTHONPATH"])


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """The long run without interruptions."""
    outputs = tmp_path_factory.mktemp("unbroken") / "outputs"
    done = rogue.train(outputs, *LONG, "seed=0", "hydra.launcher.gpus=0")
    assert done.code == 0, done.err
    return the_run(outputs)


def meanwhile(step, outputs, do):
    """Call `do` in another thread once the only run has reached a step."""

    def watch():
        until(lambda: steps_of(outputs) >= step)
        do()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def test_each_task_has_its_own_gpu(slurm, tmp_path):
    """Three jobs run on two GPUs. All paths are relative to the working directory. Repeating the command submits nothing."""
    outputs, words = Path("results"), (*LINE, "seed=0,1,2", SLURM, "hydra.launcher.cpus_per_task=2", "hydra.launcher.mem_gb=3")
    done = rogue.train(outputs, *words, ROGUE_DIARY=tmp_path / "diary")
    assert done.code == 0, done.err
    assert "3 jobs on Slurm" in done.err
    (file,) = slurm.files()
    lines = file.splitlines()
    for wanted in (
        "gpus-per-node=1",
        "array=0-2%3",
        "requeue",
        "cpus-per-task=2",
        "mem=3GB",
        "time=240",
        "signal=USR2@120",
        "job-name=ebm",
    ):
        assert f"#SBATCH --{wanted}" in lines
    assert re.search("^srun .*--cpus-per-task=2 ", file, re.MULTILINE)
    until(lambda: len(slurm.starts()) == 3)
    starts = slurm.starts()
    assert [len(start["gpus"]) for start in starts] == [1, 1, 1]
    for gpu in (0, 1):
        ours = sorted((start["began"], start["ended"]) for start in starts if start["gpus"] == [gpu])
        assert all(first[1] <= second[0] for first, second in pairwise(ours))
    jobs = [line for line in diary(tmp_path / "diary") if line["here"] == "step/0"]
    assert {(job["gpu"], job["omp"], job["threads"]) for job in jobs} == {("0", "2", 2), ("1", "2", 2)}
    for seed in (0, 1, 2):
        assert the_run(outputs, seed).read("status.json")["state"] == "finished"
        assert "Results saved to results/runs/moons-rogue-s" in (the_run(outputs, seed).path / "output.log").read_text()
    assert re.search(r"finished +3 ", done.out)
    again = rogue.train(outputs, *words)
    assert (again.code, again.out) == (0, done.out)
    assert len(slurm.files()) == 1


def test_a_failing_task_does_not_affect_the_others(slurm, tmp_path):
    """The sweep ends with a table of the failures, and repeating the command submits only the failed jobs."""
    outputs, words = tmp_path / "outputs", (*LINE, "objective.how=well,raise,kill@step/15", SLURM)
    done = rogue.train(outputs, *words)
    assert done.code == 1
    assert "2 of 3 jobs failed" in done.err
    rows = {line.split()[0]: line for line in done.err.splitlines() if line.startswith("objective.how=")}
    assert "ValueError: a mistake of the user" in rows["objective.how=raise"]
    assert "ended without a result: OUT_OF_MEMORY" in rows["objective.how=kill@step/15"]
    states = {run.config()["objective"]["how"]: run.read("status.json")["state"] for run in all_runs(outputs)}
    assert states == {"well": "finished", "raise": "failed", "kill@step/15": "failed"}
    assert [run["state"] for run in sweep_json(outputs)["runs"]] == ["finished", "failed", "failed"]
    assert all(row.split()[-1].endswith("train.log") and Path(row.split()[-1]).is_file() for row in rows.values())
    rogue.train(outputs, *words)
    assert [re.search("array=(.*)", file)[1] for file in slurm.files()] == ["0-2%3", "0-1%2"]


@pytest.mark.parametrize("how", ["signal", "warned", "by_slurm"])
def test_a_preempted_task_gives_bit_identical_results(slurm, unbroken, tmp_path, how):
    """The task receives SIGUSR2; SIGTERM and later SIGUSR2; or SIGTERM and SIGKILL, after which Slurm itself requeues it."""
    outputs = tmp_path / "outputs"

    def preempt():
        if how == "by_slurm":
            return slurm.requeue(slurm.first)
        if how == "warned":
            slurm.tell(slurm.first, signal.SIGTERM)
            before = steps_of(outputs)
            until(lambda: steps_of(outputs) > before + 3)
        slurm.tell(slurm.first, signal.SIGUSR2)

    thread = meanwhile(20, outputs, preempt)
    done = rogue.train(outputs, *LONG, "seed=0", "force=true", SLURM, ROGUE_PAUSE=0.1)
    thread.join()
    assert done.code == 0, done.err
    assert not (outputs / "replaced").exists()  # force applies only to the first start
    run = the_run(outputs)
    saved = saved_at(run)
    assert resumed_at(run) == saved[-1:]
    assert 20 <= saved[0] < saved[-1] + 1 < 60
    assert len(saved) == (2 if how == "warned" else 1)
    assert slurm.commands() == ([] if how == "by_slurm" else [f"scontrol requeue {slurm.first}"])
    until(lambda: len(slurm.starts()) == 2)
    assert_same(run, unbroken)


def test_a_cancelled_task_saves_its_state_and_is_not_requeued(slurm, unbroken, tmp_path):
    """Repeating the command continues the run."""
    outputs, words = tmp_path / "outputs", (*LONG, "seed=0", SLURM)
    thread = meanwhile(20, outputs, lambda: slurm.cancel(slurm.first))
    done = rogue.train(outputs, *words, ROGUE_PAUSE=0.1)
    thread.join()
    assert done.code == 1
    assert re.search("interrupted +ended without a result: CANCELLED by 0", done.err)
    until(lambda: len(slurm.starts()) == 1)
    assert slurm.commands() == []
    (saved,) = saved_at(the_run(outputs))
    assert rogue.train(outputs, *words).code == 0
    assert resumed_at(the_run(outputs)) == [saved]
    assert_same(the_run(outputs), unbroken)


def test_a_task_is_not_requeued_after_too_many_timeouts(slurm, tmp_path):
    outputs = tmp_path / "outputs"
    thread = meanwhile(5, outputs, lambda: slurm.tell(slurm.first, signal.SIGUSR2))
    limits = ("hydra.launcher.timeout_min=1", "hydra.launcher.max_num_timeout=0")
    done = rogue.train(outputs, *LONG, "seed=0", SLURM, *limits, ROGUE_PAUSE=0.1)
    thread.join()
    assert done.code == 1
    assert "Job not requeued because: timed-out too many times." in done.err
    until(lambda: len(slurm.starts()) == 1)
    assert slurm.commands() == []
    assert saved_at(the_run(outputs))  # the state is saved nevertheless


def test_ctrl_c_cancels_the_array(slurm, tmp_path):
    outputs = tmp_path / "outputs"
    command = Command(outputs, *LONG, "seed=0,1", SLURM, ROGUE_PAUSE=0.2)
    command.wait_for_step(5, 2)
    command.kill(signal.SIGINT)
    done = command.end()
    assert done.code == 130, done.err
    ending = "asked to save their state and stop: 2"
    assert f"0 of 2 jobs are done; {ending}; the same command continues the others" in done.err
    assert slurm.commands() == [f"scancel {slurm.first}"]
    until(lambda: all(saved_at(the_run(outputs, seed)) for seed in (0, 1)))


def test_a_run_that_another_process_trains_is_not_submitted(slurm, tmp_path):
    """It is submitted when that process has ended without a result."""
    outputs = tmp_path / "outputs"
    first = Command(outputs, *LONG, "seed=0", "hydra.launcher.cpu_jobs=1", ROGUE_PAUSE=0.3)
    first.wait_for_step(2, 1)
    second = Command(outputs, *LONG, "seed=0,1", SLURM, ROGUE_NAME="second")
    second.wait_for(lambda: (outputs / "runs").is_dir() and len(all_runs(outputs)) == 2)
    second.wait_for(lambda: "seed=1: finished" in second.output()[1])
    assert [("array" in file) for file in slurm.files()] == [False]
    first.kill(signal.SIGTERM)
    assert first.end().code == 143
    assert second.end().code == 0
    assert len(slurm.files()) == 2


def test_a_task_whose_run_is_held_by_another_process_ends_and_is_submitted_again(slurm, unbroken, tmp_path):
    """The other process takes the run after the submission, and ends without a result."""
    outputs = tmp_path / "outputs"
    run = Run(outputs / "runs" / unbroken.path.name)

    def hold():
        with run.lock(wait=False):
            until(lambda: slurm.starts())

    thread = threading.Thread(target=hold, daemon=True)
    thread.start()
    done = rogue.train(outputs, *LONG, "seed=0", SLURM)
    assert done.code == 0, done.err
    assert len(slurm.files()) >= 2
    assert_same(run, unbroken)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("hydra.launcher.partition=nowhere",), "error: sbatch: error: Batch job submission failed: Invalid partition name"),
        (("hydra.launcher.timeout_min=0",), "error: hydra.launcher.timeout_min: must be greater than or equal to 1, not 0"),
        (("hydra.launcher.partitoin=gpu",), "hint: did you mean hydra.launcher.partition?"),
    ],
)
def test_invalid_settings_are_refused(slurm, tmp_path, words, message):
    done = rogue.train(tmp_path / "outputs", *LINE, "seed=0,1", SLURM, *words)
    assert done.code == 2
    assert message in done.err
    assert not list(tmp_path.glob("outputs/runs/*"))


def test_missing_slurm_commands_are_reported(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "/usr/bin")
    done = rogue.train(tmp_path / "outputs", *LINE, "seed=0,1", SLURM)
    assert (done.code, "the Slurm commands sbatch and srun were not found" in done.err) == (2, True)


def test_a_failing_job_does_not_affect_the_others_without_slurm(tmp_path):
    outputs = tmp_path / "outputs"
    done = rogue.train(outputs, *LINE, "objective.how=exit,kill,well", LOCAL)
    assert done.code == 1
    assert [run["state"] for run in sweep_json(outputs)["runs"]] == ["failed", "failed", "finished"]
    assert "a component called sys.exit(3)" in done.err
    assert "ended without a result" in done.err


def test_an_error_before_the_run_starts_is_in_the_log_of_the_job(tmp_path, monkeypatch):
    """The component cannot be imported where the job runs."""
    outputs = tmp_path / "outputs"
    monkeypatch.setenv("PYTHONPATH", "")
    done = rogue.train(outputs, *LINE, "seed=0", LOCAL)
    assert done.code == 1
    assert "rogue.Rogue cannot be imported" in done.err
    (log,) = outputs.glob("sweeps/*/0.log")
    assert str(log) in done.err
    assert "rogue.Rogue cannot be imported" in log.read_text()


@pytest.mark.parametrize(("number", "state"), [(signal.SIGUSR2, "finished"), (signal.SIGTERM, "interrupted")])
def test_signals_without_slurm(unbroken, tmp_path, number, state):
    """SIGUSR2 restarts the job at its last step; SIGTERM ends it, and repeating the command continues it."""
    outputs, words, log = tmp_path / "outputs", (*LONG, "seed=0", LOCAL), tmp_path / "diary"
    thread = meanwhile(20, outputs, lambda: os.kill(diary(log)[-1]["pid"], number))
    done = rogue.train(outputs, *words, ROGUE_PAUSE=0.1, ROGUE_DIARY=log)
    thread.join()
    assert [run["state"] for run in sweep_json(outputs)["runs"]] == [state], done.err
    run = the_run(outputs)
    (saved,) = saved_at(run)
    if state == "interrupted":
        assert rogue.train(outputs, *words).code == 0
    assert resumed_at(run) == [saved]
    assert 20 <= saved < 60
    assert_same(run, unbroken)


@pytest.mark.parametrize(("n_gpus", "seen"), [("null", ""), ("1", "5"), ("2", "5,3")])
def test_jobs_without_slurm_see_the_gpus_that_the_command_may_use(tmp_path, n_gpus, seen):
    """submitit itself would give the first GPUs of the machine to every job."""
    outputs, log, words = tmp_path / "outputs", tmp_path / "diary", (*LINE, "seed=0", LOCAL, f"hydra.launcher.gpus_per_node={n_gpus}")
    done = rogue.train(outputs, *words, CUDA_VISIBLE_DEVICES="5,3", ROGUE_DIARY=log)
    assert done.code == 0, done.err
    assert {entry["gpu"] for entry in diary(log)} == {seen}


def test_more_gpus_than_the_command_may_use_are_refused_without_slurm(tmp_path):
    done = rogue.train(tmp_path / "outputs", *LINE, "seed=0", LOCAL, "hydra.launcher.gpus_per_node=3", CUDA_VISIBLE_DEVICES="5,3")
    assert done.code == 2
    assert "error: hydra.launcher.gpus_per_node: GPUs requested: 3, visible: 2\n" in done.err
    assert not (tmp_path / "outputs").exists()
