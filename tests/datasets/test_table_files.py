"""Tables as practitioners have them: compressed files, declared columns, missing values, categories, dates, labels, equal rows."""

import bz2
import gzip
import lzma
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from tables import table

from ebm_cli.core.rng import Rng
from ebm_cli.errors import InputError
from ebm_cli.io import compressed, table_files, text_tables
from ebm_cli.io.coding import Coding

VALUES = np.random.default_rng(0).standard_normal((60, 3))
COMPRESSORS = {".gz": gzip.compress, ".xz": lzma.compress, ".bz2": bz2.compress}


def text(delimiter=",", values=VALUES):
    return "\n".join([delimiter.join("abc"), *(delimiter.join(map(repr, row)) for row in values.tolist())]) + "\n"


def refusal(path, columns=None, **values):
    """The last problem of the error for a file: its message and its hint."""
    with pytest.raises(InputError) as caught:
        _ = table(path, columns, **values).standardization
    return " | ".join(caught.value.problems[-1])


@pytest.mark.parametrize("compression", COMPRESSORS)
@pytest.mark.parametrize(("kind", "delimiter"), [(".csv", ","), (".tsv", "\t")])
def test_compressed_files_are_read_like_plain_ones(kind, delimiter, compression):
    Path(f"data{kind}{compression}").write_bytes(COMPRESSORS[compression](text(delimiter).encode()))
    found = table(f"data{kind}{compression}")
    np.testing.assert_array_equal(found.table.values, VALUES)
    assert found.column_names == ["a", "b", "c"]


def test_a_file_that_expands_without_end_is_refused_before_it_is_read(monkeypatch):
    monkeypatch.setattr(compressed, "MOST_BYTES", 3 << 20)
    Path("bomb.csv.gz").write_bytes(gzip.compress(b"a\n" + b"0\n" * (2 << 20)))
    monkeypatch.setattr(text_tables, "decoded", None)
    assert "bomb.csv.gz expands to more than 0 GiB" in refusal("bomb.csv.gz")
    monkeypatch.setattr(compressed, "MOST_BYTES", 5 << 20)
    with pytest.raises(TypeError):
        _ = table("bomb.csv.gz").table


@pytest.mark.parametrize("name", ["broken.csv.gz", "broken.csv.xz", "broken.csv.bz2"])
@pytest.mark.parametrize("cut", [0, 40, -9])
def test_damaged_compressed_files_are_refused(name, cut):
    content = COMPRESSORS[Path(name).suffix](text().encode())
    Path(name).write_bytes(content[:cut] or b"garbage")
    assert f"dataset.path: {name} cannot be read" in refusal(name)


@pytest.mark.parametrize("name", ["data.gz", "data.npy.gz", "data.xlsx"])
def test_other_types_are_refused(name):
    Path(name).write_bytes(b"")
    assert f"{name} has an unknown file type | give a .csv" in refusal(name)


KEEL = """@relation pima
@attribute Preg real [0.0, 17.0]
@attribute Plas real[0.0, 199.0]
@attribute 'Body mass' numeric
@attribute Class {tested_positive, tested_negative}
@inputs Preg, Plas
@outputs Class
@data
% a comment
1.0, 85.0, 26.6, tested_negative
8.0, 183.0, 23.3, tested_positive
"""


@pytest.mark.parametrize("name", ["pima.dat", "pima.arff", "pima.dat.gz"])
def test_keel_and_arff_files_declare_their_columns(name):
    Path(name).write_bytes(gzip.compress(KEEL.encode()) if name.endswith("gz") else KEEL.encode())
    found = table_files.read(name, ["Preg", "Plas", "Body mass"], key="k")
    assert found.header == ["Preg", "Plas", "Body mass", "Class"]
    assert found.values.tolist() == [[1, 85, 26.6], [8, 183, 23.3]]
    assert found.place(0) == "line 10"
    assert f"{name}, line 10, column Class: 'tested_negative'" in " ".join(str(p) for p in _problems(name))


def _problems(name):
    with pytest.raises(InputError) as caught:
        table_files.read(name, key="k")
    return caught.value.problems


def test_declared_files_that_cannot_be_read():
    faults = {"@relation a\n1,2\n": "no line @data", "@data\n1,2\n": "no line @attribute", "@attribute a real\n@data\n{0 1}\n": "sparse"}
    for body, words in faults.items():
        Path("bad.dat").write_text(body)
        assert words in refusal("bad.dat")


