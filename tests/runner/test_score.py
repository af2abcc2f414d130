"""`ebm score`: log-densities with errors, ratios to a reference row, and acceptance by a quantile of held-out data."""

import csv
import io
import json
import os
import re
import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from lines import last_of_each_key
from sklearn.datasets import load_wine

from ebm_cli import __main__
from ebm_cli.config import compose, schema
from ebm_cli.core.rng import Rng
from ebm_cli.runner import score
from ebm_cli.runner.trained_model import TrainedModel
from ebm_cli.runs.catalog import find

SMALL = ["experiment=smoke", "energy.width=16", "draws.n_samples=100", "draws.n_steps=10", "device=cpu", "figure=[]"]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """`world(name)` returns the folder of a run. It is trained once, and tests only read it."""
    folder, runs = tmp_path_factory.mktemp("world"), {}
    wine = load_wine()
    write(folder / "wine.csv", [wine.feature_names, *wine.data.tolist()])
    table = ["dataset=table", f"dataset.path={folder / 'wine.csv'}", "metric=[quadrature]"]  # which does not apply to 13 columns
    lines = {"moons": ["objective=nce", "seeds=2"], "wine": ["objective=ssm", *table], "learned": ["objective=nce", *table]}

    def run(name):
        if name not in runs:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("EBM_OUTPUTS", str(folder / "outputs"))
                assert __main__.main(last_of_each_key(["train", *SMALL, *lines[name]])) == 0
                runs[name] = find("last").path
        return runs[name]

    run.folder = folder
    return run


def write(path, rows):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


@pytest.fixture
def scored(ebm, tmp_path):
    """`scored(run, rows, ...)` returns the new columns as numbers, and the messages on stderr."""

    def call(run, rows, *words):
        np.save(tmp_path / "rows.npy", rows)
        code, out, err = ebm("score", str(run), f"data={tmp_path / 'rows.npy'}", *words)
        assert code == 0, err
        columns = {}
        for row in csv.DictReader(io.StringIO(out)):
            for name, cell in row.items():
                columns.setdefault(name, []).append(float(cell))
        return {name: np.array(columns[name]) for name in list(columns)[rows.shape[1] :]}, err

    return call


@pytest.fixture
def changed(world, tmp_path):
    """`changed(name, key=...)` returns a copy of a run with changes to its summary."""

    def copy(name, **numbers):
        path = tmp_path / "copied" / world(name).name
        shutil.copytree(world(name), path)
        summary = json.loads((path / "summary.json").read_text())
        (path / "summary.json").write_text(json.dumps(summary | numbers))
        return path

    return copy


def moons(n, seed=99):
    """Rows from the data distribution that no run has seen."""
    return schema.build(compose.compose([]).config["dataset"]).draw(n, Rng(seed)).double().numpy()


def summary_of(path):
    return json.loads((path / "summary.json").read_text())


def test_a_log_density_by_quadrature_has_an_error(world, scored):
    run, rows = world("moons"), moons(5)
    summary = summary_of(run)["per_seed"]
    for model in (0, 1):
        columns, err = scored(run, rows, f"model={model}")
        assert list(columns) == ["energy", "log_prob", "log_prob_error"]
        assert columns["log_prob"] == pytest.approx(-columns["energy"] - summary["log_z"][model], abs=1e-12)
        assert columns["log_prob_error"].tolist() == [summary["log_z_error"][model]] * 5
        assert "by quadrature, with an error of 0.00" in err


def test_the_source_of_log_z_is_named(changed, scored):
    columns, err = scored(changed("learned", log_z=3.7, log_z_error=0.9, log_z_by=["ais"]), load_wine().data[:4])
    assert columns["log_prob"] == pytest.approx(-columns["energy"] - 3.7)
    assert columns["log_prob_error"] == pytest.approx(np.full(4, 0.9))
    assert "log Z = 3.7 nats, between the bounds of annealed importance sampling, with an error of 0.9" in err


BOUNDS = ("lower", "lower_error", "upper", "upper_error")


def test_a_learned_log_z_is_told_and_not_used(world, scored):
    columns, err = scored(world("learned"), load_wine().data[:4])
    assert list(columns) == ["energy"]
    assert "log Z is unknown: only energies are written" in err
    assert "as the objective learned it, has an unknown error" in err


def test_ratios_to_a_reference_need_no_log_z(world, scored):
    rows = load_wine().data[:9]
    columns, err = scored(world("wine"), rows, "relative_to=3")
    assert list(columns) == ["energy", "log_ratio"]
    assert "log Z is unknown" in err
    assert columns["log_ratio"].tolist() == (columns["energy"][2] - columns["energy"]).tolist()
    assert columns["log_ratio"][2] == 0.0
    assert np.unique(columns["log_ratio"]).size == 9


