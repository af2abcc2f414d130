"""A table from its file to scores: training, measurement on its test rows, samples and scores in the units of the file."""

import csv
import io
import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from lines import last_of_each_key
from sklearn.datasets import load_breast_cancer, load_wine

from ebm_cli import __main__
from ebm_cli.runs.catalog import find

SMALL = ["experiment=smoke", "energy.width=16", "draws.n_samples=200", "draws.n_steps=60", "device=cpu"]
# the choices of other data, not of tables
AS_USUAL = (
    "reference=gaussian",
    "optimizer=adam",
    "trainer.select=null",
    "trainer.patience=null",
    "trainer.refit=false",
    "dataset.transform=standard",
    "metric=[quadrature,sliced_wasserstein]",
)
TABLES = {"wine": load_wine, "cancer": load_breast_cancer}  # 13 and 30 columns
N_ROWS, N_COLUMNS = {"wine": 178, "cancer": 569}, {"wine": 13, "cancer": 30}


def write(path, rows):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def read(text):
    """The header, and a dictionary of the columns."""
    header, *rows = csv.reader(io.StringIO(text))
    return header, dict(zip(header, map(list, zip(*rows, strict=True)), strict=True))


def numbers(cells):
    return np.array([float(cell) for cell in cells])


def rows_of(n, name):
    """The indices of the rows of a split with the default seed."""
    order = np.random.default_rng(0).permutation(n)
    n_test, n_validation = round(0.2 * n), round(0.1 * n)
    return dict(zip(("test", "validation", "train"), np.split(order, [n_test, n_test + n_validation]), strict=True))[name]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """CSV files and runs. `world(table, *words)` returns the folder of a run. It is trained once, and tests only read it."""
    folder = tmp_path_factory.mktemp("world")
    runs = {}
    for name, load in TABLES.items():
        data = load()
        write(folder / f"{name}.csv", [data.feature_names, *data.data.tolist()])
    wine = load_wine()
    keep = [wine.feature_names.index(name) for name in ("alcohol", "proline")]
    write(folder / "two.csv", [["alcohol", "proline"], *wine.data[:, keep].tolist()])

    def run(table, *words):
        if (table, words) not in runs:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("EBM_OUTPUTS", str(folder / "outputs"))
                line = ["train", *SMALL, "dataset=table", *AS_USUAL, f"dataset.path={folder / table}.csv", *words]
                assert __main__.main(last_of_each_key(line)) == 0
                runs[table, words] = find("last").path
        return runs[table, words]

    run.folder = folder
    return run


@pytest.fixture
def trained(world, tmp_path):
    """`trained(table, ...)` returns a copy of such a run, for tests that write to it."""

    def copy(table, *words):
        path = world(table, *words)
        shutil.copytree(path, tmp_path / "copied" / path.name)
        return tmp_path / "copied" / path.name

    return copy


CASES = [("wine", "objective=nce"), ("cancer", "objective=ssm")]


@pytest.mark.parametrize(("table", "objective"), CASES)
def test_numbers_are_measured_on_the_test_rows(world, ebm, trained, table, objective):
    summary = json.loads((world(table, objective) / "summary.json").read_text())
    for key in ("kl", "nll", "log_z"):
        assert summary[key] is None
        assert f"quadrature takes at most 3 coordinates; the events have {N_COLUMNS[table]}" in summary["reasons"][key]
    assert math.isfinite(summary["test_loss"])
    assert summary["sliced_wasserstein"] < 1.0  # in units of standardized columns
    code, out, _ = ebm("evaluate", str(trained(table, objective)), "--json")
    again = json.loads(out)
    assert code == 0
    assert {key: again[key] for key in ("test_loss", "sliced_wasserstein")} == {
        key: summary[key] for key in ("test_loss", "sliced_wasserstein")
    }


def test_costs_count_the_rows_of_a_batch(world):
    """The training split of wine has 124 rows, so a batch of size 128 has 124 rows."""
    summary = json.loads((world("wine", "objective=nce") / "summary.json").read_text())
    assert summary["n_energy_evaluations"] == 200 * 124 * (1 + 4)


