"""The run folder: what names it, what state it is in, how it is found."""

import json
import multiprocessing
from pathlib import Path

import pytest

from ebm_cli.config import compose, schema, settings
from ebm_cli.errors import InputError
from ebm_cli.io import atomic
from ebm_cli.runs import catalog, run
from ebm_cli.runs.run import Run
from ebm_cli.sweeps.dispatch import Died
from ebm_cli.sweeps.jobs import Job, SweepTask


def identity(*words, fingerprint=""):
    return settings.identity(schema.check(compose.compose(words).config), fingerprint)


@pytest.mark.parametrize(
    "word",
    [
        *("device=cpu", "name=a", "group=b", "tags=[c]", "force=true", "metric=[]", "sampler=langevin", "sampler.step_size=0.5"),
        *("trainer.log_every=7", "trainer.evaluate_every=7", "trainer.checkpoint_every=7", "draws.n_samples=5", "optimizer.weight_decay=0"),
    ],
)
def test_what_training_does_not_read_names_no_run(word):
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
def test_what_training_reads_names_another(word):
    assert identity(word) != identity()


def test_the_sampler_counts_where_the_objective_uses_it():
    assert identity("objective=pcd", "sampler.step_size=0.5") != identity("objective=pcd")


def test_a_table_is_named_by_its_content():
    a, b = (("dataset=table", f"dataset.path={name}") for name in ("a.csv", "b.csv"))
    assert identity(*a, fingerprint="1") == identity(*b, fingerprint="1")
    assert identity(*a, fingerprint="1") != identity(*a, fingerprint="2")
    assert identity(*a, "dataset.columns=[x]", fingerprint="1") != identity(*a, fingerprint="1")


def test_one_and_1_are_the_same_number():
    assert identity("energy.tilt=1") == identity("energy.tilt=1.0")


def made(name, created, state="finished"):
    one = Run(run.outputs() / "runs" / name)
    one.path.mkdir(parents=True)
    one.write("environment.json", {"created": created, "schema": run.SCHEMA})
    (one.path / "config.yaml").write_text("seed: 0\n")
    one.set_status(state)
    return one


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


def test_a_run_that_says_running_but_holds_no_lock_was_killed():
    one = made("moons-ssm-s0-a", 1, "running")
    assert one.state() == "interrupted"
    with one.lock(wait=False):
        assert one.state() == "running"
    assert made("moons-ssm-s0-b", 1, "diverged").state() == "diverged"
    assert Run(Path("nowhere")).state() == "new"


def hold(path, ready, done):
    one = Run(path)
    with one.lock(wait=False):
        one.set_status("running")
        ready.set()
        done.wait(20)


def test_a_run_held_by_another_process_is_refused_by_name():
    one = made("moons-ssm-s0-a", 1)
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    other = context.Process(target=hold, args=(one.path.resolve(), ready, done))
    other.start()
    assert ready.wait(20)
    with pytest.raises(InputError, match=f"process {other.pid} on "), one.lock(wait=False):
        pass
    done.set()
    other.join()
    with one.lock(wait=True):
        assert one.read("status.json")["pid"] == other.pid


def test_rows_after_a_checkpoint_are_cut_and_a_torn_last_line_is_dropped():
    one = made("moons-ssm-s0-a", 1)
    for step in (10, 20, 30):
        one.append({"step": step, "loss": step / 3})
    with open(one.path / "metrics.jsonl", "a") as file:
        file.write('{"step": 4')
    assert [row["step"] for row in one.rows()] == [10, 20, 30]
    assert [row["step"] for row in one.cut(20)] == [10, 20]
    one.append({"step": 30, "loss": 0.1})
    assert [json.loads(line)["step"] for line in (one.path / "metrics.jsonl").read_text().splitlines()] == [10, 20, 30]


def test_replacing_keeps_the_old_folder():
    one = made("moons-ssm-s0-a", 1)
    one.replace()
    assert one.state() == "new"
    (kept,) = (run.outputs() / "replaced").iterdir()
    assert kept.name.startswith("moons-ssm-s0-a-")
    assert (kept / "status.json").exists()


def test_a_file_is_written_whole_or_not_at_all(monkeypatch):
    one = made("moons-ssm-s0-a", 1)
    one.write("summary.json", {"kl": 1.0})
    monkeypatch.setattr(atomic.os, "fsync", lambda _: (_ for _ in ()).throw(OSError("the disk is full")))
    with pytest.raises(OSError, match="full"):
        one.write("summary.json", {"kl": 2.0})
    assert one.read("summary.json") == {"kl": 1.0}
    assert not list(one.path.glob(".summary*"))


def test_what_a_kill_leaves_of_a_file_is_swept_out_by_who_takes_the_run_up():
    one = made("moons-ssm-s0-a", 1)
    one.write("summary.json", {"kl": 1.0})
    left = one.path / ".summary.json.4711"
    left.write_text('{"kl": 2')
    with one.lock(wait=False):
        assert not left.exists()
        assert one.state() == "finished"
    assert one.read("summary.json") == {"kl": 1.0}


def test_who_reports_a_death_leaves_a_run_alone_that_another_process_has_taken_up(tmp_path):
    """Between the death and the report another sweep may have gone on with it."""
    job, died = Job((), "abc", "abc"), Died("killed, perhaps out of memory")
    one = made("moons-ssm-s0-a", 1, "running")
    task = SweepTask(job, ("seed=0",), tmp_path / "0.log", one.path, started=True)
    with one.lock(wait=False), pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "state", lambda self: "interrupted")  # as it was when it was looked at
        assert job.outcome_of(task, died).state == "failed"
    assert one.read("status.json")["state"] == "running"
    outcome = job.outcome_of(task, died)
    assert (outcome.state, outcome.reason, outcome.path) == ("failed", "killed, perhaps out of memory", str(one.path))
    assert one.read("status.json")["state"] == "failed"