def test_a_dat_file_without_declarations_is_a_csv_file():
    Path("plain.dat").write_text("1,2,good\n3,5,bad\n")
    assert table_files.read("plain.dat", [0, 1], key="k").values.tolist() == [[1, 2], [3, 5]]
    Path("plain.arff").write_text("1,2\n3,5\n")
    assert "no line @data" in refusal("plain.arff")


def test_quoted_names_and_values_of_an_arff_file():
    Path("quoted.arff").write_text("@attribute \"a b\" real\n@attribute c {'x, y',z}\n@DATA\n1,'x, y'\n2,z\n3,'x, y'\n4,z\n")
    found = table_files.read("quoted.arff", key="k", categories="onehot")
    assert found.names == ["a b", "c"]
    assert found.categories == {"c": ["x, y", "z"]}


@pytest.mark.parametrize("head", ["a,b,c\n", "", "a,2020,c\n"])
@pytest.mark.parametrize("end", ["\n", ""])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_numpy_reads_large_files_as_the_csv_module_does(monkeypatch, head, end, newline):
    rows = [[0.1 + i, 1e-300 * i, -(3.0**i)] for i in range(200)]
    body = head + "\n".join(",".join(map(repr, row)) for row in rows) + end
    Path("large.csv").write_bytes(b"\xef\xbb\xbf" + body.replace("\n", newline).encode())
    read = lambda: text_tables.read(Path("large.csv"), "k", None, "h", numbers=True)  # noqa: E731
    plain = read()
    assert isinstance(plain.rows, list)
    monkeypatch.setattr(text_tables, "LARGE", 0)
    fast = read()
    assert isinstance(fast.rows, np.ndarray)
    np.testing.assert_array_equal(fast.rows, np.array(plain.rows, dtype=float))
    assert (fast.names, [*fast.lines], fast.note) == (plain.names, [*plain.lines], plain.note)


FAULTY = {  # a line of a large file that numpy must leave to the csv module, which names it
    "1,2,x": "line 152, column c: 'x' is not a finite number",
    "1,2": "line 152: 2 cells instead of 3",
    "1,2,3,4": "line 152: 4 cells instead of 3",
    "1,2,inf": "line 152, column c: 'inf' is not a finite number",
    "1,,3": "line 152, column b: '' is not a finite number",
    '1,2,"3': "the quote that opens in line 152 is never closed",
}


@pytest.mark.parametrize("line", FAULTY)
def test_faults_of_large_files_are_named(monkeypatch, line):
    monkeypatch.setattr(text_tables, "LARGE", 0)
    lines = ["a,b,c", *(f"{i},{i * i},{i % 7}" for i in range(300))]
    lines[151] = line
    Path("large.csv").write_text("\n".join(lines))
    assert FAULTY[line] in refusal("large.csv")


@pytest.mark.parametrize("line", ["", '1,"2",3', "1,2,3 "])
def test_odd_lines_of_large_files_are_read(monkeypatch, line):
    monkeypatch.setattr(text_tables, "LARGE", 0)
    lines = ["a,b,c", *(f"{i},{i * i},{i % 7}" for i in range(300))]
    lines[151] = line
    Path("large.csv").write_text("\n".join(lines))
    found = table_files.read("large.csv", key="k", text=False)
    assert found.values.shape == (300 if line else 299, 3)
    assert found.place(200) == f"line {202 if line else 203}"


GAPS = ["?", "", "NA", "NaN", "null", "n/a", "<null>"]


def with_gaps(gap="?", n=40):
    """Column b is missing in rows 3 and 30, column c in row 3, and column a never."""
    rows = np.random.default_rng(1).standard_normal((n, 3)).tolist()
    rows[3][1] = rows[3][2] = rows[30][1] = gap
    Path("gaps.csv").write_text("a,b,c\n" + "".join(",".join(map(str, row)) + "\n" for row in rows))
    return np.array([[float("nan") if cell == gap else cell for cell in row] for row in rows], dtype=float)


@pytest.mark.parametrize("gap", GAPS)
def test_missing_values_are_refused_with_the_keys_that_help(gap):
    with_gaps(gap)
    found = refusal("gaps.csv")
    assert "gaps.csv, line 32, column b" in found
    assert "3 cells in 2 rows are missing: dataset.missing=drop leaves these rows out, dataset.missing=median" in found
    assert "or choose the other columns: dataset.columns=[a]" in found


