"""`ebm sample` without a run, and the starting points of chains with a run."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from ebm_cli.core import kaufman
from ebm_cli.core.rng import Rng
from ebm_cli.io import table_files
from ebm_cli.runner import sample
from ebm_cli.runner.trained_model import TrainedModel
from ebm_cli.runs import catalog
from ebm_cli.training import checkpoint

SHORT = ("n_samples=60", "n_chains=30", "n_steps=4")
STILL = ("sampler=langevin", "sampler.step_size=1e-8", "n_samples=60", "n_chains=60", "n_steps=2")  # chains stay where they start
TRAIN = ("experiment=smoke", "trainer.n_steps=20", "energy.width=8", "metric=[]", "device=cpu")


@pytest.fixture
def drawn(ebm, tmp_path):
    """`drawn(...)` returns the folder that a command line makes, and what it prints."""

    def call(*words):
        before = set((tmp_path / "outputs" / "samples").glob("*"))
        code, out, err = ebm("sample", *words)
        assert code == 0, err
        (folder,) = {*(tmp_path / "outputs" / "samples").glob("*")} - before
        return folder, out

    return call


def x_of(folder):
    return np.load(folder / "samples.npz")["x"]


def test_the_folder_of_an_analytic_energy(drawn):
    folder, out = drawn("energy=four_wells", "energy.temperature=0.5", "seed=3", *SHORT)
    assert folder.name.startswith("four_wells-mala-s3-")
    assert sorted(path.name for path in folder.iterdir()) == ["config.yaml", "figures", "samples.npz", "summary.json"]
    assert sorted(path.name for path in (folder / "figures").iterdir()) == ["density.png", "energy.png"]
    assert x_of(folder).shape == (60, 2)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["energy"] == {"_target_": "ebm_cli.energies.four_wells.FourWells", "dim": 2, "temperature": 0.5}
    assert (config["n_chains"], config["seed"], config["start"]) == (30, 3, None)
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["log_z_quadrature"] == pytest.approx(summary["log_z"], abs=1e-4)
    assert {"acceptance_rate", "step_size"} <= summary["sampling"].keys()
    assert summary["line"] == "ebm sample energy=four_wells energy.temperature=0.5 seed=3 n_samples=60 n_chains=30 n_steps=4"
    assert out.splitlines()[-3:] == [f"Samples saved to {folder / 'samples.npz'}"] + [
        f"Picture saved to {folder / 'figures' / name}.png" for name in ("density", "energy")
    ]


def test_out_writes_a_copy_of_the_samples(drawn, ebm):
    """The folder does not depend on `out`."""
    folder, _ = drawn("energy=four_wells", *SHORT)
    x = x_of(folder)
    code, out, _ = ebm("sample", "energy=four_wells", "out=wells.csv", *SHORT)
    assert code == 0
    assert f"Samples saved to {folder / 'samples.npz'} and wells.csv\n" in out
    assert Path("wells.csv").read_text().splitlines()[0] == "x0,x1"
    np.testing.assert_array_equal(table_files.read("wells.csv", key="data").values, x)


def test_samples_are_reproducible_and_depend_on_the_seed(drawn, ebm):
    folder, _ = drawn("energy=banana", *SHORT)
    before = x_of(folder)
    assert ebm("sample", "energy=banana", *SHORT)[0] == 0
    np.testing.assert_array_equal(x_of(folder), before)
    other, _ = drawn("energy=banana", "seed=1", *SHORT)
    assert not np.array_equal(x_of(other), before)
    hot, _ = drawn("energy=banana", "energy.dataset.bend=0.1", *SHORT)
    assert hot != folder


def test_draws_follow_the_energy(drawn):
    """Mean and covariance of 4,000 almost independent draws, within five standard errors: false alarms in one seed of 10^5."""
    mean, covariance = np.array([3.0, -1.0]), np.array([[2.0, 0.8], [0.8, 0.7]])
    line = ("energy=gaussian", "energy.mean=[3,-1]", "energy.covariance=[[2,0.8],[0.8,0.7]]")
    folder, _ = drawn(*line, "n_samples=4000", "n_chains=2000", "n_steps=200")
    white = (x_of(folder) - mean) @ np.linalg.inv(np.linalg.cholesky(covariance)).T
    assert np.abs(white.mean(0)).max() < 5 / 4000**0.5
    assert np.abs(np.cov(white.T) - np.eye(2)).max() < 5 * (2 / 4000) ** 0.5
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["mean_energy_quadrature"] == pytest.approx(1.0, abs=1e-4)  # d/2
    assert summary["mean_energy"] == pytest.approx(1.0, abs=5 / 4000**0.5)


def test_samples_of_energy_exact_follow_the_density_of_the_dataset(drawn):
    """The median distance of the moons from their arcs is 0.67 times the noise, 0.10."""
    folder, _ = drawn("energy=exact", "dataset=moons", "dataset.noise=0.15", "n_samples=300", "n_chains=150", "n_steps=60")
    x = x_of(folder) + np.array([0.5, 0.25])
    upper, lower = np.abs(np.hypot(*x.T) - 1), np.abs(np.hypot(x[:, 0] - 1, x[:, 1] - 0.5) - 1)
    assert np.median(np.minimum(upper, lower)) < 0.15
    assert json.loads((folder / "summary.json").read_text())["log_z"] == 0.0
    assert yaml.safe_load((folder / "config.yaml").read_text())["energy"]["dataset"]["noise"] == 0.15


def test_energies_of_five_coordinates_and_of_one(drawn):
    folder, _ = drawn("energy=funnel", "energy.dataset.dim=5", *SHORT)
    assert x_of(folder).shape == (60, 5)
    assert [path.name for path in (folder / "figures").iterdir()] == ["marginals.png"]
    assert "log_z_quadrature" not in json.loads((folder / "summary.json").read_text())
    folder, _ = drawn("energy=four_wells", "energy.dim=1", *SHORT)
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["log_z_quadrature"] == pytest.approx(summary["log_z"], abs=1e-4)


@pytest.mark.parametrize("d", [1, 3])
def test_the_mean_energy_of_a_gaussian_is_half_its_dimension(drawn, d):
    """It is d/2 for every mean and covariance."""
    covariance = json.dumps([[2.0 * (i == j) for i in range(d)] for j in range(d)], separators=(",", ":"))
    folder, _ = drawn("energy=gaussian", f"energy.mean={[3] * d}", f"energy.covariance={covariance}", *SHORT)
    assert json.loads((folder / "summary.json").read_text())["mean_energy_quadrature"] == pytest.approx(d / 2, abs=1e-4)


def test_a_missing_number_has_a_reason(drawn):
    folder, out = drawn("energy=funnel", "energy.dataset.dim=2", "energy.dataset.scale=6.0", *SHORT)
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["log_z_quadrature"] is None
    assert "changes log Z" in summary["reasons"]["log_z_quadrature"]
    assert "no log_z_quadrature: doubling" in out


def test_a_failure_leaves_nothing_behind(ebm, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sample, "save_figures", full)
    code, _, err = ebm("sample", "energy=four_wells", *SHORT)
    assert code == 2
    assert "No space left on device" in err
    assert not list((tmp_path / "outputs" / "samples").iterdir())


def test_chains_start_at_the_points_of_a_file(drawn):
    np.savetxt("start.csv", np.array([[1.0, 2.0], [3.0, 4.0]]), delimiter=",")
    folder, _ = drawn("energy=banana", "start=start.csv", *STILL)
    assert set(map(tuple, x_of(folder).round().astype(int))) == {(1, 2), (3, 4)}


@pytest.fixture
def table(ebm):
    """A run on a table with mean (100, -7) and standard deviations 20 and 0.1, and the table."""
    x = np.array([100.0, -7.0]) + np.array([20.0, 0.1]) * Rng(0).normal("x", 300, 2).numpy()
    Path("data.csv").write_text("a,b\n" + "\n".join(",".join(map(str, row)) for row in x))
    words = ("dataset=table", "dataset.path=data.csv", "objective=pcd", "objective.n_chains=512", "objective.n_steps=1")
    code, _, err = ebm("train", *TRAIN, *words)
    assert code == 0, err
    return catalog.find("last"), x


def test_the_chains_of_a_run_start_at_the_points_that_start_names(ebm, table):
    run, data = table

    def starts(word):
        code, _, err = ebm("sample", "last", word, *STILL)
        assert code == 0, err
        return x_of(run.path)

    Path("start.csv").write_text("b,a\n-7.5,130\n-6.5,90\n")  # by name, in data units
    assert set(map(tuple, starts("start=start.csv").round(1))) == {(130.0, -7.5), (90.0, -6.5)}
    at_data = starts("start=data")
    assert max(np.abs((point - data) / [20, 0.1]).max(1).min() for point in at_data) < 0.01
    buffer = checkpoint.read(checkpoint.newest(run.checkpoints, print))["carry"]["buffer"].numpy()
    inside = TrainedModel.load(run, torch.device("cpu")).standardization.from_data(torch.from_numpy(starts("start=buffer"))).numpy()
    assert max(np.abs(point - buffer).max(1).min() for point in inside) < 0.005
    noise = starts("start=noise")
    assert not np.allclose(noise, at_data)
    Path("start.csv").write_text("1,2,3\n4,5,6\n")
    assert "3 columns, but the events have 2: a, b" in ebm("sample", "last", "start=start.csv")[2]


def test_the_energy_of_a_run_cannot_be_replaced(ebm):
    assert ebm("train", *TRAIN)[0] == 0
    code, _, err = ebm("sample", "last", "energy=four_wells")
    assert code == 2
    assert "is the one that was trained" in err
    code, _, err = ebm("sample", "last", "start=buffer")
    assert code == 2
    assert "there is no replay buffer" in err


LATTICE = ("energy=ising", "energy.shape=[16,16]", "sampler=wolff", "figure=[]")


def test_a_lattice_has_the_mean_energy_of_kaufmans_formula(drawn):
    """Within three standard errors of independent chains (three false alarms in 1000 seeds), and so is the magnetization, which is 0."""
    folder, _ = drawn(*LATTICE, "energy.beta=0.44", "n_chains=400", "n_samples=2000", "n_steps=120")
    summary = json.loads((folder / "summary.json").read_text())
    k = torch.tensor(0.44, dtype=torch.double, requires_grad=True)
    exact = -0.44 * torch.autograd.grad(kaufman.log_z(k, 16, 16), k)[0].item()
    assert summary["mean_energy_exact"] == pytest.approx(exact, rel=1e-9)
    assert summary["mean_energy_error"] < 0.005 * abs(exact)
    assert abs(summary["mean_energy"] - exact) < 3 * summary["mean_energy_error"]
    m = (2 * x_of(folder) - 1).reshape(400, -1).mean(1)
    assert abs(m.mean()) < 3 * m.std() / 400**0.5


def test_start_replaces_the_starting_points_of_the_sampler(drawn):
    """At a high temperature one transition flips a few spins: the chains are still where they started."""
    for words, low, high in (((), 0.8, 1.0), (("start=noise",), 0.0, 0.3)):
        folder, _ = drawn(*LATTICE, "energy.beta=0.02", "n_chains=20", "n_samples=20", "n_steps=1", *words)
        m = np.abs((2 * x_of(folder) - 1).mean((1, 2)))
        assert low < m.min()
        assert m.max() < high


def test_a_sampler_of_other_events_is_refused_with_one_that_works(ebm):
    for words, message, hint in (
        ("energy=ising energy.shape=[3,3] sampler=tempering", "Tempering needs real events", "sampler=gibbs"),
        ("energy=potts energy.shape=[3,3] energy.n_states=3 sampler=wolff", "Wolff needs binary events", "sampler=gibbs"),
        ("energy=four_wells sampler=flip", "Flip needs discrete events", "sampler=mala"),
    ):
        code, _, err = ebm("sample", *words.split(), *SHORT)
        assert code == 2
        assert message in err
        assert f"hint: {hint}" in err
        assert ebm("sample", *words.split(), hint, *SHORT, "figure=[]")[0] == 0
