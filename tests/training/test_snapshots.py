"""Snapshots of training: their steps, parameters and points, and runs that are continued. Kills are tested in test_kill.py."""

import itertools

import pytest
import torch

from ebm_cli.errors import InputError
from ebm_cli.runs.catalog import find
from ebm_cli.training import snapshots
from ebm_cli.training.snapshot_buffer import N_POINTS

SMALL = ("dataset=moons", "energy=mlp", "energy.hidden=[8]", "trainer.batch_size=16", "metric=[]", "figure=[]", "device=cpu")
RUN = (*SMALL, "draws.n_samples=10", "draws.n_steps=2", "trainer.n_steps=12", "trainer.checkpoint_every=5", "trainer.n_snapshots=6")


@pytest.mark.parametrize(
    ("n", "last", "steps"),
    [
        (4, 8, [1, 2, 4, 8]),
        (5, 10000, [1, 10, 100, 1000, 10000]),
        (1, 7, [7]),
        (9, 3, [1, 2, 3]),
        (0, 5, []),
        (5, 0, []),
        (6, 12, [1, 2, 3, 5, 8, 12]),
    ],
)
def test_steps_are_even_on_a_logarithmic_scale(n, last, steps):
    assert snapshots.spaced(n, last) == steps


def test_there_are_as_many_distinct_steps_as_asked_for():
    for last in (60, 61, 200, 3000, 6500, 10**6):
        steps = snapshots.spaced(60, last)
        assert len(steps) == 60
        assert (steps[0], steps[-1]) == (1, last)
        assert all(a < b for a, b in itertools.pairwise(steps))


@pytest.mark.parametrize(
    ("objective", "name"), [("nce", "noise"), ("cnce", "noise"), ("cd", "negatives"), ("pcd", "negatives"), ("ssm", None)]
)
@pytest.mark.parametrize("seeds", ["null", "3"])
def test_a_snapshot_has_the_averaged_parameters_and_the_points_of_its_step(trainer, tmp_path, objective, name, seeds):
    instance = trainer(*SMALL, f"objective={objective}", f"seeds={seeds}", "trainer.n_steps=5", "trainer.n_snapshots=3")
    snapshots.plan(instance)
    prepare, used, kept = type(instance.objective).prepare, {}, {}

    def spy(model, params, carry, x, rng):
        found = prepare(instance.objective, model, params, carry, x, rng)
        used[instance.state.step + 1] = x, found[0]
        return found

    object.__setattr__(instance.objective, "prepare", spy)
    for step in instance.steps():
        kept[step] = {name: value.clone() for name, value in instance.named(instance.state.ema).items() if name in instance.shapes}
    snapshots.write(tmp_path, instance)
    found = snapshots.read(tmp_path)
    assert [snapshot.step for snapshot in found] == snapshots.spaced(3, 5) == [1, 2, 5]
    for step, params, points in found:
        assert params.keys() == kept[step].keys()
        assert all(torch.equal(params[key], kept[step][key]) for key in params)
        assert [*points] == ([name] if name else [])
        if name:
            x, aux = used[step]
            whole = aux["negatives"] if name == "negatives" else aux["points"][..., x.shape[-2] :, :]
            assert torch.equal(points[name], whole[..., :N_POINTS, :])
            assert points[name].shape[:-2] == (() if seeds == "null" else (3,))


def test_few_points_are_kept(trainer, tmp_path):
    instance = trainer(*SMALL, "objective=nce", "objective.n_noise=32", "trainer.n_steps=1", "trainer.n_snapshots=1")
    snapshots.plan(instance)
    instance.step()
    snapshots.write(tmp_path, instance)
    assert snapshots.read(tmp_path)[0].points["noise"].shape == (N_POINTS, 2)


def test_snapshots_change_neither_the_identity_nor_the_training(ebm):
    assert ebm("train", *RUN)[0] == 0
    run = find("last")
    state = (run.checkpoints / "00000012" / "state.safetensors").read_bytes()
    assert [snapshot.step for snapshot in snapshots.read(run.path)] == [1, 2, 3, 5, 8, 12]
    assert [file.name for file in sorted((run.path / "snapshots").iterdir())] == [f"{step:08d}.safetensors" for step in (5, 10, 12)]
    assert ebm("train", *RUN, "trainer.n_snapshots=0", "force=true")[0] == 0
    assert find("last").path == run.path
    assert not (run.path / "snapshots").exists()
    assert (run.checkpoints / "00000012" / "state.safetensors").read_bytes() == state


