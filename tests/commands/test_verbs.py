"""list, show, plot, sample, rm and runs: what they print, and which files they change."""

import errno
import json
import math
import os
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from ebm_cli.config import option_files
from ebm_cli.io import table_files
from ebm_cli.runner import sample_files
from ebm_cli.runner.trained_model import TrainedModel
from ebm_cli.runs import catalog
from ebm_cli.runs.run import Run

LINE = ("experiment=smoke", "objective=nce", "trainer.n_steps=20", "energy.width=8", "draws.n_samples=90", "draws.n_steps=10")


@pytest.fixture
def stack(ebm):
    code, _, err = ebm("train", *LINE, "seeds=2")
    assert code == 0, err
    return catalog.find("last")


def test_list(ebm):
    code, out, _ = ebm("list")
    assert code == 0
    for group, options in option_files.groups().items():
        for name, option in options.items():
            assert any(
                line.split()[0] == group and f" {name} " in line and option.description in line and option.reference in line
                for line in out.splitlines()
            )
    code, out, _ = ebm("list", "sampler")
    assert {line.split()[0] for line in out.splitlines()[1:]} == {"sampler"}
    code, _, err = ebm("list", "samplr")
    assert code == 2
    assert "did you mean sampler?" in err


def test_show(ebm, stack):
    code, out, _ = ebm("show", "last")
    assert code == 0
    assert out.splitlines()[0] == f"ebm train {' '.join(LINE)} seeds=2"
    assert "finished" in out
    shown = json.loads(ebm("show", stack.id, "--json")[1])
    assert shown["config"] == stack.config()
    assert shown["summary"] == stack.read("summary.json")
    assert shown["state"] == "finished"


def test_plot_draws_from_the_stored_files(ebm, stack):
    for picture in stack.figures.iterdir():
        picture.unlink()
    code, out, _ = ebm("plot", "last", "model=1")
    assert code == 0
    assert sorted(path.name for path in stack.figures.iterdir()) == ["density.png", "energy.png", "training.png"]
    assert out.count("Picture saved to") == 3
    assert ebm("plot", "last", "figure=marginals")[0] == 2  # two columns have a density picture instead
    assert "did you mean figure" not in ebm("plot", "last", "figure=energ")[2]
    assert "did you mean energy?" in ebm("plot", "last", "figure=energ")[2]


def test_plot_draws_the_named_figures(ebm, stack):
    for picture in stack.figures.iterdir():
        picture.unlink()
    code, out, err = ebm("plot", "last", "figure=[density,energy]")
    assert (code, err) == (0, "")
    assert out.splitlines() == [f"Picture saved to {stack.figures / name}.png" for name in ("density", "energy")]
    assert sorted(path.name for path in stack.figures.iterdir()) == ["density.png", "energy.png"]
    (stack.figures / "energy.png").unlink()
    assert ebm("plot", "last", "figure=energy", "figure=density")[1] == f"Picture saved to {stack.figures / 'density.png'}\n"
    assert ebm("plot", "last", "figure=[energy,marginals]")[1] == f"Picture saved to {stack.figures / 'energy.png'}\n"


FIGURE = """
from matplotlib.figure import Figure as Drawing

from ebm_cli.core.figure import Figure


class Steps(Figure):
    suffix = ".svg"

    def plot(self, scene):
        drawing = Drawing()
        drawing.subplots().plot([row["step"] for row in scene.rows])
        return drawing
"""


@pytest.fixture
def options(monkeypatch):
    """A folder with two figures, a metric, a sampler and an energy of the user's own."""
    monkeypatch.setenv("EBM_ALLOW", "own_figures")
    Path("own_figures.py").write_text(FIGURE)
    for name, text in {
        "figure/steps": "steps:\n  _target_: own_figures.Steps\n",
        "figure/points": "points:\n  _target_: ebm_cli.figures.density.Density\n",
        "metric/coarse": "coarse:\n  _target_: ebm_cli.metrics.quadrature.Quadrature\n  tolerance: 0.5\n  margin: 1.0\n",
        "energy/wide_wells": "_target_: ebm_cli.energies.four_wells.FourWells\ndim: 3\ntemperature: 2.0\n",
        "sampler/slow": "_target_: ebm_cli.samplers.mala.MALA\nstep_size: 1.0e-5\nmax_score_norm: null\n",
    }.items():
        Path("options", name).parent.mkdir(parents=True, exist_ok=True)
        Path("options", f"{name}.yaml").write_text(f"# An option of my own\n# Me\n{text}")
    yield "options"
    sys.modules.pop("own_figures", None)


