"""Files of rows and of samples of a discrete table: they hold its values, of which the events have the positions."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from ebm_cli import load_run
from ebm_cli.errors import InputError
from ebm_cli.io import known_values
from ebm_cli.runs import catalog

ROWS = [("red", 1, -1), ("blue", 4, 1), ("green", 2, 1), ("red", 2, -1)] * 10
SMALL = ("trainer.n_steps=3", "figure=[]", "draws.n_samples=20", "draws.n_steps=2", "metric=[enumeration]", "device=cpu")


def written(name, rows, header):
    with open(name, "w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return name


@pytest.fixture
def run(ebm):
    """A run of a table of texts, of numbers that are no positions, and of signs."""
    written("table.csv", ROWS, ("color", "answer", "sign"))
    code, _, err = ebm("train", "dataset=categorical_table", "dataset.path=table.csv", *SMALL)
    assert code == 0, err
    return load_run(catalog.find("last").path)


def scored(ebm, name, *words):
    code, out, err = ebm("score", "last", f"data={name}", *words)
    assert code == 0, err
    return [float(row["energy"]) for row in csv.DictReader(out.splitlines())]


def test_rows_are_scored_by_the_values_of_the_table(run, ebm):
    expected = run.energy(np.array([[2, 0, 0], [0, 2, 1], [1, 1, 1], [2, 1, 0]])).tolist()
    assert scored(ebm, "table.csv")[:4] == expected
    other = written("other.csv", [("+1.0", "red", "01"), (-1, "green", 2.0)], ("sign", "color", "answer"))
    assert scored(ebm, other) == run.energy(np.array([[2, 0, 1], [1, 1, 0]])).tolist()
    _, _, err = ebm("score", "last", "data=table.csv")
    assert "by an exact sum\n" in err


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("pink", 1, 1), "line 2, column color: 'pink' is not one of its values"),
        (("red", 3, 1), "line 2, column answer: '3' is not one of its values"),
        (("red", 1, 0), "line 2, column sign: '0' is not one of its values"),
    ],
)
def test_other_values_are_refused(run, ebm, row, message):
    written("bad.csv", [row], ("color", "answer", "sign"))
    for words in (("score", "last", "data=bad.csv"), ("sample", "last", "start=bad.csv")):
        code, _, err = ebm(*words)
        assert code == 2
        assert message in err
        assert "hint: the column holds one of" in err


def test_samples_in_a_file_have_the_values_of_the_table(run, ebm):
    for name in ("samples.csv", "samples.npz"):
        code, _, err = ebm("sample", "last", "n_samples=30", "n_steps=3", f"out={name}")
        assert code == 0, err
    with open("samples.csv") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["color", "answer", "sign"]
    assert {row[0] for row in rows[1:]} <= {"blue", "green", "red"}
    assert {row[1] for row in rows[1:]} <= {"1", "2", "4"}
    x = np.load("samples.npz")["x"]
    assert {*x[:, 0]} <= {0, 1, 2}  # texts have their positions
    assert {*x[:, 2]} <= {-1, 1}
    assert scored(ebm, "samples.csv") == scored(ebm, "samples.npz")
    code, _, err = ebm("sample", "last", "n_samples=30", "n_steps=3", "start=samples.npz")
    assert code == 0, err


def test_fixed_coordinates_have_the_values_of_the_table(run, ebm):
    words = ("sample", "last", "n_samples=20", "n_steps=2", "sampler=gibbs", "out=held.csv")
    written("held_row.csv", [("red", "", "")], ("color", "answer", "sign"))
    for fixed, j, value in (("fixed={answer:4}", 1, "4"), ("fixed={2:-1}", 2, "-1"), ("fixed=held_row.csv", 0, "red")):
        code, _, err = ebm(*words, fixed)
        assert code == 0, err
        with open("held.csv") as file:
            assert {row[j] for row in list(csv.reader(file))[1:]} == {value}
    for fixed, message in (("fixed={answer:3}", "the value of answer is one of 1, 2, 4, not 3"), ("fixed={sign:0}", "one of -1, 1, not 0")):
        code, _, err = ebm(*words, fixed)
        assert code == 2
        assert message in err


def test_events_that_are_no_states_are_refused_in_python(run):
    with pytest.raises(InputError, match="event 1: its coordinate answer is 3, which is none of the states 0 to 2"):
        run.energy(np.array([[0, 0, 0], [0, 3, 0]]))
    with pytest.raises(InputError, match=r"sign is 0\.5"):
        run.log_prob(np.array([[0, 0, 0.5]]))


def test_states_that_do_not_fit_are_refused(run, ebm):
    path = Path(run.path / "dataset.json")
    stored = json.loads(path.read_text())
    for states, message in (({"color": ["red"]}, "the states in its dataset.json"), ({"color": 1}, "states has a wrong type")):
        path.write_text(json.dumps(stored | {"states": states}))
        code, _, err = ebm("score", "last", "data=table.csv")
        assert (code, "Traceback" in err) == (2, False)
        assert message in err


def test_rows_that_are_no_states_of_a_known_model_are_refused(ebm):
    code, _, err = ebm("train", "dataset=ising", "dataset.sides=[2,2]", *SMALL)
    assert code == 0, err
    np.save("rows.npy", np.array([[0, 1, 1, 0], [0, -1, 1, 0]]))
    code, _, err = ebm("score", "last", "data=rows.npy")
    assert code == 2
    assert "row 1, column x1: '-1' is not one of its values" in err
    assert "the column holds one of 0, 1" in err


def test_a_column_of_numbers_and_texts():
    known = ["1", "2.5", "a"]
    found = known_values.positions(known, np.array([0, 1, 2, 3]), ["a", "01", "2.50", "b"])
    np.testing.assert_array_equal(found, [2, 0, 1, np.nan])
    np.testing.assert_array_equal(known_values.positions(known, np.array([2.5, 0.0])), [1, np.nan])


def test_the_data_file_of_a_run_is_not_replaced(run, ebm):
    before = Path("table.csv").read_bytes()
    written("few.csv", ROWS[:2], ("color", "answer", "sign"))
    Path("link.csv").symlink_to("table.csv")
    for out in ("table.csv", "link.csv"):
        for words in (("score", "last", "data=few.csv"), ("sample", "last", "n_samples=4", "n_steps=2")):
            code, _, err = ebm(*words, f"out={out}")
            assert code == 2
            assert f"out: {out} is an input of this model, and would be replaced\nhint: out=new_{out}" in err
    assert Path("table.csv").read_bytes() == before