@pytest.mark.parametrize("gap", GAPS)
def test_rows_with_missing_values_are_left_out(gap):
    values = with_gaps(gap)
    found = table("gaps.csv", missing="drop")
    np.testing.assert_array_equal(found.events, np.delete(values, [3, 30], 0))
    assert found.notes == ("gaps.csv: 2 of 40 rows have missing values and are left out",)
    assert found.table.place(3) == "line 6"
    assert found.facts == {}
    Path("none.csv").write_text("a,b\n" + "1,?\n" * 20)
    assert "all rows of none.csv have missing values" in refusal("none.csv", missing="drop")


@pytest.mark.parametrize("suffix", ["csv", "npy"])
def test_missing_values_are_replaced_by_the_median_of_the_training_rows(suffix):
    values = with_gaps()
    np.save("gaps.npy", values)
    found = table(f"gaps.{suffix}", missing="median", split_seed=2)
    train = found._rows["train"]
    assert {3, 30} & {*train.tolist()}
    names = ["a", "b", "c"] if suffix == "csv" else ["x0", "x1", "x2"]
    median = np.nanmedian(values[train], axis=0)
    assert not np.isclose(median, np.nanmedian(values, axis=0)).all()
    np.testing.assert_array_equal(found.events[:, :3], np.where(np.isnan(values), median, values))
    marks = [f"{names[i]}_missing" for i in (1, 2) if np.isnan(values[train, i]).any()]
    assert found.column_names == [*names, *marks]
    np.testing.assert_array_equal(found.events[:, 3:], np.isnan(values[:, [names.index(mark[:-8]) for mark in marks]]))
    assert found.shape == found.space.shape == (3 + len(marks),)


def test_equal_marks_of_missing_values_are_kept_once():
    values = with_gaps()
    values[30, 2] = np.nan
    np.save("gaps.npy", values)
    assert table("gaps.npy", missing="median").column_names == ["x0", "x1", "x2", "x1_missing"]


def test_a_column_without_values_in_the_training_rows():
    Path("empty.csv").write_text("a,b\n" + "".join(f"{i},?\n" for i in range(20)))
    assert "dataset.missing: column b has no value in the training rows" in refusal("empty.csv", missing="median")


def colors(n=60):
    rng = np.random.default_rng(2)
    numbers, kinds, words = rng.standard_normal(n).tolist(), rng.choice(["red", "blue", "green"], n), rng.choice(["yes", "no"], n)
    rows = [[repr(number), kind, word] for number, kind, word in zip(numbers, kinds, words, strict=True)]
    Path("colors.csv").write_text("a,color,fast\n" + "".join(",".join(row) + "\n" for row in rows))
    return rows


def test_categories_are_refused_with_the_keys_that_help():
    colors()
    found = refusal("colors.csv")
    assert "for categories (color, fast): dataset.categories=onehot makes a column of 0 and 1 for each value" in found
    assert "or choose the other columns: dataset.columns=[a]" in found
    Path("many.csv").write_text("a,name\n" + "".join(f"{i},name {i}\n" for i in range(60)))
    assert "correct or remove these rows, or choose the other columns: dataset.columns=[a]" in refusal("many.csv", categories="onehot")
    Path("typo.csv").write_text("a,b\n" + "".join(f"{i},{i * i}\n" for i in range(60)) + "60,tall\n")
    assert "onehot" not in refusal("typo.csv")
    assert "'tall' is not a finite number" in refusal("typo.csv", categories="onehot")


def test_each_value_of_a_category_becomes_a_column():
    """Two values need only one column, because the other one would be its complement."""
    rows = colors()
    found = table("colors.csv", categories="onehot")
    assert found.column_names == ["a", "color=blue", "color=green", "color=red", "fast=yes"]
    expected = [[float(x), *(color == value for value in ("blue", "green", "red")), word == "yes"] for x, color, word in rows]
    np.testing.assert_array_equal(found.events, np.array(expected, dtype=float))
    assert found.table.cells == rows
    bare = Path("colors.csv").read_text().partition("\n")[2]
    Path("bare.csv").write_text(bare)
    assert table("bare.csv", categories="onehot").column_names == ["x0", "x1=blue", "x1=green", "x1=red", "x2=yes"]


def test_numbers_and_a_word_are_categories_if_the_word_is_frequent():
    Path("doors.csv").write_text("a,doors\n" + "".join(f"{i},{['2', '3', 'more'][i % 3]}\n" for i in range(60)))
    assert table("doors.csv", categories="onehot").column_names == ["a", "doors=2", "doors=3", "doors=more"]


