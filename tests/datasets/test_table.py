"""Tables from files: every file type yields the same numbers, and every fault of a file raises an `InputError` that names it."""

import csv
import io
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pyarrow import parquet
from tables import table

from ebm_cli.core import column_checks
from ebm_cli.core.rng import Rng
from ebm_cli.errors import InputError
from ebm_cli.io import table_files
from ebm_cli.types import Space

VALUES = np.random.default_rng(0).standard_normal((40, 3)) * [1.0, 20.0, 1e-3] + [5.0, 0.0, -7.0]
NAMES = ["height", "flow", "x y"]


def text(delimiter, *, header=True, values=VALUES):
    file = io.StringIO()
    csv.writer(file, delimiter=delimiter).writerows([NAMES] * header + values.tolist())
    return file.getvalue()


def write_npz(path):
    np.savez(path, **dict(zip(NAMES, VALUES.T, strict=True)))


WRITERS = {  # file name: a function that writes the file, and whether its columns have names
    "header.csv": (lambda path: path.write_text(text(",")), True),
    "bare.csv": (lambda path: path.write_text(text(",", header=False)), False),
    "semicolon.csv": (lambda path: path.write_text(text(";")), True),
    "windows.csv": (lambda path: path.write_bytes(b"\xef\xbb\xbf" + text(",").replace("\n", "\r\n").encode()), True),
    "spaced.csv": (lambda path: path.write_text(text(",").replace(",", ", ")), True),
    "tabs.tsv": (lambda path: path.write_text(text("\t")), True),
    "bare.tsv": (lambda path: path.write_text(text("\t", header=False)), False),
    "array.npy": (lambda path: np.save(path, VALUES), False),
    "one.npz": (lambda path: np.savez(path, anything=VALUES), False),
    "columns.npz": (write_npz, True),
    "table.parquet": (lambda path: parquet.write_table(pa.table(dict(zip(NAMES, VALUES.T, strict=True))), path), True),
}


@pytest.fixture(params=WRITERS)
def written(request):
    write, named = WRITERS[request.param]
    write(Path(request.param))
    return request.param, named


@pytest.fixture
def csv_file():
    Path("data.csv").write_text(text(","))
    return "data.csv"


def refusal(path, columns=None, **values):
    """The text of the error for a file."""
    with pytest.raises(InputError) as caught:
        _ = table(path, columns, **values).standardization
    return " ".join(part for problem in caught.value.problems for part in problem)


def test_every_file_type_yields_the_same_table(written):
    path, named = written
    dataset = table(path)
    np.testing.assert_array_equal(dataset.table.values, VALUES)
    assert dataset.shape == (3,)
    assert dataset.named == named
    assert list(dataset.column_names) == (NAMES if named else ["x0", "x1", "x2"])


def test_columns_by_position_and_by_name_in_the_requested_order(written):
    path, named = written
    for columns in [[2, 0]] + [["x y", "height"], ["x y", 0]] * named:
        dataset = table(path, columns)
        np.testing.assert_array_equal(dataset.table.values, VALUES[:, [2, 0]])
        assert list(dataset.column_names) == (["x y", "height"] if named else ["x0", "x1"])


def test_a_one_dimensional_array_is_one_column():
    np.save("one.npy", VALUES[:, 1])
    np.testing.assert_array_equal(table("one.npy").table.values, VALUES[:, 1:2])


