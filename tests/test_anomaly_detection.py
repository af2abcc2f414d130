"""The benchmark of anomaly detection: its arithmetic, its cells, and the preset on tables where the right answer is known."""

import csv
import importlib.util
import json
import math
from pathlib import Path

import numpy as np
import pytest
from lines import last_of_each_key
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.neighbors import NearestNeighbors

from ebm_cli import __main__
from ebm_cli.config import compose
from ebm_cli.runs.catalog import find

SCRIPTS = Path(__file__).parents[1] / "scripts"


@pytest.fixture
def script(monkeypatch, tmp_path):
    """The script as a module. Its tables and cells are in a folder of the test."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    specification = importlib.util.spec_from_file_location("anomaly_detection", SCRIPTS / "anomaly_detection.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    monkeypatch.setattr(module, "CELLS", tmp_path / "cells")
    monkeypatch.setenv("EBM_OUTPUTS", str(tmp_path / "outputs"))
    monkeypatch.setattr(module, "RESULTS", tmp_path / "anomaly_detection")
    monkeypatch.setattr(module.real_tables, "FOLDER", tmp_path / "tables")
    (tmp_path / "tables").mkdir()
    return module


def write(path, x, labels):
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*(f"x{i}" for i in range(x.shape[1])), "label"])
        writer.writerows([*map(repr, row), label] for row, label in zip(x.tolist(), labels, strict=True))
    return path


def stored(script, method, name, seed, **numbers):
    script.CELLS.mkdir(exist_ok=True)
    script.cell(method, name, seed).write_text(json.dumps({"commit": "c", "versions": {}} | numbers))


def pima(n=200):
    """A small table in the place of a set: integers, so that scores have ties, with a tenth of the rows further out."""
    rng = np.random.default_rng(0)
    is_anomaly = np.arange(n) % 10 == 0
    x = np.rint(2 * rng.standard_normal((n, 3)) * np.where(is_anomaly, 2.5, 1.0)[:, None])
    return x, is_anomaly, np.where(is_anomaly, "tested_positive", "tested_negative")


def test_the_numbers_are_those_of_scikit_learn(script):
    x, is_anomaly, _ = pima()
    score = np.square(x).sum(1)
    found = script.numbers(score, is_anomaly)
    assert len(np.unique(score)) < len(score) / 2
    assert found["auroc"] == pytest.approx(roc_auc_score(is_anomaly, score), abs=1e-12)
    assert found["average_precision"] == pytest.approx(average_precision_score(is_anomaly, score), abs=1e-12)


def test_the_counts_of_a_set_and_where_the_published_ones_differ(script):
    x, _, labels = pima()
    write(script.real_tables.FOLDER / "pima.csv", x, labels)
    found = script.counts("pima")
    repeated = len(x) - len({tuple(row) for row in x.tolist()})
    assert repeated > 0
    expected = {"rows": 200, "columns": 3, "anomalies": 20, "repeated_rows": repeated, "name_in_adbench": "Pima"}
    assert found == expected | {"published_differently": {"rows": 768, "columns": 8, "anomalies": 268}}


def test_cells_that_exist_are_not_measured_again(script):
    both, sets = ("IForest", "KNN"), ("pima", "magic")
    every = [("IForest", name, seed) for name in sets for seed in (0, 1)] + [("KNN", name, 0) for name in sets]
    assert script.jobs(both, sets, (0, 1)) == every  # KNN has no random numbers: one seed
    assert script.jobs(("anomalies",), ("pima",), (0, 1)) == [("anomalies", "pima", 0), ("anomalies", "pima", 1)]
    stored(script, "IForest", "magic", 1)
    script.cell("KNN", "pima", 0).with_suffix(".partial").write_text("")  # it was interrupted while it was written
    assert script.jobs(both, sets, (0, 1)) == [job for job in every if job != ("IForest", "magic", 1)]


def test_the_mean_over_the_sets(script):
    """A method with one value has it for every seed. Without a number for a set there is no mean."""
    sets = {name: [0.6, 0.8] for name in script.SETS}
    assert script.means(sets) == pytest.approx([0.6, 0.8])
    one = script.SETS[0]
    assert script.means(sets | {one: [0.0]}) == pytest.approx([0.5, 4 / 6])
    assert script.means(sets | {one: "its cost grows"}) is None
    assert script.means({name: value for name, value in sets.items() if name != one}) is None
    assert script.means(sets | {one: [0.1, 0.2, 0.3]}) is None


def test_the_table_of_results(script):
    for i, name in enumerate(script.SETS):
        for seed in script.SEEDS:
            stored(script, "anomalies", name, seed, auroc=0.8 + 0.01 * seed, average_precision=0.5, auroc_score_norm=0.4)
        stored(script, "KNN", name, 0, auroc=0.9, average_precision=0.7)
        stored(script, "OCSVM", name, 0, **({"auroc": 0.95, "average_precision": 0.2} if i else {"reason": "too many rows"}))
    found = script.collected(("anomalies", "KNN", "OCSVM", "GMM"), script.SEEDS)
    assert found["anomalies"]["energy"]["auroc"]["magic"] == [0.8, 0.81, 0.82]
    assert found["OCSVM"]["energy"]["auroc"]["shuttle"] == "too many rows"
    head, _, *rows = script.table(found, "auroc").splitlines()
    assert head == "| | shuttle | ionosphere | pima | wisconsin | satimage | magic | mean | seeds |"
    assert rows == [
        "| KNN | 0.900 | 0.900 | 0.900 | 0.900 | 0.900 | 0.900 | 0.9000 | 1 |",
        "| anomalies | 0.810 | 0.810 | 0.810 | 0.810 | 0.810 | 0.810 | 0.8100 | 3 |",
        "| OCSVM | - | 0.950 | 0.950 | 0.950 | 0.950 | 0.950 | - | 1 |",
    ]
    (norms,) = script.table(found, "auroc", "score_norm").splitlines()[2:]
    assert norms == "| anomalies | 0.400 | 0.400 | 0.400 | 0.400 | 0.400 | 0.400 | 0.4000 | 3 |"


def test_a_cell_of_a_line_is_the_result_of_its_run(script):
    """Its AUROC is that of the energies that `ebm score` writes for the file."""
    x, is_anomaly, labels = pima()
    path = write(script.real_tables.FOLDER / "pima.csv", x, labels)
    script.measure("anomalies", "pima", 1)
    assert script.jobs(("anomalies",), ("pima",), (1,)) == []
    found = json.loads(script.cell("anomalies", "pima", 1).read_text())
    energies = scores(path, path.parent / "scored.csv")
    assert found["auroc"] == pytest.approx(roc_auc_score(is_anomaly, energies), abs=1e-3)  # energies are rounded differently: ties
    assert found["average_precision"] == pytest.approx(average_precision_score(is_anomaly, energies), abs=1e-2)
    config = find("last").config()
    assert (config["seed"], config["dataset"]["split_seed"], config["dataset"]["test"]) == (1, 1, 0)


def test_a_line_that_fails_has_a_reason(script):
    x, _, labels = pima()
    write(script.real_tables.FOLDER / "pima.csv", np.column_stack([x, x[:, 0]]), labels)
    script.measure("anomalies", "pima", 0)
    reason = json.loads(script.cell("anomalies", "pima", 0).read_text())["reason"]
    assert reason.startswith("error: dataset.columns: columns that are linear functions of others")


def test_standardized_columns_have_mean_zero_and_standard_deviation_one(script):
    x = np.random.default_rng(0).standard_normal((50, 2)) * [3, 1e-3] + [5, -7]
    z = script.standardized(x)
    np.testing.assert_allclose([z.mean(0), z.std(0)], [[0, 0], [1, 1]], atol=1e-9)
    np.testing.assert_allclose(np.corrcoef(x.T, z.T)[[0, 1], [2, 3]], 1)


def test_a_detector_gets_standardized_columns(script):
    """KNN's score is the distance to the fifth neighbor, so that it depends on the scale of the columns."""
    pytest.importorskip("pyod")
    x, is_anomaly, labels = pima()
    x = (x + np.random.default_rng(1).random(x.shape)) * [1, 1e3, 1]
    write(script.real_tables.FOLDER / "pima.csv", x, labels)
    z = (x - x.mean(0)) / x.std(0)
    distance = NearestNeighbors(n_neighbors=6).fit(z).kneighbors(z)[0][:, 5]
    found = script.detect("KNN", "pima", 0)
    assert found["auroc"] == pytest.approx(roc_auc_score(is_anomaly, distance), abs=1e-12)
    script.MOST_ROWS["KNN"] = 199
    assert script.detect("KNN", "pima", 0)["reason"].startswith("200 rows")