def test_the_reference_row_may_be_in_any_chunk(world, scored):
    """Its own ratio is exactly 0. If log Z is known, a ratio is a difference of log-densities."""
    rows = moons(2 * score.CHUNK + 5)
    for row in (1, score.CHUNK, score.CHUNK + 1, len(rows)):
        columns, _ = scored(world("moons"), rows, f"relative_to={row}")
        assert columns["log_ratio"][row - 1] == 0.0
        assert columns["log_ratio"] == pytest.approx(columns["log_prob"] - columns["log_prob"][row - 1], abs=1e-9)


def rows_of_the_test_split(data):
    """The test rows of a table with the default dataset.split_seed and dataset.test."""
    return data[np.random.default_rng(0).permutation(len(data))[: round(0.2 * len(data))]]


def test_the_threshold_is_a_quantile_of_the_test_rows(world, scored):
    """For 36 rows and q = 0.1 it is the 34th smallest energy, 34 = ceil(37 (0.9)). The rows above it and far rows are rejected."""
    test = rows_of_the_test_split(load_wine().data)
    far = test[:2] + 50 * load_wine().data.std(0)
    columns, err = scored(world("wine"), np.concatenate([test, far]), "quantile=0.1")
    ordered = np.sort(columns["energy"][:36])
    bound = float(re.search(r"accepted: energy <= (\S+) nats \(estimated from 36 held-out rows\)\n", err)[1])
    assert "on average at most a fraction 0.1 of new rows has a higher energy" in err
    assert bound == pytest.approx(ordered[33], rel=1e-5)  # the printed value is rounded
    assert list(columns) == ["energy", "accepted"]
    assert columns["accepted"].tolist() == (columns["energy"] <= ordered[33]).tolist()
    assert columns["accepted"][-2:].tolist() == [0, 0]
    assert columns["accepted"][:36].sum() == 34


@pytest.mark.parametrize("n_components", ["null", "1"])
def test_equal_rows_are_all_accepted_or_all_rejected(ebm, scored, tmp_path, n_components):
    """Two columns with four values give 16 distinct rows, and the threshold is the energy of one of them. For any network, at most n - k of
    the n = 400 test rows lie above the k-th smallest energy. Equal rows have equal energies, in files of any length."""
    rng = np.random.default_rng(5)
    rows = rng.choice([0.1, 0.7, 1.3, 2.9], size=(2000, 2), p=[0.4, 0.3, 0.2, 0.1])
    words = (*SMALL, "objective=nce", "dataset=table", f"dataset.path={write(tmp_path / 'kinds.csv', rows.tolist())}")
    assert ebm("train", *words, f"dataset.n_components={n_components}", "dataset.equal_rows=apart")[0] == 0
    test, kinds = rows_of_the_test_split(rows), np.unique(rows, axis=0)
    every, _ = scored("last", np.concatenate([kinds, test]))
    energy_of = dict(zip(map(tuple, kinds.tolist()), every["energy"], strict=False))
    assert every["energy"][16:].tolist() == [energy_of[tuple(row)] for row in test.tolist()]
    for n in (1, 2, 3, 7):
        assert scored("last", kinds[:n])[0]["energy"].tolist() == every["energy"][:n].tolist()
    for q in (0.05, 0.1, 0.2, 0.3, 0.5, 0.8):
        columns, _ = scored("last", np.concatenate([kinds, test]), f"quantile={q}")
        accepted = dict(zip(map(tuple, kinds.tolist()), columns["accepted"], strict=False))
        assert columns["accepted"][16:].tolist() == [accepted[tuple(row)] for row in test.tolist()]
        k = 401 - int(Fraction(str(q)) * 401)
        assert columns["accepted"].tolist() == (columns["energy"] <= np.sort(columns["energy"][16:])[k - 1]).tolist()
        assert (1 - columns["accepted"][16:]).sum() <= 400 - k


def test_a_fraction_q_of_new_draws_from_the_data_distribution_is_rejected(world, scored):
    """20,000 draws and a threshold from 10,000: a standard deviation of sqrt(q (1 - q) (1/10,000 + 1/20,000)). The tolerance is five of
    them, with a false-alarm rate of 6e-7."""
    rows = moons(20_000)
    for q in (0.05, 0.5):
        columns, _ = scored(world("moons"), rows, f"quantile={q}", "model=1")
        assert abs((1 - columns["accepted"]).mean() - q) < 5 * (q * (1 - q) * (1 / 10_000 + 1 / 20_000)) ** 0.5


