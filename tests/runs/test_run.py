"""The run folder: its identity, its state, its lock and its files."""

import json
import multiprocessing
from pathlib import Path

import pytest

from ebm_cli.config import compose, roles, schema
from ebm_cli.errors import InputError
from ebm_cli.io import atomic
from ebm_cli.runs import catalog
from ebm_cli.runs.run import SCHEMA, Run, outputs
from ebm_cli.sweeps.dispatch import Died
from ebm_cli.sweeps.jobs import Job, SweepTask


def identity(*words, fingerprint=""):
    return roles.identity(schema.check(compose.compose(words).config), fingerprint)


@pytest.mark.parametrize(
    "word",
    [
        *("device=cpu", "name=a", "group=b", "tags=[c]", "force=true", "metric=[]", "sampler=langevin", "sampler.step_size=0.5"),
        *("trainer.log_every=7", "trainer.evaluate_every=7", "trainer.checkpoint_every=7", "draws.n_samples=5", "optimizer.weight_decay=0"),
    ],
)
def test_keys_that_training_does_not_read_keep_the_identity(word):
    assert identity(word) == identity()


@pytest.mark.parametrize(
    "word",
    [
        *("seed=1", "seeds=1", "dataset.noise=0.2", "dataset.n_train=100", "energy=score_mlp", "energy.width=32", "objective=nce"),
        *(
            "optimizer.lr=0.1",
            "optimizer=adamw",
            "trainer.n_steps=1",
            "trainer.compile=true",
            "regularizer=[energy_l2]",
            "trainer.ema_decay=0",
        ),
    ],
)
def test_keys_that_training_reads_change_the_identity(word):
    assert identity(word) != identity()


def test_the_sampler_changes_the_identity_if_the_objective_uses_it():
    assert identity("objective=pcd", "sampler.step_size=0.5") != identity("objective=pcd")


def test_a_table_is_identified_by_its_content():
    a, b = (("dataset=table", f"dataset.path={name}") for name in ("a.csv", "b.csv"))
    assert identity(*a, fingerprint="1") == identity(*b, fingerprint="1")
    assert identity(*a, fingerprint="1") != identity(*a, fingerprint="2")
    assert identity(*a, "dataset.columns=[x]", fingerprint="1") != identity(*a, fingerprint="1")


def test_an_integer_and_the_equal_float_give_the_same_identity():
    assert identity("energy.tilt=1") == identity("energy.tilt=1.0")


def made(name, created, state="finished"):
    run = Run(outputs() / "runs" / name)
    run.path.mkdir(parents=True)
    needed = {"choices": {}, "device": "cpu", "reproduce": "ebm train", "differs": []}
    run.write("environment.json", {"created": created, "schema": SCHEMA} | needed)
    (run.path / "config.yaml").write_text("seed: 0\n")
    run.set_status(state)
    return run


def test_a_run_is_found_by_id_prefix_path_and_last():
    a, b = made("moons-ssm-s0-aaa1", 2), made("moons-nce-s0-aab2", 1)
    assert catalog.every() == [b, a]
    assert catalog.find("last") == a
    assert catalog.find("aab") == catalog.find("aab2") == catalog.find("moons-nce") == catalog.find(str(b.path)) == b
    with pytest.raises(InputError, match="names 2 runs"):
        catalog.find("aa")
    with pytest.raises(InputError, match="there is no run 'zzz'"):
        catalog.find("zzz")
    with pytest.raises(InputError, match="is not a run"):
        catalog.find(str(Path.cwd()))


def test_a_running_run_without_a_lock_is_interrupted():
    run = made("moons-ssm-s0-a", 1, "running")
    assert run.state() == "interrupted"
    with run.lock(wait=False):
        assert run.state() == "running"
    assert made("moons-ssm-s0-b", 1, "diverged").state() == "diverged"
    assert Run(Path("nowhere")).state() == "new"


def hold(path, ready, done):
    run = Run(path)
    with run.lock(wait=False):
        run.set_status("running")
        ready.set()
        done.wait(20)


def test_a_run_locked_by_another_process_is_refused_and_the_process_is_named():
    run = made("moons-ssm-s0-a", 1)
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    other = context.Process(target=hold, args=(run.path.resolve(), ready, done))
    other.start()
    assert ready.wait(20)
    with pytest.raises(InputError, match=f"process {other.pid} on "), run.lock(wait=False):
        pass
    done.set()
    other.join()
    with run.lock(wait=True):
        assert run.read("status.json")["pid"] == other.pid


def test_rows_after_a_checkpoint_are_removed_and_an_incomplete_last_line_is_ignored():
    run = made("moons-ssm-s0-a", 1)
    for step in (10, 20, 30):
        run.append({"step": step, "loss": step / 3, "seconds": 0.1})
    with open(run.path / "metrics.jsonl", "a") as file:
        file.write('{"step": 4')
    assert [row["step"] for row in run.rows()] == [10, 20, 30]
    assert [row["step"] for row in run.cut(20)] == [10, 20]
    run.append({"step": 30, "loss": 0.1})
    assert [json.loads(line)["step"] for line in (run.path / "metrics.jsonl").read_text().splitlines()] == [10, 20, 30]


def test_replacing_a_run_keeps_its_old_files():
    run = made("moons-ssm-s0-a", 1)
    run.replace()
    assert run.state() == "new"
    (kept,) = (outputs() / "replaced").iterdir()
    assert kept.name.startswith("moons-ssm-s0-a-")
    assert (kept / "status.json").exists()


def test_files_are_written_atomically(monkeypatch):
    run = made("moons-ssm-s0-a", 1)
    run.write("summary.json", {"kl": 1.0})
    monkeypatch.setattr(atomic.os, "fsync", lambda _: (_ for _ in ()).throw(OSError("the disk is full")))
    with pytest.raises(OSError, match="full"):
        run.write("summary.json", {"kl": 2.0})
    assert run.read("summary.json") == {"kl": 1.0}
    assert not list(run.path.glob(".summary*"))


def test_temporary_files_of_a_killed_process_are_removed_by_the_next_one():
    run = made("moons-ssm-s0-a", 1)
    run.write("summary.json", {"kl": 1.0})
    leftover = run.path / ".summary.json.4711"
    leftover.write_text('{"kl": 2')
    with run.lock(wait=False):
        assert not leftover.exists()
        assert run.state() == "finished"
    assert run.read("summary.json") == {"kl": 1.0}


def test_the_report_of_a_killed_job_does_not_change_a_run_that_another_process_continues(tmp_path):
    """Another sweep can continue the run between the death of the job and the report."""
    job, died = Job((), "abc", "abc"), Died("killed, perhaps out of memory")
    run = made("moons-ssm-s0-a", 1, "running")
    task = SweepTask(job, ("seed=0",), tmp_path / "0.log", run.path, started=True)
    with run.lock(wait=False), pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "state", lambda self: "interrupted")  # the state before the other process continued it
        assert job.outcome_of(task, died).state == "failed"
    assert run.read("status.json")["state"] == "running"
    outcome = job.outcome_of(task, died)
    assert (outcome.state, outcome.reason, outcome.path) == ("failed", "killed, perhaps out of memory", str(run.path))
    assert run.read("status.json")["state"] == "failed"