@pytest.mark.parametrize(("table", "objective"), CASES)
def test_samples_are_in_the_units_of_the_table(ebm, trained, table, objective):
    path, data = trained(table, objective), TABLES[table]()
    code, out, err = ebm("sample", str(path), "n_samples=400", "n_chains=200", "n_steps=60")
    assert code == 0, err
    with np.load(path / "samples.npz") as samples:
        x, columns = samples["x"], samples["columns"]
    assert x.shape == (400, N_COLUMNS[table])
    assert list(columns) == list(data.feature_names)
    low, high, spread = data.data.min(0), data.data.max(0), data.data.std(0)
    assert ((low < x.mean(0)) & (x.mean(0) < high)).all()
    assert ((0.3 * spread < x.std(0)) & (x.std(0) < 3 * spread)).all()
    assert f"Samples saved to {path / 'samples.npz'}" in out


@pytest.mark.parametrize(("table", "objective"), CASES)
def test_scores_keep_the_text_of_the_rows(ebm, world, table, objective):
    run, text = str(world(table, objective)), (world.folder / f"{table}.csv").read_text()
    code, out, err = ebm("score", run, f"data={world.folder / table}.csv")
    header, columns = read(out)
    before, old = read(text)
    assert code == 0
    assert header == [*before, "energy"]
    assert {name: columns[name] for name in before} == old
    energy = numbers(columns["energy"])
    assert len(energy) == N_ROWS[table]
    assert "log Z is unknown" in err
    assert ("as the objective learned it" in err) == (objective == "objective=nce")


@pytest.mark.parametrize(("table", "objective"), CASES)
def test_far_rows_have_high_energies(ebm, world, tmp_path, table, objective):
    data = TABLES[table]()
    directions = np.random.default_rng(1).choice([-1, 1], size=(20, N_COLUMNS[table]))
    far = data.data.mean(0) + 30 * data.data.std(0) * directions
    write(tmp_path / "rows.csv", [data.feature_names, *data.data.tolist(), *far.tolist()])
    _, columns = read(ebm("score", str(world(table, objective)), f"data={tmp_path / 'rows.csv'}")[1])
    energy = numbers(columns["energy"])
    assert energy[len(data.data) :].min() > energy[: len(data.data)].max()


def test_columns_are_found_by_name(ebm, world, tmp_path):
    """The columns may have another order. The text of additional columns is kept unchanged."""
    run, data = str(world("wine", "objective=nce")), load_wine()
    _, plain = read(ebm("score", run, f"data={world.folder / 'wine.csv'}")[1])
    order = np.random.default_rng(2).permutation(13)
    names = [data.feature_names[i] for i in order]
    rows = [
        [f'no. {k}, "{label}"', *row[order].tolist(), "1.500"] for k, (row, label) in enumerate(zip(data.data, data.target, strict=True))
    ]
    write(tmp_path / "mixed.csv", [["label", *names, "weight"], *rows])
    header, mixed = read(ebm("score", run, f"data={tmp_path / 'mixed.csv'}")[1])
    assert header == ["label", *names, "weight", "energy"]
    assert mixed["label"] == [row[0] for row in rows]
    assert set(mixed["weight"]) == {"1.500"}
    assert mixed["energy"] == plain["energy"]
    write(tmp_path / "lacking.csv", [names[1:], *(row[2:-1] for row in rows)])
    code, out, err = ebm("score", run, f"data={tmp_path / 'lacking.csv'}")
    assert (code, out) == (2, "")
    assert f"there is no column {names[0]!r}" in err


def test_without_names_columns_are_taken_by_position(ebm, world, tmp_path):
    run, data = str(world("wine", "objective=nce")), load_wine()
    _, plain = read(ebm("score", run, f"data={world.folder / 'wine.csv'}")[1])
    np.save(tmp_path / "wine.npy", data.data)
    header, by_position = read(ebm("score", run, f"data={tmp_path / 'wine.npy'}")[1])
    assert header == [*data.feature_names, "energy"]
    assert by_position["energy"] == plain["energy"]
    np.save(tmp_path / "narrow.npy", data.data[:, :5])
    code, _, err = ebm("score", run, f"data={tmp_path / 'narrow.npy'}")
    assert code == 2
    assert "has 5 columns, but the events have 13" in err