@settings(max_examples=60, deadline=None)
@given(
    values=arrays(float, array_shapes(min_dims=2, max_dims=2, max_side=6), elements=st.floats(allow_nan=False, allow_infinity=False)),
    delimiter=st.sampled_from([",", ";", "\t"]),
    header=st.booleans(),
)
def test_floats_survive_a_csv_file_bit_for_bit(values, delimiter, header):
    with open("round.csv", "w", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows([[f"c{i}" for i in range(values.shape[1])]] * header + values.tolist())
    assert table("round.csv").table.values.tobytes() == values.tobytes()


@pytest.mark.parametrize("columns", [["weight"], ["heigt"], [3], [-1], ["0"]])
def test_the_error_for_an_unknown_column_lists_the_columns(columns, csv_file):
    words = refusal(csv_file, columns)
    assert f"dataset.columns: there is no column {columns[0]!r}" in words
    assert "height" in words


def test_an_unknown_position_without_a_header():
    Path("bare.csv").write_text(text(",", header=False))
    assert "0 .. 2" in refusal("bare.csv", [3])
    assert "0 .. 2" in refusal("bare.csv", ["height"])


def test_an_ambiguous_column_name_is_an_error():
    Path("twice.csv").write_text("a,a\n" + "1,2\n3,5\n" * 10)
    assert "several columns are called 'a'" in refusal("twice.csv", ["a"])
    assert table("twice.csv", [1]).table.values[:, 0].tolist() == [2, 5] * 10


@pytest.mark.parametrize("split_seed", [0, 1])
@pytest.mark.parametrize(("validation", "test", "sizes"), [(0.1, 0.2, (28, 4, 8)), (0.3, 0.25, (18, 12, 10)), (0.001, 0.001, (38, 1, 1))])
def test_every_row_is_in_exactly_one_split(validation, test, sizes, split_seed, csv_file):
    dataset = table(csv_file, validation=validation, test=test, split_seed=split_seed)
    parts = [dataset.standardization.to_data(dataset.split(name, 1000, Rng(0)).x) for name in ("train", "validation", "test")]
    assert tuple(map(len, parts)) == sizes
    assert dataset.n_train == sizes[0]
    np.testing.assert_allclose(np.sort(torch.cat(parts).numpy(), 0), np.sort(VALUES, 0), rtol=1e-5)
    assert len({round(row[1], 4) for part in parts for row in part.tolist()}) == 40


def test_the_split_depends_on_the_split_seed_only(csv_file):
    def test_rows(split_seed, seed):
        return table(csv_file, split_seed=split_seed).split("test", 100, Rng(seed)).x.tolist()

    assert test_rows(0, seed=0) == test_rows(0, seed=5)
    assert test_rows(0, seed=0) != test_rows(1, seed=0)


def test_every_model_has_the_same_first_rows_of_a_split(csv_file):
    dataset = table(csv_file)
    stack = dataset.split("train", 5, Rng((3, 4))).x
    assert stack.shape == (2, 5, 3)
    assert torch.equal(stack[0], stack[1])
    assert torch.equal(stack[0], dataset.split("train", 100, Rng(0)).x[:5])


def test_standardized_by_the_training_rows_and_back(csv_file):
    dataset = table(csv_file, validation=0.3, test=0.3)
    train = dataset.split("train", 100, Rng(0)).x.double()
    torch.testing.assert_close(train.mean(0), torch.zeros(3).double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(train.square().mean(0), torch.ones(3).double(), atol=1e-5, rtol=0)
    others = torch.cat([dataset.split(name, 100, Rng(0)).x for name in ("validation", "test")]).double()
    assert (others.square().mean(0) - 1).abs().max() > 0.05  # these rows do not affect the standardization
    rows = dataset.standardization.to_data(train)
    for row in rows.numpy():
        assert np.isclose(VALUES, row, rtol=1e-6, atol=1e-9).all(1).sum() == 1
    scale = rows.std(0, correction=0)
    assert math.isclose(dataset.standardization.log_det, scale.log().sum().item(), rel_tol=1e-5)


def test_principal_components_of_the_training_rows(csv_file):
    """All inputs of the model are components; the data keep their columns. The dropped part of a row is orthogonal to the kept part."""
    dataset = table(csv_file, validation=0.3, test=0.3, n_components=2)
    train = dataset.split("train", 100, Rng(0)).x.double()
    assert dataset.shape == (2,)
    assert list(dataset.column_names) == NAMES
    torch.testing.assert_close(train.T @ train / len(train), torch.eye(2).double(), atol=1e-5, rtol=0)
    assert dataset.batch(0, 5, Rng((3, 4))).x.shape == (2, 5, 2)
    rows = dataset.standardization.to_data(train)
    assert rows.shape == (len(train), 3)
    whole = table(csv_file, validation=0.3, test=0.3).split("train", 100, Rng(0)).x.double()
    kept = (rows - dataset.standardization.mean) / dataset.standardization.scale
    torch.testing.assert_close(((whole - kept) * kept).sum(1), torch.zeros(len(train)).double(), atol=1e-5, rtol=0)
    assert dataset.standardization.log_det == 0


def test_more_components_than_directions_are_an_error(csv_file):
    with pytest.raises(InputError, match="4 principal components are requested, but the training rows have only 3"):
        _ = table(csv_file, n_components=4).standardization
    np.save("flat.npy", np.stack([VALUES[:, 0], VALUES[:, 1], VALUES[:, 0] - 3 * VALUES[:, 1]], -1))
    with pytest.raises(InputError, match="3 principal components are requested, but the training rows have only 2"):
        _ = table("flat.npy", n_components=3).standardization
    assert table("flat.npy", n_components=2).standardization.matrix.shape == (3, 2)


def test_an_epoch_covers_the_training_rows_once(csv_file):
    dataset = table(csv_file)
    train = dataset.split("train", 100, Rng(0)).x
    epoch = torch.cat([dataset.batch(step, 7, Rng(0)).x for step in range(4)])
    assert sorted(epoch.tolist()) == sorted(train.tolist())
    stack = dataset.batch(2, 7, Rng((3, 0))).x
    assert torch.equal(stack[1], dataset.batch(2, 7, Rng(0)).x)
    assert not torch.equal(stack[0], stack[1])


@pytest.mark.parametrize("cell", ["nan", "inf", "tall", "", "1,5"])
def test_a_bad_cell_is_named_by_line_and_column(cell):
    Path("bad.csv").write_text(f'height,flow\n1,2\n3,"{cell}"\n5,6\n')
    assert f"bad.csv, line 3, column flow: {cell!r} is not a finite number" in refusal("bad.csv")
    assert table("bad.csv", ["height"]).table.values[:, 0].tolist() == [1, 3, 5]  # a bad cell is allowed in a column that is not used


def test_a_bad_cell_of_an_array_is_named_by_row():
    values = VALUES.copy()
    values[7, 2] = np.nan
    np.save("bad.npy", values)
    assert "bad.npy, row 7, column 2: 'nan'" in refusal("bad.npy")
    parquet.write_table(pa.table({"a": [1.0, None], "b": ["x", "2"]}), "bad.parquet")
    assert "row 1, column a: 'None'" in (words := refusal("bad.parquet"))
    assert "row 0, column b: 'x'" in words


def test_some_of_many_bad_cells_are_named_and_all_are_counted():
    Path("bad.csv").write_text("a,b\n" + "1,?\n" * 30)
    words = refusal("bad.csv")
    assert words.count("is not a finite number") == 5
    assert "(30 such cells)" in words


def test_a_ragged_row_is_named():
    Path("bad.csv").write_text("a,b\n1,2\n3\n4,5\n6,7,8\n")
    assert "bad.csv, line 3: 1 cells instead of 2 (2 such rows)" in refusal("bad.csv")


def test_a_constant_column_is_named():
    Path("bad.csv").write_text("a,b,c\n" + "".join(f"{i},0.1,{i * i}\n" for i in range(30)))
    words = refusal("bad.csv")
    assert "have no density: b" in words
    assert "dataset.columns=[a,c]" in words


def test_too_few_rows_to_split():
    Path("few.csv").write_text("a\n1\n2\n3\n")
    assert "too few are left for training" in refusal("few.csv")


@pytest.mark.parametrize("content", ["", "a,b\n"])
def test_a_file_without_rows(content):
    Path("empty.csv").write_text(content)
    assert "dataset.path: empty.csv has no rows" in refusal("empty.csv")


def test_a_missing_file_and_an_unknown_suffix():
    assert "dataset.path: there is no file 'gone.csv'" in refusal("gone.csv")
    with pytest.raises(InputError, match=r"dataset\.path: there is no file 'gone\.csv'"):
        _ = table("gone.csv").fingerprint
    Path("data.xlsx").write_text("a,b\n")
    assert ".parquet" in (words := refusal("data.xlsx"))
    assert "dataset.path: data.xlsx has an unknown file type" in words


class Payload:
    """Unpickling it leaves a file behind."""

    def __reduce__(self):
        return Path.touch, (Path("unpickled"),)


PICKLED = np.array([[1.0, Payload()]], dtype=object)

BROKEN = {
    "objects.npy": lambda path: np.save(path, PICKLED, allow_pickle=True),
    "garbage.npy": lambda path: path.write_bytes(b"garbage"),
    "empty.npy": lambda path: path.write_bytes(b""),
    "scalar.npy": lambda path: np.save(path, np.array(3.0)),
    "complex.npy": lambda path: np.save(path, np.zeros((5, 2, 2), dtype=complex)),
    "words.npy": lambda path: np.save(path, np.array([["a", "b"]])),
    "lengths.npz": lambda path: np.savez(path, a=np.arange(5), b=np.arange(6)),
    "latin.csv": lambda path: path.write_bytes("é,b\n1,2\n".encode("latin1")),
    "objects.npz": lambda path: np.savez(path, a=PICKLED),
    "nothing.npz": lambda path: np.savez(path),
    "garbage.npz": lambda path: path.write_bytes(b"PK\x03\x04garbage"),
    "really_npz.npy": lambda path: (write_npz("other.npz"), Path("other.npz").rename(path)),
    "really_npy.npz": lambda path: (np.save("other.npy", VALUES), Path("other.npy").rename(path)),
    "garbage.parquet": lambda path: path.write_bytes(b"garbage"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_the_error_for_a_broken_file_names_the_file(name):
    BROKEN[name](Path(name))
    assert f"dataset.path: {name}" in refusal(name)
    assert not Path("unpickled").exists()


def test_blank_lines_do_not_shift_the_line_number_in_an_error():
    Path("bad.csv").write_text("a,b\n1,2\n\n\n3,x\n")
    assert "bad.csv, line 5, column b" in refusal("bad.csv")


def test_an_empty_list_of_columns_is_an_error(csv_file):
    assert "dataset.columns" in refusal(csv_file, [])


def test_a_repeated_column_is_an_error(csv_file):
    assert "dataset.columns" in refusal(csv_file, ["height", 0])


def test_the_fingerprint_depends_on_the_content_and_not_on_the_path(csv_file):
    first = table(csv_file).fingerprint
    Path("elsewhere.csv").write_bytes(Path(csv_file).read_bytes())
    assert table("elsewhere.csv").fingerprint == first
    Path(csv_file).write_text(Path(csv_file).read_text() + "1,2,3\n")
    assert table(csv_file).fingerprint != first


def test_names_of_a_files_columns(written):
    path, named = written
    assert table_files.read(path, [], key="dataset.path").header == (NAMES if named else None)


IMAGES = {  # file name: a function that writes events of any shape
    "images.npy": np.save,
    "images.npz": lambda path, events: np.savez(path, anything=events),
    "samples.npz": lambda path, events: np.savez(path, x=events, columns=[f"x{i}" for i in range(events[0].size)]),
}


def images(*shape, n=60):
    """n events with one constant entry."""
    events = 7 + 3 * np.random.default_rng(1).standard_normal((n, *shape))
    events.reshape(n, -1)[:, 1] = 2.0
    return events


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("shape", [(5, 4), (3, 2, 4)])
def test_arrays_of_a_higher_rank_are_events_of_their_shape(shape, name):
    events = images(*shape)
    IMAGES[name](name, events)
    dataset = table(name)
    assert dataset.space == Space(shape)
    assert dataset.shape == shape
    assert not dataset.named
    assert list(dataset.column_names) == [f"x{i}" for i in range(events[0].size)]
    parts = [dataset.rows(split) for split in ("train", "validation", "test")]
    assert [part.shape for part in parts] == [(42, *shape), (6, *shape), (12, *shape)]
    np.testing.assert_array_equal(np.sort(np.concatenate(parts).reshape(60, -1), 0), np.sort(events.reshape(60, -1), 0))
    assert all((events == event).all(tuple(range(1, events.ndim))).any() for part in parts for event in part)


@pytest.mark.parametrize("shape", [(5, 4), (3, 2, 4)])
def test_all_entries_of_an_array_have_one_mean_and_one_scale(shape):
    """They are those of the training events, so that a constant entry needs no special treatment."""
    np.save("images.npy", images(*shape))
    dataset = table("images.npy")
    rows, units = torch.from_numpy(dataset.rows("train")), dataset.standardization
    assert units.mean.shape == units.scale.shape == shape
    torch.testing.assert_close(units.mean, rows.mean().expand(shape))
    torch.testing.assert_close(units.scale, rows.std(correction=0).expand(shape))
    assert math.isclose(units.log_det, rows[0].numel() * rows.std(correction=0).log().item(), rel_tol=1e-12)
    u = dataset.split("train", 100, Rng(0)).x.double()
    torch.testing.assert_close(u.mean(), torch.tensor(0.0).double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(u.square().mean(), torch.tensor(1.0).double(), atol=1e-6, rtol=0)
    assert u.flatten(1)[:, 1].unique().numel() == 1
    torch.testing.assert_close(units.to_data(u), rows, atol=1e-5, rtol=1e-6)


def test_an_epoch_covers_the_training_events_once():
    np.save("images.npy", images(3, 2))
    dataset = table("images.npy")
    train = dataset.split("train", 100, Rng(0)).x
    epoch = torch.cat([dataset.batch(step, 7, Rng(0)).x for step in range(6)])
    assert epoch.shape == train.shape
    assert sorted(epoch.flatten(1).tolist()) == sorted(train.flatten(1).tolist())
    stack = dataset.batch(2, 7, Rng((3, 0))).x
    assert stack.shape == (2, 7, 3, 2)
    assert torch.equal(stack[1], dataset.batch(2, 7, Rng(0)).x)
    assert dataset.split("test", 5, Rng((3, 4))).x.shape == (2, 5, 3, 2)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, bool, np.float16, np.float32, ">f8"])
def test_arrays_of_every_dtype_keep_their_values(dtype):
    events = (20 * np.random.default_rng(2).random((30, 3, 2))).astype(dtype)
    np.save("images.npy", events)
    np.testing.assert_array_equal(table("images.npy").table.events, events.astype(float))


def test_chosen_entries_of_an_array_are_columns():
    """They are chosen by position in row-major order, and each has its own mean and scale."""
    events = images(3, 2)
    np.save("images.npy", events)
    dataset = table("images.npy", [5, 0])
    assert dataset.shape == (2,)
    np.testing.assert_array_equal(dataset.table.values, events.reshape(60, -1)[:, [5, 0]])
    torch.testing.assert_close(dataset.standardization.mean, torch.from_numpy(dataset.rows("train").mean(0)))
    assert "have no density: x1" in refusal("images.npy", [0, 1])


def test_arrays_of_a_higher_rank_have_no_principal_components():
    np.save("images.npy", images(3, 2))
    with pytest.raises(InputError, match="n_components: principal components need a table of columns"):
        _ = table("images.npy", n_components=2).standardization
    np.save("flat.npy", np.full((40, 3, 2), 2.0))
    assert "training arrays that are all constant have no density" in refusal("flat.npy")
    events = images(3, 2)
    events[7, 1, 1] = np.nan
    np.save("bad.npy", events)
    assert "bad.npy, row 7, column 3: 'nan'" in refusal("bad.npy")


def test_a_quote_that_is_never_closed_is_named_by_its_line():
    """Otherwise the rows below become one cell."""
    Path("bad.csv").write_text("a,b\n" + "1,2\n" * 40 + '3,"4\n' + "5,6\n" * 200)
    assert "bad.csv: the quote that opens in line 42 is never closed" in refusal("bad.csv")
    Path("bad.csv").write_text('a,b\n1,"2\n3,4\n5,"6\n7,8\n')
    assert "the quote that opens in line 2 closes in line 4, and more text follows it in the same cell" in refusal("bad.csv")
    Path("long.csv").write_text("a,b\n1,2\n" + '3,"4\n' + "5,6\n" * 40_000)  # longer than the csv module reads as one cell
    assert "long.csv: the quote that opens in line 3 is never closed" in refusal("long.csv")


def test_quotes_that_are_closed_are_read():
    Path("good.csv").write_text('"height, in cm";"a ""b"""\n1;2\n"3";4\n6;5\n')
    assert table("good.csv").table.names == ["height, in cm", 'a "b"']
    assert table("good.csv").table.values.tolist() == [[1, 2], [3, 4], [6, 5]]
    Path("good.csv").write_text('"x, y, z";b\n1;2\n3;4\n')
    assert table("good.csv").table.names == ["x, y, z", "b"]
    Path("good.csv").write_text('a,"two\nlines"\n1,2\n3,4\n5,"x"\n')
    assert "good.csv, line 5, column two\nlines: 'x'" in refusal("good.csv")


HEADERS = {  # the first lines of a file: the names of its columns, or None
    "a,2020\n1,2\n": ["a", "2020"],
    "a,b\n1,2\n": ["a", "b"],
    "name,b\nx,y\n": ["name", "b"],
    "0,1\n1,2\n": None,
    "2019,2020\n1,2\n": None,
    "x,1\ny,2\n": None,  # a column of text
    "NA,1\n2,2\n": None,  # a missing number
    ",1\n0.5,2\n0.25,3\n": None,
    ",0,1\n0,5,6\n1,7,8\n": ["", "0", "1"],  # pandas' index
    '"0","1"\n5,6\n': ["0", "1"],
    '"0","1"\n"5","6"\n': None,  # all cells are quoted
    "nan,inf\n1,2\n": None,
}


@pytest.mark.parametrize("lines", HEADERS)
def test_a_header_is_found(lines):
    Path("first.csv").write_text(lines)
    assert table_files.read("first.csv", [], key="dataset.path").header == HEADERS[lines]


@pytest.mark.parametrize("header", [True, False])
def test_the_key_decides_about_the_header(header):
    Path("years.csv").write_text("2019,2020\n1,2\n3,5\n7,1\n9,4\n6,6\n")
    dataset = table("years.csv", header=header)
    assert dataset.table.names == (["2019", "2020"] if header else None)
    assert len(dataset.table.values) == (5 if header else 6)
    assert dataset.notes == ()
    (note,) = table("years.csv").notes
    assert note == "years.csv has no header: its first row (2019, 2020) is data. If it holds names: dataset.header=true"


def test_a_header_with_numbers_is_noted():
    Path("mixed.csv").write_text("a,2020\n" + "".join(f"{i},{i * i}\n" for i in range(30)))
    assert table("mixed.csv").notes == ("mixed.csv: its first row (a, 2020) is taken as a header. If it is data: dataset.header=false",)
    with pytest.raises(InputError) as caught:
        _ = table("mixed.csv", header=False).table
    assert caught.value.problems == (
        (
            "dataset.path: mixed.csv, line 1, column 0: 'a' is not a finite number",
            "if this line holds the names of the columns: dataset.header=true",
        ),
    )


def test_the_hint_of_bad_cells_names_the_columns_without_any():
    Path("words.csv").write_text("a b,c,d\n1,x,2\n2,y,5\n4,z,7\n")
    assert refusal("words.csv").endswith(
        """keeps a column of labels apart, or choose the other columns: 'dataset.columns=['"'"'a b'"'"',d]'"""
    )


def test_the_index_of_pandas_is_left_out_with_a_note():
    for name in ("", "Unnamed: 0"):
        Path("indexed.csv").write_text(f"{name},a,b\n" + "".join(f"{i},{i * i},{i**3}\n" for i in (3, 0, 7, 5, 4)))
        dataset = table("indexed.csv")
        assert dataset.column_names == ["a", "b"]
        assert dataset.table.values[0].tolist() == [9, 27]
        assert dataset.notes == ("indexed.csv: its first column, without a name, numbers the rows and is left out",)
        assert table("indexed.csv", [0, "a"]).table.values[0].tolist() == [3, 9]
    Path("unnamed.csv").write_text(",a\n0.5,1\n0.25,3\n0.1,4\n0.7,2\n")
    assert table("unnamed.csv").column_names == ["", "a"]


@pytest.mark.parametrize("names", [["0", "1"], ["2019", "a"], ["a", "b c"]])
def test_written_tables_are_read_with_their_header(names):
    with open("written.csv", "wb") as file:
        table_files.write_bytes(file, [names, [1.5, 2], [3, 4]])
    found = table_files.read("written.csv", key="data")
    assert (found.names, found.values.tolist()) == (names, [[1.5, 2], [3, 4]])


def test_a_first_row_with_the_names_of_the_events_is_a_header():
    Path("numbers.csv").write_text("0,1\n5,6\n")
    assert table_files.events("numbers.csv", ["0", "1"], key="data", named=True).values.tolist() == [[5, 6]]
    assert table_files.events("numbers.csv", ["x0", "x1"], key="data", named=False).values.tolist() == [[0, 1], [5, 6]]


@pytest.mark.parametrize(("encoding", "words"), [("utf-16", "UTF-16"), ("utf-16-le", "UTF-16"), ("utf-32", "UTF-32"), ("latin1", "LATIN1")])
def test_other_encodings_are_refused_by_name(encoding, words):
    Path("other.csv").write_bytes("größe,b\n1,2\n".encode(encoding))
    error = refusal("other.csv")
    assert f"iconv -f {words} -t UTF-8 other.csv > utf8.csv" in error
    assert "dataset.path: other.csv is" in error


def column(name, change):
    """A table of the columns a, b and c, of which one is changed."""
    rows = {key: values for key, values in zip("abc", np.random.default_rng(3).standard_normal((3, 50)), strict=True)}
    rows[name] = change(rows)
    with open("changed.csv", "wb") as file:
        table_files.write_bytes(file, [[*rows], *np.stack([*rows.values()], -1).tolist()])
    return "changed.csv"


def test_columns_without_a_density_are_refused_with_the_others_named():
    rounding = column("b", lambda rows: np.where(rows["a"] > 0, 0.3, 0.1 * 3 - 0.1 + 0.1))
    assert "have no density: b dataset.columns=[a,c]" in refusal(rounding)
    for same in (lambda rows: rows["a"], lambda rows: 3 - 2 * rows["a"]):
        assert "have no joint density: c (of a) dataset.columns=[a,b]" in refusal(column("c", same))
    assert "the values of column b are so small that their variance is 0" in refusal(column("b", lambda rows: 1e-170 * rows["c"]))
    assert table(column("c", lambda rows: rows["a"] + 1e-3 * rows["b"])).standardization.mean.shape == (3,)


@pytest.mark.parametrize("columns", [1, 2, 3, 4, 5])
def test_all_copies_of_a_column_are_found(columns):
    """In any order, among a thousand other columns, with either sign."""
    rng = np.random.default_rng(columns)
    z = rng.standard_normal((40, 1000))
    places = sorted(rng.choice(1000, columns, replace=False).tolist())
    z[:, places] = z[:, places[:1]] * rng.choice([-1, 1], columns)
    z = (z - z.mean(0)) / z.std(0)
    assert column_checks.repeated(z) == {place: places[0] for place in places[1:]}
    z[:, places] += 1e-4 * rng.standard_normal((40, columns))
    assert column_checks.repeated((z - z.mean(0)) / z.std(0)) == {}


def test_the_hint_of_a_file_without_a_header_names_positions():
    np.save("bare.npy", VALUES * [1, 0, 1])
    assert "have no density: x1 dataset.columns=[0,2]" in refusal("bare.npy")


def test_the_hint_quotes_names_for_the_shell_and_for_hydra():
    Path("odd.csv").write_text("größe,b c,null,d\n" + "".join(f"{i},{i * i},{i**3},5\n" for i in range(20)))
    error = refusal("odd.csv")
    assert error.endswith("""'dataset.columns=['"'"'größe'"'"','"'"'b c'"'"','"'"'null'"'"']'""")


@pytest.mark.parametrize("row", [0, 17, 49])
@pytest.mark.parametrize("value", [1e9, 1e40])
def test_a_value_that_single_precision_cannot_hold_beside_the_others_is_named(value, row):
    def spoiled(rows):
        return np.where(np.arange(50) == row, value, rows["b"])

    assert f"dataset.path: changed.csv, line {row + 2}, column b: {value:g} is" in refusal(column("b", spoiled))


def test_a_row_that_determines_the_scale_of_a_column_is_noted():
    dataset = table(column("b", lambda rows: np.where(np.arange(50) == 4, 40.0, rows["b"])), split_seed=1)
    assert 4 in dataset._rows["train"]
    (note,) = dataset.notes
    assert note == "changed.csv, line 6, column b: 40 alone has most of the variance of the column, and determines its scale"
    assert table(column("b", lambda rows: rows["b"])).notes == ()
    rare = table(column("b", lambda rows: (np.arange(50) == 4).astype(float)), split_seed=1, dequantize=False)  # one of a rare category
    assert rare.notes == ()


def grid_file(name="grid.csv"):
    """200 rows: integers, two decimals, and a column on no grid."""
    rng = np.random.default_rng(4)
    rows = np.stack([rng.poisson(3.0, 200), rng.integers(0, 60, 200) / 100, rng.standard_normal(200)], -1)
    with open(name, "wb") as file:
        table_files.write_bytes(file, [["count", "price", "flow"], *rows.tolist()])
    return name, rows


def all_rows(dataset):
    """The rows as the model sees them, in data units and in the order of the file."""
    u = torch.cat([dataset.split(name, 1000, Rng(0)).x for name in ("train", "validation", "test")])
    order = np.concatenate([dataset._rows[name] for name in ("train", "validation", "test")])
    return dataset.standardization.to_data(u).numpy()[np.argsort(order)]


def test_columns_on_a_grid_have_noise_of_their_step():
    """Within half a step of the value in the file, one draw for each row; the test and validation rows as well."""
    path, rows = grid_file()
    dataset = table(path)
    assert dataset.steps.tolist() == [1, 0.01, 0]
    off = all_rows(dataset) - rows
    assert (np.abs(off) <= dataset.steps / 2 + 1e-6).all()
    assert np.abs(off[:, 2]).max() < 1e-6
    assert (off[:, :2].std(0) > 0.25 * dataset.steps[:2]).all()
    assert len(np.unique(dataset.continuous[:, 0])) == 200
    np.testing.assert_array_equal(dataset.rows("test"), rows[dataset._rows["test"]])
    assert dataset.dequantized
    (note,) = dataset.notes
    what = "count (1), price (0.01); dataset.dequantize=false adds none"
    assert note == f"values on a grid are dequantized with uniform noise as wide as its step: {what}"


def test_the_noise_is_that_of_the_split_seed():
    path, rows = grid_file()
    first = table(path).continuous
    np.testing.assert_array_equal(first, table(path).continuous)
    assert (first != table(path, split_seed=1).continuous)[:, :2].all()
    exact = table(path, dequantize=False)
    assert not exact.dequantized
    assert exact.notes == ()
    np.testing.assert_array_equal(exact.continuous, rows)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_images_have_one_grid(dtype):
    """Pixels k / 16 of 3 x 4 images, of which one never changes."""
    k = np.random.default_rng(0).integers(0, 17, (80, 3, 4))
    k[:, 1, 1] = 4
    np.save("pixels.npy", k.astype(dtype) / (1 if dtype == np.uint8 else dtype(16)))
    dataset = table("pixels.npy")
    step = 1 if dtype == np.uint8 else 1 / 16
    assert dataset.steps.tolist() == [step]
    off = dataset.continuous - dataset.events
    assert np.abs(off).max() <= step / 2
    assert off[:, 1, 1].std() > step / 4
    assert f"all entries (step {step:g})" in dataset.notes[0]


def test_columns_without_a_density_are_refused_although_noise_would_hide_them():
    rng = np.random.default_rng(4)
    count = rng.poisson(3.0, 100)
    np.save("same.npy", np.stack([count, 5 - 2 * count, rng.standard_normal(100)], -1))
    assert "have no joint density: x1 (of x0)" in refusal("same.npy")
    np.save("constant.npy", np.stack([count, np.ones(100), rng.standard_normal(100)], -1))
    assert "have no density: x1" in refusal("constant.npy")


@pytest.mark.parametrize("row", [0, 4])
def test_heavy_tails_and_outliers_are_accepted_by_quantile(row):
    """Half of the splits hold the outlier out."""
    rng = np.random.default_rng(1)
    rows = np.stack([rng.standard_cauchy(60) * 1e6, rng.standard_normal(60), np.exp(9 * rng.standard_normal(60))], -1)
    rows[row, 1] = 1e9
    np.save("heavy.npy", rows)
    for split_seed in range(4):
        dataset = table("heavy.npy", split_seed=split_seed, transform="quantile")
        u = dataset.standardization.from_data(torch.from_numpy(rows))
        assert u.abs().max() < 60
        assert dataset.split("train", 100, Rng(0)).x.std(0, correction=0).allclose(torch.ones(3))
        np.testing.assert_allclose(dataset.standardization.to_data(u).numpy(), rows, rtol=1e-9, atol=1e-9)
        with pytest.raises(InputError) as caught:
            _ = table("heavy.npy", split_seed=split_seed).standardization
        assert "dataset.transform=quantile" in caught.value.problems[0].hint


def test_repeated_columns_are_found_among_scores():
    rng = np.random.default_rng(1)
    cauchy = rng.standard_cauchy(80)
    np.save("same.npy", np.stack([cauchy, rng.standard_normal(80), 3 - 2 * cauchy], -1))
    with pytest.raises(InputError, match=r"have no joint density: x2 \(of x0\)"):
        _ = table("same.npy", transform="quantile").standardization


def test_robust_needs_quartiles_that_differ():
    rng = np.random.default_rng(1)
    np.save("zeros.npy", np.stack([rng.standard_normal(80), np.where(rng.random(80) < 0.8, 0, rng.standard_normal(80))], -1))
    with pytest.raises(InputError, match="half of the values of column x1 are equal"):
        _ = table("zeros.npy", transform="robust").standardization
    assert table("zeros.npy", transform="quantile").standardization.scale.isfinite().all()
    np.save("normal.npy", rng.standard_normal((80, 2)))
    dataset = table("normal.npy", transform="robust")
    torch.testing.assert_close(dataset.split("train", 100, Rng(0)).x.median(0).values, torch.zeros(2), atol=0.1, rtol=0)


@pytest.mark.parametrize("transform", ["standard", "quantile"])
def test_many_rows_are_dequantized_and_mapped(transform):
    rng = np.random.default_rng(0)
    np.save("large.npy", np.concatenate([rng.integers(0, 100, (100_000, 5)), rng.standard_normal((100_000, 5)).round(2)], 1))
    dataset = table("large.npy", transform=transform)
    assert dataset.steps.tolist() == [1] * 5 + [0.01] * 5
    assert dataset.split("train", 10**6, Rng(0)).x.isfinite().all()


def test_a_table_of_a_few_distinct_rows_is_told_how_to_split_them(tmp_path):
    np.save(tmp_path / "bits.npy", np.array(np.meshgrid([0, 1], [0, 1], [0, 1])).reshape(3, -1).T.repeat(50, 0))
    with pytest.raises(InputError, match="more are equal to each other") as refused:
        table(tmp_path / "bits.npy", test=0.05).split("test", 10, Rng(0))
    assert "or dataset.equal_rows=apart if they are independent measurements" in refused.value.problems[0].hint
    assert len(table(tmp_path / "bits.npy", test=0.05, equal_rows="apart").split("test", 10, Rng(0)).x)
