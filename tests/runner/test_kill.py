"""A run that is killed at any moment and continued by the same command ends with the same bits as a run that was never killed.

These tests use real processes and signals. Most processes are forked from a server that has already imported torch, so that each takes a
second. Some are started as a user starts them.
"""

import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import sys
import time

import pytest
import torch

from ebm_cli import __main__
from ebm_cli.runner import results
from ebm_cli.runs.run import Run
from ebm_cli.training import checkpoint, snapshots
from ebm_cli.training.trainer import Trainer

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["ebm_cli.runner.train", "torch._dynamo", "matplotlib.figure", "hydra", "safetensors.torch"])
PATIENCE = 120  # seconds; each of these processes takes less than ten on an idle machine

LINE = (
    "dataset.noise=0.3",
    "energy.width=16",
    "trainer.n_steps=300",
    "trainer.batch_size=32",
    "trainer.log_every=5",
    "trainer.evaluate_every=60",
    "trainer.checkpoint_every=20",
    "draws.n_samples=50",
    "draws.n_steps=10",
    "metric=quadrature",
    "figure=[]",
    "device=cpu",
)
LINES = {
    "ssm": (*LINE, "objective=ssm"),
    "nce": (*LINE, "objective=nce"),
    "pcd": (*LINE, "objective=pcd", "objective.n_steps=3", "objective.n_chains=128", "objective.restart=0.1"),
    "stack": (*LINE, "objective=pcd", "objective.n_steps=3", "objective.n_chains=128", "objective.restart=0.1", "seeds=3"),
}
LAST, EVERY = 300, 20


def slow_disk():
    """Slow every sync to the disk, so that a kill hits a partly written checkpoint."""
    sync = os.fsync

    def slow(descriptor):
        time.sleep(0.05)
        sync(descriptor)

    os.fsync = slow


def stuck_step():
    """Step 50 does not end."""
    step = Trainer.step

    def stuck(self):
        if self.state.step == 50:
            time.sleep(PATIENCE)
        step(self)

    Trainer.step = stuck


def stuck_pictures():
    """The pictures, after training, are never finished."""
    results.save_figures = lambda *arguments: time.sleep(PATIENCE)


def command(words, outputs, output, alter):
    """The body of a child process: the command, with its output in a file."""
    os.environ |= {"EBM_OUTPUTS": str(outputs), "OMP_NUM_THREADS": "1"}
    signal.pthread_sigmask(signal.SIG_SETMASK, [])  # signals are blocked if a sweep of another test started the server
    with open(output, "w") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    torch.set_num_threads(1)
    if alter:
        alter()
    sys.exit(__main__.main(words))


class Child:
    """`ebm train ...` in its own process."""

    def __init__(self, words, outputs, alter=None):
        self.outputs = outputs
        outputs.mkdir(exist_ok=True)
        self.output = outputs / "output.txt"
        self.output.write_text("")
        self.process = SERVER.Process(target=command, args=(["train", *words], outputs, self.output, alter))
        self.process.start()

    @property
    def run(self):
        return the_run(self.outputs)

    def wait_for(self, condition):
        """Wait until a condition holds. The process must not end before."""
        end = time.monotonic() + PATIENCE
        while not condition():
            assert self.process.is_alive(), self.output.read_text()
            assert time.monotonic() < end
            time.sleep(0.002)

    def wait_for_step(self, step):
        self.wait_for(lambda: last_step(self.outputs) >= step)

    def kill(self, number=signal.SIGKILL):
        os.kill(self.process.pid, number)

    def end(self):
        """Wait for the end. Returns (exit code, output)."""
        self.process.join(PATIENCE)
        assert self.process.exitcode is not None
        return self.process.exitcode, self.output.read_text()


def the_run(outputs):
    (path,) = (outputs / "runs").iterdir()
    return Run(path)


def last_step(outputs):
    """The last step in the rows written so far."""
    found = list(outputs.glob("runs/*/metrics.jsonl"))
    rows = Run(found[0].parent).rows() if found else []
    return rows[-1]["step"] if rows else 0


def result(run):
    """What must not depend on whether a run was killed: the last checkpoint, rows and numbers without times, samples, snapshots."""
    rows = [{key: value for key, value in row.items() if key != "seconds"} for row in run.rows()]
    summary = {key: value for key, value in run.read("summary.json").items() if "second" not in key}
    kept = [
        (step, {name: value.numpy().tobytes() for name, value in (params | points).items()})
        for step, params, points in snapshots.read(run.path)
    ]
    state = (run.checkpoints / f"{LAST:08d}" / "state.safetensors").read_bytes()
    return state, rows, summary, (run.path / "samples.npz").read_bytes(), kept