@pytest.mark.parametrize("flag", ["--config-dir=options", "--config-dir options", "-cd options"])
def test_plot_with_figures_from_a_folder_of_options(ebm, stack, options, flag):
    assert "there is no figure 'steps'" in ebm("plot", "last", "figure=steps")[2]
    code, out, err = ebm("plot", *flag.split(), "last", "figure=[steps,points]", "model=1")
    assert (code, err) == (0, "")
    assert out.splitlines() == [f"Picture saved to {stack.figures / name}" for name in ("steps.svg", "points.png")]
    assert "<svg" in (stack.figures / "steps.svg").read_text()


def test_evaluate_with_a_metric_and_a_sampler_from_a_folder_of_options(ebm, stack, options):
    words = ["evaluate", "last", "metric=coarse", "metric.coarse.margin=1.25", "sampler=slow", "n_samples=70", "--json"]
    assert "metric: there is no option 'coarse'" in ebm(*words)[2]
    code, out, err = ebm(*words, "--config-dir", "options")
    assert code == 0, err
    summary = stack.read("summary.json")
    assert json.loads(out) == summary
    assert summary["measured_with"]["metric"]["coarse"]["margin"] == 1.25
    assert summary["measured_with"]["metric"].keys() == stack.config()["metric"].keys() | {"coarse"}
    assert summary["measured_with"]["sampler"]["step_size"] == 1e-5
    assert np.load(stack.path / "samples.npz")["x"].shape == (2, 70, 2)
    assert ebm("evaluate", "last", "n_samples=60")[0] == 0  # the added metric is measured again, without the folder of options
    assert stack.read("summary.json")["measured_with"]["metric"]["coarse"]["margin"] == 1.25


@pytest.mark.parametrize("flag", ["--config-dir=options", "--config-dir options", "-cd options"])
def test_sample_with_an_energy_and_a_sampler_from_a_folder_of_options(ebm, stack, options, flag):
    draws = ["n_samples=40", "n_chains=10", "n_steps=4"]
    assert "sampler: there is no option 'slow'" in ebm("sample", "last", "sampler=slow", *draws)[2]
    code, _, err = ebm("sample", *flag.split(), "last", "sampler=slow", "sampler.step_size=1e-6", "out=drawn.npy", *draws)
    assert code == 0, err
    assert np.load("drawn.npy").shape == (40, 2)
    assert "energy: there is no option 'wide_wells'" in ebm("sample", "energy=wide_wells", *draws)[2]
    assert "wide_wells is an energy, not a run" in ebm("sample", "wide_wells", *flag.split())[2]
    code, out, err = ebm("sample", "energy=wide_wells", "sampler=slow", *draws, *flag.split())
    assert code == 0, err
    folder = Path(out.partition("Samples saved to ")[2].partition("\n")[0]).parent
    assert folder.name.startswith("wide_wells-slow-s0-")
    config, summary = yaml.safe_load((folder / "config.yaml").read_text()), json.loads((folder / "summary.json").read_text())
    assert (config["energy"]["dim"], config["sampler"]["step_size"]) == (3, 1e-5)
    assert np.load(folder / "samples.npz")["x"].shape == (40, 3)
    again = shlex.split(summary["line"])
    assert again == ["ebm", "sample", "--config-dir=options", "energy=wide_wells", "sampler=slow", *draws]
    assert str(folder) in ebm(*again[1:])[1]


