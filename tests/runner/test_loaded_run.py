"""A run in Python gives the same numbers as the commands."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import ebm_cli
from ebm_cli import load_run
from ebm_cli.errors import InputError

LINE = (
    "experiment=smoke",
    "trainer.n_steps=50",
    "energy=mlp",
    "energy.hidden=[8]",
    "device=cpu",
    "draws.n_samples=40",
    "draws.n_steps=4",
    "figure=[]",
)


@pytest.fixture
def table():
    """Rows of two columns with means and scales far from 0 and 1."""
    rows = np.random.default_rng(0).normal(size=(200, 2)) * [3.0, 0.5] + [10.0, -2.0]
    Path("rows.csv").write_text("a,b\n" + "".join(f"{a!r},{b!r}\n" for a, b in rows.tolist()))
    return rows


def test_energy_and_log_prob_are_those_of_ebm_score(ebm, table):
    assert ebm("train", *LINE, "dataset=table", "dataset.path=rows.csv", "metric=[quadrature]")[0] == 0
    code, out, _ = ebm("score", "last", "data=rows.csv")
    assert code == 0
    scored = np.array([line.split(",") for line in out.splitlines()[1:]], dtype=float)
    run = load_run("last")
    np.testing.assert_array_equal(run.energy(table), scored[:, 2])
    np.testing.assert_array_equal(run.log_prob(table), scored[:, 3])
    assert isinstance(run.energy(torch.from_numpy(table)), torch.Tensor)
    assert run.shape == (2,)
    assert run.log_z == run.summary["log_z"]


def test_score_is_the_gradient_of_log_prob_in_data_units(ebm, table):
    assert ebm("train", *LINE, "dataset=table", "dataset.path=rows.csv", "metric=[quadrature]")[0] == 0
    run, h = load_run("last"), 1e-3
    x = table[:5]
    for i in range(2):
        step = h * np.eye(2)[i]
        differences = (run.log_prob(x + step) - run.log_prob(x - step)) / (2 * h)
        np.testing.assert_allclose(run.score(x)[:, i], differences, rtol=1e-3, atol=1e-4)


@pytest.fixture
def heavy():
    """300 rows of a lognormal column and a Cauchy column with one huge value."""
    rng = np.random.default_rng(0)
    rows = np.stack([np.exp(rng.normal(size=300)), rng.standard_cauchy(300)], -1)
    rows[17, 1] = 1e9
    Path("heavy.csv").write_text("a,b\n" + "".join(f"{a!r},{b!r}\n" for a, b in rows.tolist()))
    return rows


def test_a_transformed_table_has_energies_and_scores_in_data_units(ebm, heavy):
    """NLL, energy, gap, and gradient agree with each other, and the density integrates to one over the data."""
    words = ("dataset=table", "dataset.path=heavy.csv", "dataset.transform=quantile", "metric=[quadrature,generalization_gap]")
    assert ebm("train", *LINE, *words)[0] == 0
    code, out, _ = ebm("score", "last", "data=heavy.csv")
    assert code == 0
    run = load_run("last")
    scored = np.array([line.split(",") for line in out.splitlines()[1:]], dtype=float)
    np.testing.assert_array_equal(run.energy(heavy), scored[:, 2])
    np.testing.assert_array_equal(run.log_prob(heavy), scored[:, 3])
    order = np.random.default_rng(0).permutation(300)
    test, train = order[:60], order[90:]
    assert run.summary["nll"] == pytest.approx(-run.log_prob(heavy[test]).mean(), abs=1e-4)
    gap = run.energy(heavy[test]).mean() - run.energy(heavy[train]).mean()
    assert run.summary["generalization_gap"] == pytest.approx(gap, abs=1e-4)
    near = heavy[np.abs(heavy).max(1) < 3][:5]
    for i in range(2):
        step = 1e-3 * np.eye(2)[i]
        differences = (run.log_prob(near + step) - run.log_prob(near - step)) / 2e-3
        np.testing.assert_allclose(run.score(near)[:, i], differences, rtol=2e-3, atol=1e-3)
    v = np.linspace(-25, 25, 601)  # y = sinh(v)
    grid = np.stack(np.meshgrid(np.sinh(v), np.sinh(v)), -1).reshape(-1, 2)
    density = np.exp(run.log_prob(grid)) * np.cosh(np.arcsinh(grid)).prod(-1)
    assert density.sum() * (v[1] - v[0]) ** 2 == pytest.approx(1.0, abs=5e-3)
    assert np.isfinite(run.sample(20)).all()


def test_the_nll_of_dequantized_rows_is_named_so(ebm):
    rows = np.random.default_rng(0).poisson(5.0, (300, 1)).tolist()
    Path("counts.csv").write_text("count\n" + "".join(f"{value}\n" for (value,) in rows))
    words = ("dataset=table", "dataset.path=counts.csv", "metric=[quadrature]")
    code, out, err = ebm("train", *LINE, *words)
    assert code == 0
    assert "count (1); dataset.dequantize=false adds none" in err
    assert load_run("last").summary["units"] | {"nll": "nats, dequantized", "log_z": "nats"} == load_run("last").summary["units"]
    assert "nats, dequantized" in out
    assert ebm("train", *LINE, *words, "dataset.dequantize=false")[0] == 0
    assert load_run("last").summary["units"]["nll"] == "nats"
    assert ebm("score", "last", "data=counts.csv", "quantile=0.1")[0] == 0


def test_samples_are_those_of_ebm_sample(ebm, tmp_path):
    assert ebm("train", *LINE, "metric=[]", "seeds=2")[0] == 0
    run = load_run("last", model=1)
    assert ebm("sample", "last", "model=1", "n_samples=30", "n_steps=6", "sampler=langevin", "out=drawn.npy", "seed=3")[0] == 0
    drawn = run.sample(30, "n_steps=6", "sampler=langevin", seed=3)
    np.testing.assert_array_equal(drawn, np.load("drawn.npy"))
    assert drawn.shape == (30, 2)


def test_requests_that_a_run_cannot_answer_are_refused(ebm):
    with pytest.raises(InputError, match="there is no run"):
        load_run("nothing")
    assert ebm("train", *LINE[:2], *LINE[4:], "energy=score_mlp", "energy.hidden=[8]", "metric=[]")[0] == 0
    for model in (True, False, 1, -1):
        with pytest.raises(InputError, match=f"model={model}: this run has only model 0"):
            load_run("last", model=model)
    run = load_run("last")
    with pytest.raises(InputError, match="outputs the score itself"):
        run.energy(np.zeros((3, 2)))
    with pytest.raises(InputError, match="log Z is unknown"):
        run.log_prob(np.zeros((3, 2)))
    with pytest.raises(InputError, match=r"the events have shape \(3, 5\)"):
        run.score(np.zeros((3, 5)))
    with pytest.raises(InputError, match="step_size"):
        run.sample(3, "sampler.step_size=-1")


def test_importing_the_package_imports_no_torch():
    code = "import ebm_cli, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = ebm_cli.nothing