def assert_same(run, other):
    for ours, theirs in zip(result(run), result(other), strict=True):
        assert ours == theirs
    assert run.read("status.json")["state"] == "finished"
    assert not list(run.path.rglob(".partial-*"))
    assert [step for step, *_ in snapshots.read(run.path)] == snapshots.spaced(60, LAST)


def resumed_at(run):
    """The steps from which the run continued, according to train.log."""
    return [int(step) for step in re.findall(r"continuing from step (\d+)$", (run.path / "train.log").read_text(), re.MULTILINE)]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """`unbroken("ssm")` returns the run that was not killed."""
    runs = {}

    def train(name):
        if name not in runs:
            child = Child(LINES[name], tmp_path_factory.mktemp("unbroken") / "outputs")
            code, text = child.end()
            assert code == 0, text
            runs[name] = child.run
        return runs[name]

    return train


@pytest.mark.parametrize("name", LINES)
def test_a_run_killed_at_any_moment_ends_with_the_same_bits(unbroken, tmp_path, name):
    outputs, moments = tmp_path / "outputs", random.Random(name)
    for lowest, highest in ((30, 140), (160, 220)):
        child = Child(LINES[name], outputs)
        child.wait_for_step(moments.randrange(lowest, highest))
        time.sleep(moments.uniform(0, 0.01))
        child.kill()
        assert child.end()[0] == -signal.SIGKILL
        killed_at = last_step(outputs)
        assert child.run.state() == "interrupted"
        again = Child(LINES[name], outputs)
        again.wait_for(lambda again=again: "continuing from step" in again.output.read_text())
        again.kill()
        again.end()
        resumed = resumed_at(child.run)[-1]
        assert resumed > 0
        assert resumed % EVERY == 0
        assert killed_at - resumed <= EVERY
    code, text = Child(LINES[name], outputs).end()
    assert code == 0, text
    assert f"continuing from step {resumed_at(the_run(outputs))[-1]}" in text
    assert_same(the_run(outputs), unbroken(name))


def test_a_run_killed_while_a_checkpoint_is_written_continues_from_the_previous_one(unbroken, tmp_path):
    child = Child(LINES["pcd"], tmp_path / "outputs", slow_disk)
    child.wait_for(lambda: list(child.outputs.glob("runs/*/checkpoints/.partial-00000040/*")))
    child.kill()
    child.end()
    assert list(child.run.checkpoints.glob(".partial-*"))  # the kill hit a partly written checkpoint
    assert [path.name for path in checkpoint.steps(child.run.checkpoints)] == ["00000000", "00000020"]
    code, text = Child(LINES["pcd"], tmp_path / "outputs").end()
    assert code == 0, text
    assert resumed_at(child.run) == [20]
    assert_same(child.run, unbroken("pcd"))


@pytest.mark.parametrize(("number", "name", "code"), [(signal.SIGINT, "nce", 130), (signal.SIGTERM, "stack", 143)])
def test_an_interrupted_run_saves_its_step_and_continues(unbroken, tmp_path, number, name, code):
    """The current step is finished and saved, and the message says how to continue."""
    child = Child(LINES[name], tmp_path / "outputs")
    child.wait_for_step(73)
    child.kill(number)
    ended, text = child.end()
    run = child.run
    saved = int(checkpoint.newest(run.checkpoints, print).name)
    assert ended == code
    assert f"error: interrupted by {number.name}" in text
    assert f"hint: the same command continues from step {saved}\n" in text
    assert "Traceback" not in text
    status = run.read("status.json")
    assert status["state"] == "interrupted"
    assert status["reason"].endswith(f"at step {saved}")
    assert saved >= last_step(tmp_path / "outputs") >= 75
    ended, text = Child(LINES[name], tmp_path / "outputs").end()
    assert ended == 0, text
    assert resumed_at(run) == [saved]
    assert_same(run, unbroken(name))


def test_a_second_interrupt_ends_at_once(unbroken, tmp_path):
    child = Child(LINES["ssm"], tmp_path / "outputs", stuck_step)
    child.wait_for_step(50)
    time.sleep(0.2)
    child.kill(signal.SIGINT)
    child.process.join(1)
    assert child.process.is_alive()  # it waits for the end of the step
    child.kill(signal.SIGINT)
    assert child.end()[0] == 130
    assert child.run.state() == "interrupted"
    assert Child(LINES["ssm"], tmp_path / "outputs").end()[0] == 0
    assert resumed_at(child.run) == [40]
    assert_same(child.run, unbroken("ssm"))


