"""Sweeps and searches of data for which not every number can be computed."""

import re

import pytest
from command import LINE, TINY, refused, tree

SWEEP = ("-m", "objective=dsm", *TINY, "trainer.n_steps=4", "hydra.launcher.cpu_jobs=1")


@pytest.fixture
def table(tmp_path):
    """`table(d)` writes a table of d columns, and returns the words that choose it."""

    def write(d):
        path = tmp_path / f"{d}.csv"
        rows = [[(31 * i * (j + 3) % 97) / 10 for j in range(d)] for i in range(80)]
        path.write_text("\n".join(",".join(map(str, row)) for row in [[f"c{j}" for j in range(d)], *rows]) + "\n")
        return "dataset=table", f"dataset.path={path}", "metric=[quadrature,sliced_wasserstein]", "reference=gaussian"

    return write


@pytest.mark.parametrize(
    ("d", "words", "metric"),
    [
        (2, (), "nll"),
        (5, (), "sliced_wasserstein"),
        (2, ("metric=[]",), "test_loss"),
        (2, ("metric=[]", "objective=dsm,ssm"), "train_seconds"),
    ],
)
def test_a_sweep_of_a_table_is_compared_by_a_number_that_its_runs_have_and_says_so(ebm, table, d, words, metric):
    ended = ebm("train", *SWEEP, *table(d), *words, "optimizer.lr=0.1,0.01")
    assert ended.code == 0, ended
    assert f"the runs are compared by {metric};" in ended.err
    assert ended.out.splitlines()[0].split()[:3] == ["state", "n", metric]
    assert re.search(r"^best: ebm train .*optimizer\.lr=", ended.out, re.MULTILINE)


@pytest.mark.parametrize("launcher", ["gpu", "ray", "submitit_slurm", "submitit_local"])
def test_a_gpu_that_a_job_does_not_see_is_refused(ebm, tmp_path, launcher):
    if launcher != "gpu":
        pytest.importorskip("ray" if launcher == "ray" else "submitit")
    before = tree(tmp_path)
    refused(
        ebm("train", *SWEEP[:1], *LINE, f"hydra/launcher={launcher}", "device=cuda:1", "seed=0,1"), "device=cuda:1: a job of this sweep"
    )
    assert tree(tmp_path) == before


def test_a_long_folder_for_temporary_files(ebm, tmp_path):
    """The path of a socket has at most 104 bytes."""
    long = tmp_path / ("long" * 30)
    long.mkdir()
    ended = ebm("train", *SWEEP, "dataset=moons", "metric=[quadrature]", "seed=0,1", TMPDIR=long)
    assert ended.code == 0, ended
    assert list(long.iterdir()) == []


def test_the_usual_number_needs_no_note(ebm):
    ended = ebm("train", *SWEEP, "dataset=moons", "metric=[quadrature]", "seed=0")
    assert ended.code == 0, ended
    assert "note:" not in ended.err
    assert ended.out.splitlines()[0].split()[:3] == ["state", "n", "kl"]


@pytest.mark.parametrize(
    ("d", "words", "parts"),
    [
        (2, ("sweep.metric=kl", "seed=0,1"), ("sweep.metric=kl", "choose nll")),
        (5, ("sweep.metric=nll", "seed=0,1"), ("sweep.metric=nll", "choose sliced_wasserstein")),
        (2, ("sweep.metric=mode_weight_error", "metric=[mode_weights]", "seed=0,1"), ("sweep.metric=mode_weight_error",)),
        (2, ("objective=mle", "experiment=search_lr", "metric=[]"), ("sweep.metric: the runs of this search have no number",)),
        (5, ("experiment=search_lr", "sweep.metric=nll", "hydra.sweeper.n_trials=1"), ("sweep.metric=nll",)),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_a_number_that_the_runs_cannot_have_is_refused_before_training(ebm, table, tmp_path, d, words, parts):
    chosen = table(d)
    before = tree(tmp_path)
    refused(ebm("train", *SWEEP, *chosen, *words), *parts)
    assert tree(tmp_path) == before


def test_a_search_of_a_table_optimizes_a_number_that_its_runs_have(ebm, table):
    pytest.importorskip("optuna")
    ended = ebm("train", *SWEEP, *table(5), "experiment=search_lr", "hydra.sweeper.n_trials=2", "hydra.sweeper.n_jobs=1")
    assert ended.code == 0, ended
    assert "note: the runs are compared by sliced_wasserstein;" in ended.err
    assert "best sliced_wasserstein so far" in ended.err
    assert "best: ebm train" in ended.out


def test_a_sweep_without_any_value_of_its_number_gives_the_reason(ebm):
    """The energy is not resolved by the grid, so that the runs have no KL."""
    ended = ebm("train", *SWEEP, "dataset=moons", "metric=[quadrature]", "metric.quadrature.tolerance=1e-30", "seed=0,1")
    assert ended.code == 0, ended
    assert "\nno best run: no run has a value of kl: doubling " in ended.out


def test_a_sweep_over_datasets_has_no_best_run(ebm):
    ended = ebm("train", "-m", *LINE, "dataset=moons,rings")
    assert ended.code == 0, ended
    assert "no best run: the runs have different data" in ended.out
    assert "\nbest: " not in ended.out
