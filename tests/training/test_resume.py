"""`resume=RUN`: a new run that continues another run."""

import json
import shutil

import pytest

from ebm_cli.optimizers.adam import Adam
from ebm_cli.runs.catalog import find
from ebm_cli.training import checkpoint

LINE = (
    "trainer.n_steps=20",
    "trainer.log_every=5",
    "trainer.checkpoint_every=10",
    "trainer.batch_size=16",
    "energy.width=8",
    "dataset.noise=0.3",
    "draws.n_samples=50",
    "draws.n_steps=10",
    "device=cpu",
    "metric=[]",
    "figure=[]",
    "optimizer.n_warmup_steps=0",
)
CONSTANT = (*LINE, "optimizer.schedule=constant")


def trained(ebm, *words):
    """Train a run and return it."""
    code, _, err = ebm("train", *words)
    assert code == 0, err
    return find("last")


def state(run, step):
    return (run.checkpoints / f"{step:08d}" / "state.safetensors").read_bytes()


def rows(run):
    """The rows of a run without their times."""
    return [{key: value for key, value in row.items() if key != "seconds"} for row in run.rows()]


@pytest.mark.parametrize("words", [("objective=nce",), ("objective=pcd", "objective.n_chains=64", "objective.n_steps=2"), ("seeds=2",)])
def test_with_a_constant_schedule_a_continued_run_equals_a_longer_run(ebm, words):
    whole = trained(ebm, *CONSTANT, *words, "trainer.n_steps=40")
    parent = trained(ebm, *CONSTANT, *words)
    child = trained(ebm, f"resume={parent.id}", "trainer.n_steps=40")
    assert len({whole.id, parent.id, child.id}) == 3
    assert state(child, 40) == state(whole, 40)
    assert rows(child) == rows(whole)
    assert child.rows()[-1]["seconds"] > parent.rows()[-1]["seconds"]
    assert child.read("summary.json")["test_loss"] == whole.read("summary.json")["test_loss"]


def test_the_schedule_covers_the_added_steps(ebm, monkeypatch):
    parent, used, update = trained(ebm, *LINE, "optimizer.schedule=cosine", "optimizer.lr=0.1"), [], Adam.update

    def spy(self, theta, gradient, state, *, step, lr):
        used.append(lr)
        update(self, theta, gradient, state, step=step, lr=lr)

    monkeypatch.setattr(Adam, "update", spy)
    trained(ebm, f"resume={parent.id}", "trainer.n_steps=30", "optimizer.lr=0.2")
    adam = Adam(lr=0.2, schedule="cosine", n_warmup_steps=0, weight_decay=0, betas=(0.9, 0.99), eps=1e-8, decoupled=False)
    assert used == [adam.lr_at(step, 10) for step in range(10)]


def test_a_continued_run_names_its_parent_and_can_be_used_like_any_run(ebm):
    parent = trained(ebm, *LINE)
    child = trained(ebm, "resume=last", "trainer.n_steps=30")
    assert child.config()["resume"] == f"{parent.id}@20"
    assert child.read("environment.json")["reproduce"] == f"ebm train resume={parent.id}@20 trainer.n_steps=30"
    assert parent.read("status.json")["state"] == "finished"
    code, out, err = ebm("train", f"resume={parent.id}", "trainer.n_steps=30")
    assert code == 0
    assert err == "this run is finished: its stored result is shown; force=true trains it again\n"
    again = out
    code, out, _ = ebm("train", f"resume={parent.id}@20", "trainer.n_steps=30")
    assert (code, out) == (0, again)
    earlier = trained(ebm, f"resume={parent.id}@10", "trainer.n_steps=30")
    assert earlier.id != child.id
    assert ebm("sample", child.id, "n_samples=10", "n_steps=2")[0] == 0


def test_an_interrupted_run_continues_from_its_own_checkpoint(ebm):
    parent = trained(ebm, *CONSTANT)
    child = trained(ebm, f"resume={parent.id}", "trainer.n_steps=50")
    expected = state(child, 50)
    shutil.rmtree(child.checkpoints / "00000050")
    child.set_status("interrupted")
    code, _, err = ebm("train", f"resume={parent.id}", "trainer.n_steps=50")
    assert code == 0
    assert "continuing from step 40\n" in err
    assert state(child, 50) == expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["resume=nix"], "there is no run 'nix'"),
        (["resume=PARENT"], "trainer.n_steps: moons-ssm-s0-PARENT is already at step 20"),
        (["resume=PARENT@15", "trainer.n_steps=40"], "resume: moons-ssm-s0-PARENT has no checkpoint of step 15, only of 10, 20"),
        (["resume=PARENT@x", "trainer.n_steps=40"], "has no checkpoint of step x"),
        (["resume=PARENT", "trainer.n_steps=40", "energy.width=9"], "has other parameters: "),
        (["resume=PARENT", "trainer.n_steps=40", "seeds=2"], "has other parameters"),
        (["resume=PARENT", "trainer.n_steps=40", "objective=nce"], "objective=nce: the option of objective cannot be changed here"),
        (["resume=PARENT", "trainer.n_stps=40"], "trainer.n_stps"),
        (["resume=PARENT", "trainer.n_steps=-1"], "trainer.n_steps"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_run_that_cannot_be_continued_is_refused(ebm, words, message):
    parent = trained(ebm, *LINE)
    code, out, err = ebm("train", *(word.replace("PARENT", parent.id) for word in words))
    assert (code, out) == (2, "")
    assert message.replace("PARENT", parent.id) in err
    assert [path.name for path in parent.path.parent.iterdir()] == [parent.path.name]


def test_a_damaged_checkpoint_is_refused(ebm):
    parent = trained(ebm, *LINE)
    (checkpoint.steps(parent.checkpoints)[-1] / "state.safetensors").write_bytes(b"")
    code, _, err = ebm("train", f"resume={parent.id}", "trainer.n_steps=40")
    assert code == 2
    assert "is damaged" in err
    assert ebm("train", f"resume={parent.id}@10", "trainer.n_steps=40")[0] == 0


def test_other_data_are_refused(ebm, tmp_path):
    data = tmp_path / "data.csv"
    data.write_text("a,b\n" + "\n".join(f"{i % 7},{i % 11}" for i in range(200)))
    table = [word for word in LINE if not word.startswith("dataset.")] + ["trainer.refit=false"]
    parent = trained(ebm, "dataset=table", f"dataset.path={data}", *table)
    assert ebm("train", f"resume={parent.id}", "trainer.n_steps=30")[0] == 0
    data.write_text(data.read_text() + "\n1,1")
    code, _, err = ebm("train", f"resume={parent.id}", "trainer.n_steps=40")
    assert code == 2
    assert "was trained on other data" in err


def test_resume_in_a_sweep(ebm):
    parent = trained(ebm, *LINE)
    code, out, err = ebm("train", "-m", f"resume={parent.id}", "trainer.n_steps=30", "optimizer.lr=0.001,0.002", "sweep.metric=test_loss")
    assert code == 0, err
    assert "optimizer.lr=0.001" in out
    sweep = json.loads(next(parent.path.parent.parent.glob("sweeps/*/sweep.json")).read_text())
    assert [run["state"] for run in sweep["runs"]] == ["finished", "finished"]