def test_a_run_interrupted_after_training_makes_its_results_again(unbroken, tmp_path):
    """An interrupt during the measurements keeps the trained model, and the same command makes the results."""
    child = Child(LINES["ssm"], tmp_path / "outputs", stuck_pictures)
    child.wait_for(lambda: list(child.outputs.glob("runs/*/samples.npz")))
    child.kill(signal.SIGTERM)
    code, text = child.end()
    assert code == 143
    assert f"continues from step {LAST}" in text
    assert Child(LINES["ssm"], tmp_path / "outputs").end()[0] == 0
    assert resumed_at(child.run) == [LAST]
    assert_same(child.run, unbroken("ssm"))


def test_interrupted_killed_and_continued_from_the_command_line(ebm_process, ebm, unbroken, tmp_path):
    """Nothing is forked or patched: Ctrl-C, then kill -9, then the same command again."""
    outputs, words = tmp_path / "outputs", LINES["ssm"]

    def start_and_wait(step):
        process, end = ebm_process("train", *words), time.monotonic() + PATIENCE
        while last_step(outputs) < step:
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < end
            time.sleep(0.002)
        return process

    process = start_and_wait(60)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE)
    saved = int(checkpoint.newest(the_run(outputs).checkpoints, print).name)
    assert (process.returncode, out) == (130, "")
    assert err.endswith(f"error: interrupted by SIGINT\nhint: the same command continues from step {saved}\n")
    process = start_and_wait(180)
    process.kill()
    process.communicate()
    code, out, err = ebm("train", *words)
    assert code == 0, err
    first, second = resumed_at(the_run(outputs))
    assert first == saved
    assert second >= 160
    assert_same(the_run(outputs), unbroken("ssm"))


@pytest.fixture(scope="module")
def broken_off(tmp_path_factory):
    """The outputs folder of a run that was killed after step 100, with two checkpoints."""
    child = Child(LINES["nce"], tmp_path_factory.mktemp("broken") / "outputs")
    child.wait_for_step(110)
    child.kill()
    child.end()
    assert len(checkpoint.steps(child.run.checkpoints)) == 2
    return child.outputs


@pytest.fixture
def damaged(broken_off, tmp_path):
    """A copy of that run, which the test damages. The outputs folder can be moved."""
    shutil.copytree(broken_off, tmp_path / "outputs")
    return the_run(tmp_path / "outputs")


def flip_a_byte(path):
    content = bytearray((path / "state.safetensors").read_bytes())
    content[len(content) // 2] ^= 1
    (path / "state.safetensors").write_bytes(content)


def truncate(path):
    os.truncate(path / "state.safetensors", 1000)


def no_manifest(path):
    (path / "manifest.json").unlink()


def bad_manifest(path):
    (path / "manifest.json").write_text('{"step": 1')


def no_state(path):
    (path / "state.safetensors").unlink()


@pytest.mark.parametrize("damage", [flip_a_byte, truncate, no_manifest, bad_manifest, no_state])
def test_training_continues_from_the_checkpoint_before_a_damaged_one(ebm, damaged, unbroken, damage):
    before, newest = checkpoint.steps(damaged.checkpoints)
    damage(newest)
    code, _, err = ebm("train", *LINES["nce"])
    assert code == 0, err
    assert re.search(rf"^warning: checkpoint {newest.name} is damaged \(.+\) and is not used$", err, re.MULTILINE)
    assert f"continuing from step {int(before.name)}\n" in err
    assert f"checkpoint {newest.name} is damaged" in (damaged.path / "train.log").read_text()
    assert_same(damaged, unbroken("nce"))


def test_without_an_intact_checkpoint_training_starts_again(ebm, damaged, unbroken, monkeypatch):
    """New checkpoints replace the damaged ones."""
    for path in checkpoint.steps(damaged.checkpoints):
        flip_a_byte(path)
    step = Trainer.step

    def fail_at_50(self):
        if self.state.step == 50:
            raise OSError("the disk is full")
        step(self)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", fail_at_50)
        code, _, err = ebm("train", *LINES["nce"])
    assert code == 1
    assert err.count("is damaged") >= 2
    assert "continues from step 40" in err
    assert ebm("train", *LINES["nce"])[0] == 0
    assert_same(damaged, unbroken("nce"))


def test_an_incomplete_row_of_the_log_is_written_again(ebm, damaged, unbroken):
    with open(damaged.path / "metrics.jsonl", "a") as file:
        file.write(json.dumps({"step": 9999})[:-4])
    assert ebm("train", *LINES["nce"])[0] == 0
    assert_same(damaged, unbroken("nce"))