def test_samples_of_a_density_with_another_shape(ebm, tmp_path):
    """The dataset inside an energy has keys. With x_1 = bend x_0^2 + noise, the fitted slope is `bend`."""
    line = ["sample", "energy=banana", "n_samples=4000", "n_chains=400", "n_steps=200", "seed=3"]
    slopes = {}
    for bend in (0.1, 0.25):
        code, out, err = ebm(*line, f"energy.dataset.bend={bend}")
        assert code == 0, err
        folder = Path(out.partition("Samples saved to ")[2].partition("\n")[0]).parent
        config, summary = yaml.safe_load((folder / "config.yaml").read_text()), json.loads((folder / "summary.json").read_text())
        assert config["energy"]["dataset"]["bend"] == bend
        assert summary["log_z"] == 0
        assert summary["log_z_quadrature"] == pytest.approx(0, abs=1e-3)
        assert summary["mean_energy_data"] == pytest.approx(1 + math.log(2 * math.pi) + math.log(2), abs=0.1)  # the entropy, for any bend
        assert summary["line"] == f"ebm {' '.join(line)} energy.dataset.bend={bend}"
        x = np.load(folder / "samples.npz")["x"]
        slopes[folder.name] = np.polyfit(x[:, 0] ** 2, x[:, 1], 1)[0]
        assert slopes[folder.name] == pytest.approx(bend, abs=0.03)
    assert len(slopes) == 2
    assert ebm(*line)[0] == 0  # the default bend is 0.25, so the folder is the same
    assert {path.name for path in (tmp_path / "outputs" / "samples").iterdir()} == slopes.keys()


def test_stored_samples_are_loaded_in_the_units_of_the_model(ebm, stack):
    trained = TrainedModel.load(stack, torch.device("cpu"))
    with np.load(stack.path / "samples.npz") as stored:
        assert stored["x"].shape == (2, 90, 2)
        expected = stored["x"][1]
    draws = sample_files.load(stack.path / "samples.npz", trained.select(1), 1)
    np.testing.assert_allclose(trained.standardization.to_data(draws[:, 0]).numpy(), expected, atol=1e-6)


def test_samples_of_another_model_of_a_stack_are_refused(ebm, stack):
    assert ebm("sample", "last", "model=1", "n_samples=40", "n_steps=4")[0] == 0
    assert np.load(stack.path / "samples.npz")["x"].shape == (40, 2)
    code, _, err = ebm("plot", "last")
    assert code == 2
    assert "holds only samples of model 1" in err
    assert ebm("plot", "last", "model=1", "figure=density")[0] == 0


def test_samples_of_one_model_are_written_to_a_file(ebm, stack):
    """All file types hold the same samples, and nothing in the folder of the run changes."""
    before = {path: path.read_bytes() for path in stack.path.rglob("*") if path.is_file()}
    for suffix in ("csv", "npy", "npz"):
        code, out, err = ebm("sample", "last", "model=1", "n_samples=40", "n_steps=4", f"out=drawn.{suffix}")
        assert code == 0, err
        assert out.splitlines()[-1] == f"Samples saved to drawn.{suffix}"
    assert {path: path.read_bytes() for path in stack.path.rglob("*") if path.is_file()} == before
    x = np.load("drawn.npy")
    assert x.shape == (40, 2)
    for suffix in ("csv", "npz"):
        table = table_files.read(f"drawn.{suffix}", key="data")
        assert table.names == stack.read("dataset.json")["columns"]
        np.testing.assert_array_equal(table.values, x)
    assert ebm("sample", "last", "model=1", "n_samples=40", "n_steps=4")[0] == 0
    np.testing.assert_array_equal(np.load(stack.path / "samples.npz")["x"], x)


@pytest.mark.parametrize("full", [False, True], ids=["a folder of that name", "a full disk"])
def test_samples_that_cannot_be_written_leave_no_files(ebm, stack, full, monkeypatch):
    def refuse(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    if full:
        monkeypatch.setattr(os, "fsync", refuse)
    else:
        Path("drawn.csv").mkdir()
    before = set(Path().rglob("*"))
    code, _, err = ebm("sample", "last", "n_samples=40", "n_steps=4", "out=drawn.csv")
    assert code == 2
    assert f"error: out: drawn.csv cannot be written: {'No space' if full else 'Is a dir'}" in err
    assert set(Path().rglob("*")) == before


def test_rm(ebm, stack, monkeypatch):
    code, _, err = ebm("rm", "last")
    assert code == 2  # there is no terminal for the confirmation
    assert "--yes" in err
    with stack.lock(wait=False):
        code, _, err = ebm("rm", stack.id, "--yes")
    assert code == 2
    assert "is being trained" in err
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda _: "n")
    assert "nothing was removed" in ebm("rm", "last")[1]
    assert Run(stack.path).state() == "finished"
    monkeypatch.setattr("builtins.input", lambda _: "y")
    assert ebm("rm", "last")[0] == 0
    assert not stack.path.exists()
    assert ebm("rm", "last", "--yes")[0] == 2