def scores(path, out):
    """The energies that `ebm score` writes for the last run."""
    assert __main__.main(["score", "last", f"data={path}", f"out={out}"]) == 0
    with out.open() as file:
        return np.array([float(row["energy"]) for row in csv.DictReader(file)])


def trained(path, *words):
    """The AUROC of the preset on a table."""
    line = ["train", "experiment=anomalies", f"dataset.path={path}", "dataset.label=label", "dataset.anomaly=[1]", "device=cpu"]
    short = ["figure=[]", "draws.n_samples=20", "draws.n_chains=20", "draws.n_steps=4"]
    assert __main__.main(last_of_each_key([*line, *short, *words])) == 0
    return find("last").read("summary.json")["auroc"]


def test_scattered_anomalies_of_a_known_density(tmp_path, monkeypatch):
    """5 % of the rows are uniform in the square [-6, 6]^2, the others are normal.

    The energy of the normal density is exponential, r^2 / 2, so that a row at distance r has a greater one than other rows with the
    probability 1 - exp(-r^2 / 2). Its mean over the square is 1 - 2 pi / 144 = 0.956, which no score can exceed. The standard
    deviation of an AUROC from 200 anomalies is at most 0.013 (Hanley & McNeil 1982); the mixture must come within four of the bound.
    """
    monkeypatch.setenv("EBM_OUTPUTS", str(tmp_path / "outputs"))
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.standard_normal((3800, 2)), rng.uniform(-6, 6, (200, 2))]) * [1, 100] + [0, 7]
    path = write(tmp_path / "scattered.csv", x, [0] * 3800 + [1] * 200)
    assert trained(path) == pytest.approx(1 - 2 * math.pi / 144, abs=4 * 0.013)