def test_a_small_quantile_takes_more_draws(world, scored):
    """The quantile 1e-5 needs 99,999 draws, which a dataset with a sampler provides."""
    columns, err = scored(world("moons"), moons(100), "quantile=1e-5")
    assert "from 99999 held-out rows" in err
    assert columns["accepted"].tolist() == [1] * 100


def test_a_quantile_needs_the_table_that_the_run_was_trained_on(changed, world, ebm, tmp_path):
    run = changed("wine")
    text = (run / "config.yaml").read_text().replace(str(world.folder / "wine.csv"), str(tmp_path / "gone.csv"))
    (run / "config.yaml").write_text(text)
    words = ("score", str(run), f"data={world.folder / 'wine.csv'}")
    assert ebm(*words)[0] == 0
    code, out, err = ebm(*words, "quantile=0.1")
    assert (code, out) == (2, "")
    assert "gone.csv" in err
    assert ebm(*words, "quantile=0.1", f"dataset.path={world.folder / 'wine.csv'}")[0] == 0
    shutil.copy(world.folder / "wine.csv", tmp_path / "gone.csv")
    with open(tmp_path / "gone.csv", "a") as file:
        file.write(",".join(["1"] * 13) + "\n")
    code, _, err = ebm(*words, "quantile=0.1")
    assert (code, "is not the file that the run was trained on, or it has changed" in err) == (2, True)


def test_a_file_with_all_columns_at_once(world, ebm, tmp_path):
    write(tmp_path / "rows.csv", [["x0", "x1"], [0.5, 0.25], [9, 9]])
    words = ("score", str(world("moons")), f"data={tmp_path / 'rows.csv'}", "relative_to=1", "quantile=0.01")
    code, out, _ = ebm(*words)
    header, near, far = csv.reader(io.StringIO(out))
    assert (code, header) == (0, ["x0", "x1", "energy", "log_prob", "log_prob_error", "log_ratio", "accepted"])
    assert (near[:2], near[-2:], far[-1]) == (["0.5", "0.25"], ["0.0", "1"], "0")
    assert ebm(*words, f"out={tmp_path / 'out.csv'}")[:2] == (0, f"Scores saved to {tmp_path / 'out.csv'}\n")
    assert (tmp_path / "out.csv").read_text() == out


def test_columns_that_the_file_already_has_are_refused_without_a_prefix(world, ebm, tmp_path):
    """The output of `ebm score` is scored again. The columns of the run are found by their names."""
    write(tmp_path / "rows.csv", [load_wine().feature_names, *load_wine().data[:3].tolist()])
    run, twice = str(world("wine")), tmp_path / "twice.csv"
    assert ebm("score", run, f"data={tmp_path / 'rows.csv'}", f"out={tmp_path / 'once.csv'}")[0] == 0
    words = ("score", run, f"data={tmp_path / 'once.csv'}", f"out={twice}")
    code, out, err = ebm(*words)
    assert (code, out, twice.exists()) == (2, "", False)
    assert "once.csv already has a column energy" in err
    assert "prefix=WORD" in err
    assert ebm(*words, "relative_to=1", "prefix=new_")[0] == 0
    header, first, *_ = csv.reader(twice.open())
    assert header == [*load_wine().feature_names, "energy", "new_energy", "new_log_ratio"]
    assert first[-3:] == [first[-2], first[-2], "0.0"]
    write(tmp_path / "once.csv", [[*load_wine().feature_names, "accepted"], *([*row, 1] for row in load_wine().data[:3].tolist())])
    assert ebm(*words)[0] == 0
    assert "already has a column accepted" in ebm(*words, "quantile=0.1")[2]


def test_out_may_be_a_link_or_a_pipe_and_is_not_replaced(world, ebm, tmp_path):
    write("rows.csv", [[0.5, 0.25], [9, 9]])
    words = ("score", str(world("moons")), "data=rows.csv")
    scores = ebm(*words)[1]
    Path("old.csv").write_text("old")
    Path("link.csv").symlink_to("old.csv")
    assert ebm(*words, "out=link.csv")[0] == 0
    assert Path("link.csv").is_symlink()
    assert Path("old.csv").read_text() == scores
    os.mkfifo("pipe")
    reader = os.open("pipe", os.O_RDONLY | os.O_NONBLOCK)
    assert ebm(*words, "out=pipe")[0] == 0
    assert os.read(reader, 10_000).decode() == scores
    os.close(reader)
    assert Path("pipe").is_fifo()