def test_rm_refuses_a_folder_that_is_not_a_run(ebm, tmp_path):
    """A folder with a config.yaml may be another project."""
    (tmp_path / "here" / "project").mkdir()
    (tmp_path / "here" / "project" / "config.yaml").write_text("a: 1\n")
    code, _, err = ebm("rm", "project", "--yes")
    assert code == 2
    assert "is not a run" in err
    assert (tmp_path / "here" / "project" / "config.yaml").exists()


def test_a_run_named_twice_is_removed_once(ebm, stack):
    assert ebm("rm", "last", stack.id, "--yes")[0] == 0
    assert not stack.path.exists()


def test_a_damaged_run_does_not_hide_the_others(ebm, stack):
    damaged = stack.path.with_name("moons-nce-s9-ffffffffff")
    damaged.mkdir()
    (damaged / "environment.json").write_text('{"id": "fff')
    (damaged / "status.json").write_text("[]")
    listed = {row["id"]: row["state"] for row in json.loads(ebm("runs", "--json")[1])}
    assert listed == {stack.id: "finished", "ffffffffff": "damaged"}
    assert catalog.find("last") == stack


def test_the_samples_of_a_run_can_be_scored(ebm, stack):
    assert ebm("sample", "last", "n_samples=30", "n_steps=4")[0] == 0
    code, out, err = ebm("score", "last", f"data={stack.path / 'samples.npz'}")
    assert code == 0, err
    assert len(out.splitlines()) == 31


@pytest.fixture
def listed(tmp_path):
    """Four runs with the files that `ebm runs` reads, and a sweep that reused the oldest run."""
    outputs = tmp_path / "outputs"
    facts = [("a", None, 0.3), ("b", "mine", 0.1), ("c", "mine", None), ("d", "theirs", 0.2)]
    for age, (name, group, kl) in enumerate(facts):
        run = Run(outputs / "runs" / f"moons-ssm-s0-{name * 10}")
        run.path.mkdir(parents=True)
        run.write("environment.json", {"id": run.id, "created": 1000.0 + age, "differs": [], "group": group})
        run.write("summary.json", {"id": run.id, "kl": kl, "nll": 1.0, "reasons": {}})
        run.set_status("finished")
    (outputs / "sweeps" / "12345678").mkdir(parents=True)
    sweep = {"id": "12345678", "group": "mine", "runs": [{"path": f"elsewhere/moons-ssm-s0-{'a' * 10}"}, {"path": ""}]}
    (outputs / "sweeps" / "12345678" / "sweep.json").write_text(json.dumps(sweep))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", "abcd"),
        ("--reverse", "dcba"),
        ("--sort kl", "bdac"),
        ("--sort kl --reverse", "adbc"),
        ("--group mine", "abc"),
        ("--group 12345678", "a"),
        ("--group theirs --sort kl", "d"),
        ("--group mine --sort kl", "bac"),
    ],
)
def test_runs_of_a_group_and_sorted(ebm, listed, words, expected):
    code, out, _ = ebm("runs", "--json", *words.split())
    assert code == 0
    assert "".join(row["id"][0] for row in json.loads(out)) == expected
    assert [line[0] for line in ebm("runs", *words.split())[1].splitlines()[1:]] == list(expected)


@pytest.mark.parametrize(
    ("words", "message"),
    [("--group min", "did you mean mine?"), ("--sort lk", "did you mean kl?"), ("--group", "a value is needed"), ("--srt kl", "--sort")],
)
def test_runs_refuses(ebm, listed, words, message):
    code, out, err = ebm("runs", *words.split())
    assert (code, out) == (2, "")
    assert message in err