def test_a_first_row_of_data_that_is_taken_for_names():
    Path("letters.csv").write_text("x,o,x\n" + "o,x,b\nx,x,o\n" * 20)
    assert (
        "have the same name | rename them in the file, or choose other columns; if the first row is data: dataset.header=false"
        in refusal("letters.csv", categories="onehot")
    )
    assert len(table("letters.csv", categories="onehot", header=False, equal_rows="apart").events) == 41


def test_a_missing_category_has_no_value():
    colors()
    lines = Path("colors.csv").read_text().splitlines()
    lines[1:3] = ["1.5,?,yes", "2.5,red,?"]
    Path("colors.csv").write_text("\n".join(lines))
    found = table("colors.csv", categories="onehot", missing="median", validation=0, test=0)
    assert found.column_names == ["a", "color=blue", "color=green", "color=red", "fast=yes", "color_missing", "fast_missing"]
    assert found.events[:2].tolist() == [[1.5, 0, 0, 0, 1, 1, 0], [2.5, 0, 0, 1, 0, 0, 1]]


def test_a_constant_category_is_refused_with_the_columns_of_the_file():
    Path("same.csv").write_text("a,b,c\n" + "".join(f"{i},x,{i * i}\n" for i in range(40)))
    assert "no density: b=x | dataset.columns=[a,c]" in refusal("same.csv", categories="onehot")


def test_codings_survive_json():
    colors()
    coding = table("colors.csv", categories="onehot").coding
    assert Coding.from_json(coding.to_json()) == coding
    assert Coding.from_json(None) is None


def test_new_files_are_coded_like_the_training_data():
    colors()
    data = table("colors.csv", categories="onehot")
    Path("new.csv").write_text("fast,a,color\nno,0.5,red\nyes,1.5,green\n")
    read = lambda **more: table_files.events("new.csv", data.column_names, key="data", named=True, coding=data.coding, **more)  # noqa: E731
    assert read().values.tolist() == [[0.5, 0, 0, 1, 0], [1.5, 0, 1, 0, 1]]
    assert read().header == ["fast", "a", "color"]
    Path("new.csv").write_text("a,color=blue,color=green,color=red,fast=yes\n0.5,0,0,1,0\n")
    assert read().values.tolist() == [[0.5, 0, 0, 1, 0]]
    faults = {"no,0.5,pink": "'pink' is not a value of the training rows", "no,?,red": "'?' is not a finite number"}
    for line, words in faults.items():
        Path("new.csv").write_text(f"fast,a,color\n{line}\nno,1,red\nyes,2,red\n")
        with pytest.raises(InputError, match=re.escape(words)):
            read()
    Path("new.csv").write_text("fast,a,color\n1,1,red\n")
    with pytest.raises(InputError, match=r"column fast of new\.csv does not hold what the run was trained on: one of no, yes"):
        read()


DATES = [
    *(["2024-01-31", "2023-12-01"], ["31.01.2024", "1.2.2023"], ["01/31/24", "2/28/2023"], ["2024/01", "2023-7"], ["12:30", "7:05:33"]),
    *(["2024-01-31 12:30:00", "2024-01-31T12:30:05Z"], ["31-Jan-2024", "1 February 2023"], ["Jan 31, 2024", "March 1 2023"]),
]


@pytest.mark.parametrize("dates", DATES)
def test_dates_are_refused_with_a_hint(dates):
    Path("dates.csv").write_text("a,day\n" + "".join(f"{i},'{dates[i % 2]}'\n".replace("'", '"') for i in range(40)))
    for categories in ("refuse", "onehot"):
        found = refusal("dates.csv", categories=categories)
        assert "dates (day) are not read: convert them to numbers" in found
        assert "dataset.columns=[a]" in found


@pytest.mark.parametrize("cells", [("5,1", "4,25"), ("1.234,5", "12,0"), ("1,234", "-3,5e2")])
def test_numbers_with_commas_are_neither_faults_without_a_word_nor_categories(cells):
    Path("commas.csv").write_text("a;size\n" + "".join(f"{i};{cells[i % 2]}\n" for i in range(40)))
    for categories in ("refuse", "onehot"):
        found = refusal("commas.csv", categories=categories)
        assert "numbers are read with a decimal point and without commas: rewrite those of size" in found
        assert "dataset.columns=[a]" in found