def test_a_run_that_continues_another_keeps_snapshots_of_the_added_steps(ebm):
    assert ebm("train", *RUN)[0] == 0
    assert ebm("train", "resume=last", "trainer.n_steps=20", "trainer.n_snapshots=4")[0] == 0
    assert [snapshot.step for snapshot in snapshots.read(find("last").path)] == [12 + step for step in snapshots.spaced(4, 8)]


def test_a_refit_keeps_the_snapshots_of_the_selection(ebm, trainer, tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("a,b\n" + "".join(f"{i % 7},{(i * i) % 11}\n" for i in range(100)))
    data = ("dataset=table", f"dataset.path={table}", "trainer.select=loss", "trainer.refit=true", "trainer.evaluate_every=4")
    assert ebm("train", *RUN, *data, "objective=ssm")[0] == 0
    assert [snapshot.step for snapshot in snapshots.read(find("last").path)] == [1, 2, 3, 5, 8, 12]
    instance = trainer(*RUN, *data, "objective=ssm")
    instance.refit(3, {"step": torch.tensor(4)})  # the selection ended before the last step, and the refit takes steps 4 to 7
    snapshots.plan(instance)
    assert instance.snapshots.steps == frozenset()


def test_models_of_other_events_keep_no_snapshots(ebm):
    for data in (("dataset=ica", "dataset.dim=3"), ("dataset=bars_and_stripes", "energy=binary_mlp", "objective=pseudo_likelihood")):
        code, _, err = ebm(
            "train", *[word for word in RUN if word != "dataset=moons" and "hidden" not in word and "mlp" not in word], *data
        )
        assert code == 0, err
        assert not (find("last").path / "snapshots").exists()
        assert "no snapshots" not in err


def test_large_models_keep_no_snapshots_and_say_so(ebm, monkeypatch):
    size = 8 * 3 + 9  # of energy.hidden=[8] with two inputs
    monkeypatch.setattr(snapshots, "MOST", 6 * size - 1)
    code, _, err = ebm("train", *RUN)
    assert code == 0
    assert f"6 of {size} parameters are more than {6 * size - 1} numbers; trainer.n_snapshots=5 would keep some" in " ".join(err.split())
    assert not (find("last").path / "snapshots").exists()
    monkeypatch.setattr(snapshots, "MOST", 6 * size)
    assert "no snapshots" not in ebm("train", *RUN, "force=true")[2]
    assert len(snapshots.read(find("last").path)) == 6


def test_damaged_files_and_those_of_later_steps(ebm):
    assert ebm("train", *RUN)[0] == 0
    run = find("last").path
    (run / "snapshots" / ".00000012.safetensors.123").write_bytes(b"")  # of a process that was killed
    (run / "snapshots" / "notes.txt").write_text("of the user")
    assert len(snapshots.read(run)) == 6
    snapshots.cut(run, 10)
    assert [snapshot.step for snapshot in snapshots.read(run)] == [1, 2, 3, 5, 8]
    assert sorted(file.name for file in (run / "snapshots").iterdir()) == ["00000005.safetensors", "00000010.safetensors", "notes.txt"]
    for content in (b"", b"no tensors", (run / "snapshots" / "00000005.safetensors").read_bytes()[:-9]):
        (run / "snapshots" / "00000005.safetensors").write_bytes(content)
        with pytest.raises(InputError, match=r"00000005\.safetensors is damaged"):
            snapshots.read(run)


def test_rm_removes_snapshots_and_keeps_what_is_foreign(ebm):
    assert ebm("train", *RUN)[0] == 0
    run = find("last")
    (run.path / "snapshots" / "notes.txt").write_text("of the user")
    assert ebm("rm", run.id, "--yes")[0] == 0
    assert [file.name for file in run.path.rglob("*") if file.is_file()] == ["notes.txt"]
