"""Tables of categories and of bits: their values, their spaces, and what is refused."""

import pytest
from densities import option

from ebm_cli.errors import InputError
from ebm_cli.types import Space

ROWS = [("red", 3, "no"), ("blue", 10, "yes"), ("green", 3, "no"), ("red", 2, "no"), ("blue", 2, "yes"), ("red", 10, "no")]


@pytest.fixture
def table(tmp_path):
    def write(rows=ROWS, header="color,size,sold", name="categorical_table", **values):
        path = tmp_path / "x.csv"
        path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)] * 1) + "\n")
        return option(name, path=str(path), **values)

    return write


def test_the_events_are_positions_in_the_sorted_values(table):
    data = table()
    assert data.facts == {"states": {"color": ["blue", "green", "red"], "size": ["2", "3", "10"], "sold": ["no", "yes"]}}
    assert data.events.tolist() == [[2, 1, 0], [0, 2, 1], [1, 1, 0], [2, 0, 0], [0, 0, 1], [2, 2, 0]]
    assert data.space == Space((3,), "categorical", (3, 3, 2))
    assert (data.provides, data.column_names, data.named) == ({"categorical"}, ["color", "size", "sold"], True)
    assert data.standardization.log_det == 0


def test_bits(table):
    data = table(columns=["sold"], name="binary_table")
    assert (data.space, data.provides) == (Space((1,), "binary"), {"binary"})
    assert data.events.tolist() == [[0], [1], [0], [0], [1], [0]]


def test_equal_rows_may_be_in_different_splits(table):
    data = table(rows=ROWS * 10)
    splits = [{tuple(row) for row in data.rows(name).tolist()} for name in ("train", "test")]
    assert splits[0] & splits[1]
    assert sum(len(data.rows(name)) for name in ("train", "validation", "test")) == 60


@pytest.mark.parametrize(
    ("changes", "message", "hint"),
    [
        ({"name": "binary_table"}, "column color has 3 values, and a bit has two", "dataset=categorical_table"),
        ({"rows": [("a", 0.1 * k, k % 2) for k in range(60)]}, "column color has the value a in all rows", "dataset.columns"),
        ({"rows": [("ab"[k % 2], 0.1 * k, 1) for k in range(60)]}, "column size has 60 different values", "dataset=table"),
        ({"columns": ["colour"]}, "there is no column 'colour'", "color"),
        ({"rows": [*ROWS, ("red", "", "no")]}, "'' is not a finite number", ""),
    ],
)
def test_bad_tables_are_refused(table, changes, message, hint):
    with pytest.raises(InputError, match=message) as refused:
        _ = table(**changes).space
    assert hint in refused.value.problems[0].hint


def test_a_missing_file():
    with pytest.raises(InputError, match=r"dataset\.path: there is no file"):
        _ = option("categorical_table", path="nowhere.csv").fingerprint


def test_large_numbers_are_not_rounded(table):
    data = table(rows=[("red", 1234567, "no"), ("blue", 1234568, "yes"), ("red", 0.1, "no")])
    assert data.facts["states"]["size"] == ["0.1", "1234567", "1234568"]