def test_two_columns_have_a_density_in_their_own_units(ebm, world, tmp_path):
    """exp(log_prob) integrates to 1 in data units (per cent, mg/l), and the NLL is the mean of -log_prob over the test rows."""
    run = world("two", "objective=ssm", "dataset.dequantize=false")  # scored rows have no noise
    summary = json.loads((run / "summary.json").read_text())
    _, columns = read(ebm("score", str(run), f"data={world.folder / 'two.csv'}")[1])
    assert summary["nll"] == pytest.approx(-numbers(columns["log_prob"])[rows_of(178, "test")].mean(), abs=1e-4)
    assert summary["kl"] is None
    assert summary["nll"] > 5  # the standard deviation of proline is 315; the NLL in standardized units would be near 2.5
    data = np.column_stack([numbers(columns[name]) for name in ("alcohol", "proline")])
    axes = [np.linspace(-9, 9, 151) * data[:, i].std() + data[:, i].mean() for i in range(2)]
    write(tmp_path / "grid.csv", [["proline", "alcohol"], *([y, x] for x in axes[0].tolist() for y in axes[1].tolist())])
    code, _, err = ebm("score", str(run), f"data={tmp_path / 'grid.csv'}", f"out={tmp_path / 'scores.csv'}")
    assert code == 0
    assert "by quadrature" in err
    _, grid = read((tmp_path / "scores.csv").read_text())
    cell = math.prod(axis[1] - axis[0] for axis in axes)
    assert np.exp(numbers(grid["log_prob"])).sum() * cell == pytest.approx(1, abs=1e-3)


def test_scores_go_to_stdout_or_to_a_file(ebm, world, tmp_path):
    run, data = str(world("wine", "objective=nce")), f"data={world.folder / 'wine.csv'}"
    _, printed, _ = ebm("score", run, data)
    code, out, _ = ebm("score", run, data, "out=scores.csv")
    assert (code, out) == (0, "Scores saved to scores.csv\n")
    assert (tmp_path / "here" / "scores.csv").read_text() == printed


def test_the_first_row_of_a_file_is_decided_by_names_by_a_note_or_by_a_key(ebm):
    """Columns can be called 0 and 1: such a header looks like one more row."""
    rows = np.random.default_rng(0).standard_normal((40, 2))
    Path("bare.csv").write_text("".join(f"{a},{b}\n" for a, b in rows.tolist()))
    Path("named.csv").write_text("0,1\n" + Path("bare.csv").read_text())
    words = ("dataset=table", *AS_USUAL[:-1], *SMALL, "metric=[]", "figure=[]", "trainer.n_steps=2")
    code, _, err = ebm("train", *words, "dataset.path=bare.csv")
    assert (code, err.count("note: bare.csv has no header: its first row (")) == (0, 1)
    (note,) = find("last").read("dataset.json")["notes"]
    assert note.endswith("is data. If it holds names: dataset.header=true")

    def scored(*words):
        code, out, err = ebm("score", "last", *words)
        assert code == 0, err
        return len(out.splitlines()) - 1, "note: " in err

    assert scored("data=named.csv") == (41, True)  # the run has no names
    assert scored("data=named.csv", "header=true") == (40, False)
    assert scored("data=named.csv", "header=false") == (41, False)
    code, _, err = ebm("train", *words, "dataset.path=named.csv", "dataset.header=true")
    assert (code, "note:" in err) == (0, False)
    assert find("last").read("dataset.json")["columns"] == ["0", "1"]
    assert scored("data=named.csv") == (40, False)  # the names of the run settle it
    for value in ("3", "1", "maybe"):
        code, _, err = ebm("score", "last", "data=named.csv", f"header={value}")
        assert (code, "error: header: must be true or false, not" in err) == (2, True)


@pytest.mark.parametrize("out", ["gone/scores.csv", "folder"])
def test_a_path_that_cannot_be_written_is_refused(ebm, world, tmp_path, out):
    (tmp_path / "here" / "folder").mkdir()
    code, printed, err = ebm("score", str(world("wine", "objective=nce")), f"data={world.folder / 'wine.csv'}", f"out={out}")
    assert (code, printed) == (2, "")
    assert f"error: out: {out} cannot be written" in err
    assert [path.name for path in (tmp_path / "here").rglob("*")] == ["folder"]


def test_a_table_that_has_moved_or_changed(ebm, trained, world, tmp_path):
    """Measuring again needs the data that the run was trained on. Sampling does not."""
    shutil.copy(world.folder / "wine.csv", tmp_path / "wine.csv")
    path = trained("wine", "objective=nce")
    config = path / "config.yaml"
    config.write_text(config.read_text().replace(str(world.folder / "wine.csv"), str(tmp_path / "gone.csv")))
    code, _, err = ebm("evaluate", str(path))
    assert (code, "gone.csv" in err) == (2, True)
    assert ebm("evaluate", str(path), f"dataset.path={tmp_path / 'wine.csv'}")[0] == 0
    code, _, err = ebm("sample", str(path), "n_samples=20", "n_chains=20", "n_steps=4")
    assert (code, "drawn without data" in err) == (0, True)
    with open(tmp_path / "wine.csv", "a") as file:
        file.write(",".join(["1"] * 13) + "\n")
    code, _, err = ebm("evaluate", str(path), f"dataset.path={tmp_path / 'wine.csv'}")
    assert code == 2
    assert "is not the file that the run was trained on, or it has changed" in err