def test_a_cluster_of_anomalies_has_no_component_of_its_own(tmp_path, monkeypatch):
    """2 % of the rows are a narrow cluster of standard deviation 0.1, five standard deviations from the others, which are normal.

    A component of its own has the density 0.02 / (2 pi 0.01) = 0.32 at its mode, that of the other rows is 0.98 / (2 pi) = 0.16, and the
    density at a row is uniform between 0 and that of its mode: the AUROC is 0.16 / 0.32 / 2 = 0.24, with a standard deviation of 0.06. With
    a covariance that counts 16 points of the pooled one beside the 20 of the cluster, its variance is 16 / 36 = 0.44 and the density 0.007,
    nearly the same at all of its rows: the AUROC is 1 - 0.007 / 0.16 = 0.955. With 256 points it is 1 - 0.0035 / 0.16 = 0.978 or more.
    """
    monkeypatch.setenv("EBM_OUTPUTS", str(tmp_path / "outputs"))
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.standard_normal((980, 2)), 5 / 2**0.5 + 0.1 * rng.standard_normal((20, 2))])
    path = write(tmp_path / "cluster.csv", x, [0] * 980 + [1] * 20)
    assert trained(path) > 0.965
    assert trained(path, "reference.shrinkage=16") == pytest.approx(0.955, abs=0.03)
    assert trained(path, "reference.shrinkage=0") == pytest.approx(0.24, abs=0.15)


def test_the_preset_uses_all_rows():
    config = compose.compose(["experiment=anomalies", "dataset.path=t.csv"]).config
    assert (config["dataset"]["test"], config["dataset"]["validation"], config["trainer"]["select"]) == (0, 0, None)
    changed = compose.compose(["experiment=anomalies", "dataset.path=t.csv", "reference.shrinkage=3", "energy=mlp"])
    assert (changed.config["reference"]["shrinkage"], changed.choices["energy"], changed.problems) == (3, "mlp", [])