@pytest.mark.parametrize(
    ("header", "expected"),
    [("x1,x0", [0.5, 0.25]), ("x0,x1", [0.25, 0.5]), ("a,b", [0.25, 0.5]), ("x0,label,x1", [0.25, 0.5]), ("label,a,b", None)],
)
def test_coordinates_are_found_by_name_if_the_file_has_their_names(world, ebm, header, expected):
    """If the data of a run have no column names, they are called x0, x1, as in `ebm sample out=FILE`. The column `label` is always 3."""
    names, values = header.split(","), iter((0.25, 0.5))
    write("named.csv", [names, [3 if name == "label" else next(values) for name in names]])
    run = str(world("moons"))
    code, out, err = ebm("score", run, "data=named.csv")
    if expected is None:
        assert (code, "has 3 columns, but the events have 2: x0, x1" in err) == (2, True)
        return
    write("plain.csv", [expected])
    assert out.splitlines()[1].split(",")[-3:] == ebm("score", run, "data=plain.csv")[1].splitlines()[1].split(",")[-3:]


FAULTS = [
    ("out=s.npz", "out: s.npz is not a CSV file, and scores are written as CSV", "out=s.csv"),
    ("out=.", "out: . cannot be written: Is a directory", ""),
    ("out=", "out: . cannot be written: Is a directory", ""),
    ("out=there/is/none.csv", "out: there/is/none.csv cannot be written: No such file", ""),
    ("prefix=1", "prefix: must be a word, not 1", "prefix=model_"),
    ("relative_to=0", "relative_to: rows.csv has no row 0", "rows are numbered from 1 to 2"),
    ("relative_to=3", "relative_to: rows.csv has no row 3", "rows are numbered from 1 to 2"),
    ("relative_to=-1", "has no row -1", ""),
    ("relative_to=true", "relative_to: must be a whole number, not true", ""),
    ("relative_to=1.5", "relative_to: must be a whole number, not 1.5", ""),
    ("model=null", "model: must be a whole number, not None", ""),
    ("quantile=0", "quantile: must be a fraction of at least 1e-06 and below 1, not 0", "quantile=0.01"),
    ("quantile=1.0", "quantile: must be a fraction", ""),
    ("quantile=1e-7", "quantile: must be a fraction", ""),
    ("quantile=few", "quantile: must be a fraction", ""),
    ("quantil=0.1", "quantil: there is no key 'quantil'", "did you mean quantile?"),
    ("quantile=0.01", "quantile: 0.01 needs 99 held-out rows, but there are 36", "quantile=0.027028 or greater"),
]


@pytest.mark.parametrize(("word", "message", "hint"), FAULTS)
def test_invalid_keys_of_score_are_refused(world, ebm, word, message, hint):
    write("rows.csv", load_wine().data[:2].tolist())
    code, out, err = ebm("score", str(world("wine")), "data=rows.csv", *(["out=out.csv"] * (not word.startswith("out"))), word)
    assert (code, out) == (2, "")
    assert message in err
    assert hint in err
    assert ebm("score", str(world("wine")), "data=rows.csv", "quantile=0.027028")[0] == 0


def test_features_are_the_probabilities_of_the_hidden_units(ebm, scored):
    words = ("dataset=bars_and_stripes", "dataset.size=2", "energy=rbm", "energy.n_hidden=3", "energy.std=1.0", "objective=pcd")
    short = ("trainer.n_steps=5", "trainer.batch_size=16", "metric=[]", "figure=[]", "draws.n_samples=20", "draws.n_steps=2", "device=cpu")
    assert ebm("train", *words, *short)[0] == 0
    run = find("last")
    rows = np.array([[0, 0, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0], [1, 1, 0, 0]], dtype=float)
    found, _ = scored(run.path, rows, "features=hidden", "prefix=model_")
    assert [*found] == ["model_energy", "model_h0", "model_h1", "model_h2"]
    params = TrainedModel.load(run, torch.device("cpu")).params
    weight, v = params["weight"].double(), torch.from_numpy(rows)
    expected = torch.sigmoid((v - params["mean"].double()) @ weight + params["hidden_bias"].double())
    np.testing.assert_allclose(np.stack([found[f"model_h{j}"] for j in range(3)], -1), expected.numpy(), rtol=1e-12)
    assert found["model_h1"][1] == found["model_h1"][3]


def test_other_features_are_refused(ebm, world, tmp_path):
    np.save(tmp_path / "rows.npy", np.zeros((1, 2)))
    for word, message in (("hidden", "has no hidden units"), ("true", "there are no features True")):
        code, _, err = ebm("score", str(world("moons")), f"data={tmp_path / 'rows.npy'}", f"features={word}")
        assert (code, message in err) == (2, True), err
