"""Splits: equal rows stay together, and nothing changes without equal rows."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ebm_cli.core import splits


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**20), st.integers(0, 6), st.integers(0, 5))
def test_without_equal_rows_the_splits_are_cuts_of_a_permutation(seed, n_test, n_validation):
    found = splits.split(n_test, n_validation, np.arange(20), seed)
    order = np.random.default_rng(seed).permutation(20)
    assert [*found["test"], *found["validation"], *found["train"]] == order.tolist()
    assert (len(found["test"]), len(found["validation"])) == (n_test, n_validation)


@settings(max_examples=200, deadline=None)
@given(arrays(np.int64, 30, elements=st.integers(0, 12)), st.integers(0, 100))
def test_equal_rows_are_in_one_split(values, seed):
    groups = splits.equal_rows(values[:, None].astype(float))
    found = splits.split(8, 5, groups, seed)
    assert sorted(np.concatenate([*found.values()])) == [*range(30)]
    if values.min() < values.max():
        sets = {name: {*values[rows].tolist()} for name, rows in found.items()}
        assert not sets["test"] & sets["validation"]
        assert not sets["train"] & (sets["test"] | sets["validation"])
        assert len(found["test"]) <= 8
        assert len(found["validation"]) <= 5
        for name, size in (("test", 8), ("validation", 5)):  # it is as full as the groups of the training rows allow
            rest = np.bincount(values[found["train"]])
            assert not (rest[rest > 0] <= size - len(found[name])).any()
    again = splits.split(8, 5, groups, seed)
    assert all((again[name] == found[name]).all() for name in found)


@settings(max_examples=200, deadline=None)
@given(arrays(float, (12, 2), elements=st.sampled_from([0.0, -0.0, 1.0, 2.0, 2.0**-40, 1e300, np.nan])))
def test_groups_are_those_of_equal_rows(rows):
    """-0 is equal to 0, and a missing value to another."""
    plain = [tuple("nan" if x != x else x for x in row) for row in rows.tolist()]
    assert splits.equal_rows(rows).tolist() == [plain.index(row) for row in plain]


class Ones:
    """A generator whose factors are all 1, so that rows with the same values in another order have the same hash."""

    def integers(self, low, high, size, dtype):
        return np.zeros(size, dtype=dtype)


def test_rows_with_equal_hashes_are_compared(monkeypatch):
    rows = np.array([[1.0, 2.0], [2.0, 1.0], [1.0, 2.0], [3.0, 3.0], [2.0, 1.0]])
    monkeypatch.setattr(splits.np.random, "default_rng", lambda seed: Ones())
    assert splits.equal_rows(rows).tolist() == [0, 1, 0, 3, 1]