def test_the_list_of_runs(ebm, world, monkeypatch):
    paths = [world(*case) for case in CASES]
    monkeypatch.setenv("EBM_OUTPUTS", str(world.folder / "outputs"))
    code, out, err = ebm("runs", "--json")

    def refuse(constant):
        raise AssertionError(constant)

    listed = json.loads(out, parse_constant=refuse)
    assert (code, err) == (0, "")
    assert {str(path) for path in paths} <= {row["path"] for row in listed}
    for row in listed:
        assert row["state"] == "finished"
        assert "dataset=table" in row["differs"]
        assert row["metrics"]["sliced_wasserstein"] > 0
        assert row["age_seconds"] >= 0
    code, out, _ = ebm("runs")
    head, *lines = out.splitlines()
    assert head.split() == ["id", "state", "differs", "kl", "nll", "sliced_wasserstein", "age", "path"]
    assert [line.split()[0] for line in lines] == [row["id"] for row in listed]
    assert "objective=nce" in out
    assert "\x1b" not in out


@pytest.mark.parametrize("line", ["runs", "runs --json", "score {run} data={data}"])
def test_a_closed_pipe_ends_the_command_without_an_error(world, monkeypatch, line):
    """The reader closes the pipe before the first line."""
    monkeypatch.setenv("EBM_OUTPUTS", str(world.folder / "outputs"))
    words = line.format(run=world("wine", "objective=nce"), data=world.folder / "wine.csv").split()
    command = [sys.executable, "-m", "ebm_cli", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.close()
    err = process.stderr.read()
    assert process.wait() == 0
    assert not [line for line in err.splitlines() if line.startswith("error:")]
    assert "Exception" not in err


def test_head_reads_the_first_line_of_the_list_of_runs(world, monkeypatch):
    monkeypatch.setenv("EBM_OUTPUTS", str(world.folder / "outputs"))
    world(*CASES[0])
    pipe = f"{sys.executable} -m ebm_cli runs | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", pipe], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split()[:2] == ["id", "state"]


@pytest.mark.parametrize(("n_components", "objective"), [(2, "objective=nce"), (5, "objective=ssm")])
def test_principal_components_from_training_to_scores(world, ebm, trained, n_components, objective):
    """The model has K coordinates, with its energies and log-densities. Samples, files and pictures have the 13 columns of the table."""
    path = trained("wine", objective, f"dataset.n_components={n_components}", "dataset.dequantize=false")  # scored rows have no noise
    wine = load_wine()
    stored = json.loads((path / "dataset.json").read_text())
    assert stored["shape"] == [n_components]
    assert stored["columns"] == list(wine.feature_names)
    summary = json.loads((path / "summary.json").read_text())
    assert (path / "figures" / "marginals.png").exists()
    assert not (path / "figures" / "energy.png").exists()
    code, _, err = ebm("sample", str(path), "n_samples=400", "n_chains=200", "n_steps=60")
    assert code == 0, err
    with np.load(path / "samples.npz") as samples:
        z = (samples["x"] - stored["mean"]) / stored["scale"]
        assert list(samples["columns"]) == list(wine.feature_names)
    assert np.linalg.matrix_rank(z, tol=1e-6 * np.linalg.norm(z)) == n_components
    rows = np.stack([wine.data[i] for i in rows_of(178, "test")])
    beside = np.linalg.qr(np.array(stored["matrix"]), mode="complete")[0][:, n_components:]
    moved = rows + 3 * np.array(stored["scale"]) * (np.random.default_rng(0).standard_normal((len(rows), beside.shape[1])) @ beside.T)
    energies = []
    for name, values in (("rows", rows), ("moved", moved)):
        write(world.folder / f"{name}.csv", [wine.feature_names, *values.tolist()])
        code, out, err = ebm("score", str(path), f"data={world.folder / name}.csv")
        assert code == 0, err
        energies.append(numbers(read(out)[1]["energy"]))
    assert energies[0] == pytest.approx(
        energies[1], rel=1e-6, abs=1e-6
    )  # energies do not depend on directions orthogonal to the components
    assert energies[0].std() > 0.1
    if n_components == 2:
        assert summary["nll"] == pytest.approx(energies[0].mean() + summary["log_z"], abs=1e-4)