def labelled(kinds=("setosa", "virginica", "versicolor"), n=60):
    rows = np.random.default_rng(3).standard_normal((n, 2)).tolist()
    Path("labels.csv").write_text("a,kind,b\n" + "".join(f"{a!r},{kinds[i % len(kinds)]},{b!r}\n" for i, (a, b) in enumerate(rows)))
    return np.array(rows)


def test_labels_are_not_part_of_the_events():
    rows = labelled()
    data = table("labels.csv", label="kind")
    np.testing.assert_array_equal(data.events, rows)
    assert data.column_names == ["a", "b"]
    assert data.label_names == data.facts["labels"] == ["setosa", "versicolor", "virginica"]
    assert data.labels.tolist() == [[0, 2, 1][i % 3] for i in range(60)]
    assert data.provides == {"real", "labels"}
    assert table("labels.csv", ["a"]).provides == {"real"}
    y = data.split("test", 100, Rng(0)).y
    assert y.dtype == torch.int64
    assert y.tolist() == data.labels[data._rows["test"]].tolist()
    assert "dataset.label: column 'kind' is also one of dataset.columns" in refusal("labels.csv", ["a", "kind"], label="kind")
    assert "dataset.label: there is no column 'knid' | did you mean kind" in refusal("labels.csv", label="knid")


@pytest.mark.parametrize("kinds", [("10", "9", "-1"), ("10.0", "9", "-1")])
def test_numbers_as_labels_are_sorted_as_numbers(kinds):
    labelled(kinds)
    data = table("labels.csv", label="kind", anomaly=[10])
    assert data.label_names == ["-1", "9", "10"]
    assert data.anomalies.tolist() == [i % 3 == 0 for i in range(60)]


def test_labels_of_an_array():
    values = np.column_stack([VALUES, np.arange(60) % 2])
    np.save("labels.npy", values)
    data = table("labels.npy", label=3, anomaly=[1])
    np.testing.assert_array_equal(data.events, VALUES)
    assert data.anomalies.tolist() == [i % 2 == 1 for i in range(60)]


def test_anomalies_are_left_out_of_training_and_validation():
    labelled()
    all_rows, normal = (table("labels.csv", label="kind", anomaly=["virginica"], train_on=on) for on in ("all", "normal"))
    _ = all_rows.standardization, normal.standardization
    assert all_rows.provides == normal.provides == {"real", "labels", "anomalies"}
    for name in ("train", "validation"):
        rows = all_rows._rows[name]
        assert all_rows.is_anomaly(name).any() or name == "validation"
        assert normal._rows[name].tolist() == rows[~all_rows.anomalies[rows]].tolist()
    assert normal._rows["test"].tolist() == all_rows._rows["test"].tolist()
    assert normal.is_anomaly("test").any()
    torch.testing.assert_close(normal.standardization.mean, torch.from_numpy(normal.rows("train").mean(0)))
    assert all_rows.notes == ("20 of 60 rows are anomalies",)
    assert normal.notes[-1].endswith("they are left out of training and validation (dataset.train_on=normal)")


def test_faults_of_labels():
    labelled()
    assert "no row has the label 'virginca' | did you mean virginica" in refusal("labels.csv", label="kind", anomaly=["virginca"])
    assert "there is no column of labels" in refusal("labels.csv", ["a", "b"], anomaly=["x"])
    assert "normal needs the labels of anomalies" in refusal("labels.csv", ["a", "b"], train_on="normal")


def test_equal_rows_stay_together_and_are_counted():
    values = np.concatenate([VALUES, VALUES[:20]])
    np.save("twice.npy", values)
    data = table("twice.npy")
    sets = [{tuple(row) for row in data.rows(name).tolist()} for name in ("train", "validation", "test")]
    assert sum(map(len, sets)) == 60
    (note,) = data.notes
    assert note.startswith("20 of 80 rows repeat another row, and equal rows are kept in the same split")
    apart = table("twice.npy", equal_rows="apart")
    assert apart.notes == ()
    order = np.random.default_rng(0).permutation(80)
    assert apart._rows["test"].tolist() == order[:16].tolist()


def test_missing_values_do_not_hide_equal_rows():
    values = np.concatenate([VALUES, VALUES[:1]])
    values[[5, 60], 1] = np.nan
    values[60] = values[5]
    np.save("gaps.npy", values)
    data = table("gaps.npy", missing="median")
    assert data.groups[60] == 5
    assert math.isclose(data.coding.filled["x1"], np.nanmedian(values[data._rows["train"], 1]))
